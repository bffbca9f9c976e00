"""How likely a text is to a model that fills in hidden tokens. In: a model and texts. Out: a bound in nats, and how sure it is.

    −log p(x) <= E over what is hidden of  Σ weight · −log p(hidden token | the others)

`bound` takes the mean over draws (see `objectives.noise`), for whole corpora. For texts of a few tokens, `exact_bound` adds up
all 2^n ways to hide them, and `exact_nats` is the −log p(x) that the bound is above: of a model that fills holes one by one, in
any order alike (Uria et al. 2014; Hoogeboom et al. 2022). Of longer ones, `nats_in_order` is the exact −log p of filling them in
one given order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..config import ModelConfig
from ..data import Batch
from ..decode.autoregressive import mask_id_of
from ..errors import CutawayError
from ..model import Call, Transformer, layouts, visibility
from ..model.visibility import Tokens
from ..objectives import Evenly, Task, block_numbers, by_blocks, by_count, by_time, masked, rows_of
from .score import score_tasks
from .step import micro_seed

Estimator = Literal["count", "time"]
MOST_ENUMERATED = 16  # tokens of one block: 2^16 passes
MOST_PASSES = 64  # at a time, of one token each


@dataclass(frozen=True, slots=True)
class Bound:
    """The mean over draws, each over all texts. nats: in all; standard_error: of nats, nan after one draw; tokens, num_bytes: of
    the text that counts."""

    nats: float
    standard_error: float
    tokens: float
    num_bytes: float


def bound(
    model: Transformer,
    batches: Callable[[], Iterable[Batch]],
    *,
    draws: int = 4,
    estimator: Estimator = "count",
    seed: int = 0,
    precision: str = "fp32",
    progress: Callable[[float], None] | None = None,
) -> Bound:
    """The bound over all rows of the batches, each a text of its own.

    batches: called anew for every draw; how many rows each has changes nothing. estimator: `count` hides exactly k tokens of a
    block, k uniform; `time` each with a chance t, t uniform. progress: is told the tokens scored so far after every batch.
    Raises CutawayError for draws below 1, and a model that was not trained on hidden tokens.
    """
    if draws < 1:
        raise CutawayError(f"draws is {draws}. Draw at least once, and twice for a standard error.")
    totals: list[float] = []
    tokens = num_bytes = 0.0
    for draw in range(draws):
        generator = torch.Generator().manual_seed(micro_seed(seed, draw, 0))
        evenly = Evenly(generator)
        tasks = (_task(model.config, batch, generator, evenly, estimator) for batch in batches())
        tell = None if progress is None else _behind(progress, draw * tokens)
        nats, tokens, num_bytes = score_tasks(model, tasks, precision, tell)
        totals.append(nats)
    mean = sum(totals) / draws
    spread = math.sqrt(sum((total - mean) ** 2 for total in totals) / (draws - 1) / draws) if draws > 1 else math.nan
    return Bound(mean, spread, tokens, num_bytes)


def exact_bound(model: Transformer, ids: Sequence[int]) -> float:
    """The mean over all ways to hide tokens, exactly: nats. ids: a text whose blocks have at most MOST_ENUMERATED tokens.

    Raises CutawayError for longer ones, and a model that was not trained on hidden tokens.
    """
    total = 0.0
    for said in _every_way(model, ids):
        size = said.shape[1]
        for way in range(1, len(said)):
            places = [place for place in range(size) if way >> place & 1]
            weight = 1 / (len(places) * math.comb(size, len(places)))
            total -= weight * float(said[way, places].sum())
    return total


def exact_nats(model: Transformer, ids: Sequence[int]) -> float:
    """−log p(text), exactly: p is the mean over all orders in which the holes of each block may be filled one by one.

    Arguments and errors: as of `exact_bound`.
    """
    total = 0.0
    for said in _every_way(model, ids):
        chances = said.exp()
        p = torch.ones(len(said), dtype=torch.float64)
        for way in range(1, len(said)):
            places = [place for place in range(said.shape[1]) if way >> place & 1]
            p[way] = sum(chances[way, place] * p[way & ~(1 << place)] for place in places) / len(places)
        total -= math.log(p[-1])
    return total


def nats_in_order(model: Transformer, ids: Sequence[int], order: Sequence[int]) -> float:
    """−log p(tokens at `order` | the others) where they are filled in one by one in this order: exact, of a text of any length.

    Its mean over all orders is the bound; of p, the mean over all orders is what `exact_nats` has. order: places, of a model of
    blocks a block at a time. Raises CutawayError for other orders, and a model that was not trained on hidden tokens.
    """
    size, total = model.config.block_size or len(ids), 0.0
    first = int(model.config.is_shifted)
    blocks = [place // size for place in order]
    if sorted(set(order)) != sorted(order) or any(not first <= place < len(ids) for place in order):
        raise CutawayError(
            f"order names {len(order)} places. It must name some of {first} to {len(ids) - 1}, each once."
        )
    if blocks != sorted(blocks):
        raise CutawayError(
            f"order leaves a block of {size} tokens before it is filled. Fill one block after the other."
        )
    for number in dict.fromkeys(blocks):
        own = torch.tensor([place for place in order if place // size == number])
        places = torch.arange(max(number * size, first), min((number + 1) * size, len(ids)))
        turn = torch.full((len(places),), -1).scatter(0, own - places[0], torch.arange(len(own)))
        for turns in torch.arange(len(own)).split(MOST_PASSES):
            said = _said(model, ids, number * size, places, turn >= turns[:, None])
            total -= float(said.gather(1, own[turns, None] - places[0]).sum())
    return total


def _every_way(model: Transformer, ids: Sequence[int]) -> Iterable[Tensor]:
    """Block by block, log p of its tokens for every way to hide them: [way, position] float64; bit i of a way hides token i."""
    config, length = model.config, len(ids)
    _mask_id(config)
    size = config.block_size or length
    if min(size, length) > MOST_ENUMERATED:
        raise CutawayError(
            f"A block has {min(size, length)} tokens, and 2^{min(size, length)} ways to hide them. All are tried for at most "
            f"{MOST_ENUMERATED}: shorten the text, or take the mean over draws, `bound`."
        )
    for start in range(0, length, size):
        end = min(start + size, length)
        begin = start + int(config.is_shifted)  # the first token of a text is given
        ways = torch.arange(2 ** (end - begin)).unsqueeze(1)
        is_hidden = (ways >> torch.arange(end - begin)) & 1 == 1
        yield _said(model, ids, start, torch.arange(begin, end), is_hidden)


def _said(model: Transformer, ids: Sequence[int], start: int, places: Tensor, is_hidden: Tensor) -> Tensor:
    """log p of the tokens at the last places of a block, from `start` on, for several ways to hide them.

    is_hidden: [way, place] -> [way, place], float64; what is not among the places is there.
    """
    config, begin, end = model.config, int(places[0]), int(places[-1]) + 1
    mask_id = _mask_id(config)
    text = torch.tensor([list(ids[:end])]).expand(len(is_hidden), -1)
    noised = torch.where(is_hidden, mask_id, text[:, begin:])
    with torch.inference_mode():
        logits = model(torch.cat([text[:, :begin], noised], 1), Call(_seen(config, start, end)))
        logits[..., mask_id] = -torch.inf
    said = logits[:, places - int(config.is_shifted)].double().log_softmax(-1)
    return said.gather(2, text[:, begin:].unsqueeze(-1)).squeeze(-1)


def _seen(config: ModelConfig, start: int, end: int) -> Tokens:
    if config.block_size is None:
        return visibility.full(end)
    parts = [layouts.blocks(0, start, config.block_size), layouts.noised_block(start, end, config.block_size)]
    return Tokens(torch.cat([part.fields for part in parts], dim=2))


def _task(
    config: ModelConfig, batch: Batch, generator: torch.Generator, evenly: Evenly, estimator: Estimator
) -> tuple[Task, float]:
    """A draw for a batch, and the bytes of what counts in it."""
    rows = rows_of(batch, is_shifted=config.is_shifted)
    blocks = block_numbers(rows, config.block_size)
    noise = (by_count if estimator == "count" else by_time)(rows.may_hide, blocks, generator, evenly)
    mask_id = _mask_id(config)
    if config.block_size is None:
        task = masked(rows, noise, mask_id, is_shifted=config.is_shifted)
    else:
        task = by_blocks(rows, noise, mask_id, config.block_size)
    return task, batch.num_bytes * rows.share


def _mask_id(config: ModelConfig) -> int:
    if config.predicts not in ("masked", "masked_next"):
        raise CutawayError(
            f"This model was trained to predict '{config.predicts}', so its likelihood is exact. A bound is for models of "
            "hidden tokens."
        )
    return mask_id_of(config)


def _behind(progress: Callable[[float], None], offset: float) -> Callable[[float], None]:
    return lambda tokens: progress(offset + tokens)
