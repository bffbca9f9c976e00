"""Fill in hidden tokens, in any order. In: a session of a diffusion model, ids with holes. Out: a commit event for every hole.

Every pass reads the whole block, holes as masks, and says what each hole may hold. Which holes are filled is the order's affair:

ancestral      each with the chance that the time of the pass leaves it: of S passes, 1, 1/2 … in turn (Sahoo et al. 2024, MDLM)
first_hitting  one after another, all orders alike: what ancestral becomes with ever more passes (Zheng et al. 2024)
confidence     those with the most likely token, as many in each pass (Chang et al. 2022, MaskGIT; Nie et al. 2025, LLaDA)
margin         those where the first token is furthest before the second (Kim et al. 2025)
entropy        those whose distribution has the lowest entropy (Ye et al. 2025, Dream)
threshold      all whose likeliest token is likely enough, but at least one (Wu et al. 2025, Fast-dLLM)

With a window, the holes within so many places of the leftmost one are filled before those behind them (Nie et al. 2025 call it
semi-autoregressive). Tokens that are there stay as they are. A model trained on blocks fills one block after the other; keys and
values of those that are done stay in the store, exactly: nothing that they see changes any more (Arriola et al. 2025).
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ..config import ModelConfig
from ..errors import CutawayError
from ..model import Tokens, layouts, visibility
from .autoregressive import end_ids, mask_id_of
from .chance import REVEAL, Chance, Stateless
from .samplers import Sampling, distribution
from .session import Session, check_places, places
from .step import Decoder, Event, Step, ask

Order = Literal["ancestral", "first_hitting", "confidence", "margin", "entropy", "threshold"]
ORDERS: tuple[Order, ...] = get_args(Order)
Answer = Tensor | list[Tensor] | None


@dataclass(frozen=True, kw_only=True)
class Denoising:
    """In which order, and in how many passes, holes are filled.

    num_passes: of each block or window, None for as many as it has holes; first_hitting and threshold need no number.
    threshold: of the probability of a token that is taken at once. window: places that are filled before any behind them; None: a
    whole block. smallest_time: the pass from time t to s fills the share 1 − s/t of the holes, rounded down, t falling in even
    steps from 1 to this number (Ye et al. 2025, Dream, where it is 0.001); None: to 0, which is as many in each pass.
    """

    order: Order = "confidence"
    num_passes: int | None = None
    threshold: float = 0.9
    window: int | None = None
    smallest_time: float | None = None

    def __post_init__(self) -> None:
        """Raises CutawayError for settings that no text can be filled by."""
        if self.order not in ORDERS:
            raise CutawayError(f"order is '{self.order}'. Allowed: {', '.join(ORDERS)}.")
        if self.num_passes is not None and self.num_passes < 1:
            raise CutawayError(f"num_passes is {self.num_passes}. Give at least 1, or none for one pass a token.")
        if self.num_passes is not None and self.has_own_number:
            raise CutawayError(
                f"num_passes is {self.num_passes} and order is '{self.order}', which finds the number itself. Leave it out."
            )
        if not 0 < self.threshold <= 1:
            raise CutawayError(f"threshold is {self.threshold}. It must be above 0 and at most 1.")
        if self.window is not None and self.window < 1:
            raise CutawayError(f"window is {self.window}. Give at least 1 place, or none for a whole block.")
        if self.smallest_time is not None and (self.has_own_number or not 0 < self.smallest_time < 1):
            raise CutawayError(
                f"smallest_time is {self.smallest_time}, and order is '{self.order}'. It must be above 0 and below 1, and left "
                "out for first_hitting and threshold."
            )

    @property
    def has_own_number(self) -> bool:
        """Whether the order itself says how many passes there are."""
        return self.order in ("first_hitting", "threshold")

    @property
    def is_counted(self) -> bool:
        """Whether a pass fills a number of holes that is known before it."""
        return self.order in ("confidence", "margin", "entropy")

    def share(self, index: int, num_passes: int) -> float:
        """The share of the holes that the pass with this index fills: 1 − s/t; all in the last."""
        if index >= num_passes - 1:
            return 1.0
        step = (1 - (self.smallest_time or 0.0)) / num_passes
        return step / (1 - index * step)

    def count(self, num_holes: int, index: int, num_passes: int) -> int:
        """How many holes that is, where they are counted."""
        share = self.share(index, num_passes)
        return -(-num_holes // max(1, num_passes - index)) if self.smallest_time is None else int(num_holes * share)


def denoise(
    session: Session,
    prompt_ids: Sequence[int],
    sampling: Sampling,
    *,
    max_tokens: int = 0,
    denoising: Denoising | None = None,
    rewritten: Collection[int] = (),
    eos_ids: Collection[int] | None = None,
    request: int = 0,
    chance: Chance | None = None,
) -> Decoder:
    """Fill the holes of a text, and max_tokens more behind it.

    session: an empty one. prompt_ids: of the text; the model's mask id is a hole, any other token is pinned. rewritten: places of
    the text whose tokens are taken away first. eos_ids: a text of blocks ends after the block that says one of them; None: the
    model's own. chance: where random choices come from; None: from the seed and the request.
    Raises CutawayError, at the first step, for a model that was not trained on hidden tokens, nothing to fill, more passes than
    holes, and a text that does not fit.
    """
    denoising, config = denoising or Denoising(), session.model.config
    mask_id = check_model(config)
    if max_tokens < 0:
        raise CutawayError(f"max_tokens is {max_tokens}. Ask for 0 tokens, where a text has holes, or more.")
    chance = chance or Stateless(sampling.seed, request)
    ids = [*prompt_ids, *[mask_id] * max_tokens]
    _check_text(session, ids, rewritten, denoising, mask_id)
    for place in sorted(rewritten):
        yield Event("remask", place, ids[place])
        ids[place] = mask_id
    ends = end_ids(config) if eos_ids is None else frozenset(eos_ids)
    filler = _Filler(session, sampling, denoising, chance, mask_id)
    size = config.block_size or len(ids)
    done = 0
    for start in range(0, len(ids), size):
        end = min(start + size, len(ids))
        if mask_id not in ids[start:end]:
            continue
        yield from filler.keep(ids, done, start, size)
        yield from filler.fill(ids, start, end)
        done = start
        if end > len(prompt_ids) and ends.intersection(ids[max(start, len(prompt_ids)) : end]):
            return


def check_model(config: ModelConfig) -> int:
    """The id of a hole. Raises CutawayError for a model that was not trained to fill holes."""
    if config.predicts not in ("masked", "masked_next"):
        wanted = "hybrid or autoregressive" if config.says_masked else "autoregressive"
        raise CutawayError(
            f"The diffusion decoder needs a model that was trained on hidden tokens, and this one was trained to predict "
            f"'{config.predicts}'. Use the {wanted} decoder, or train it on with objective.kind = 'diffusion'."
        )
    return mask_id_of(config)


class _Filler:
    """A session and how its holes are filled."""

    def __init__(
        self, session: Session, sampling: Sampling, denoising: Denoising, chance: Chance, mask_id: int
    ) -> None:
        self.session, self.sampling, self.denoising = session, sampling, denoising
        self.chance, self.mask_id, self.config = chance, mask_id, session.model.config

    def keep(self, ids: list[int], done: int, start: int, size: int) -> Generator[Step, Answer, None]:
        """Read the blocks between `done` and `start`, which are whole, and keep them in the session."""
        if self.config.block_size is not None and start > done:
            tokens = layouts.blocks(done, start, size, device=self.session.device)
            yield from ask(Step(self.session, ids[done:start], tokens, "none"))

    def fill(self, ids: list[int], start: int, end: int) -> Generator[Step | Event, Answer, None]:
        """Fill the holes between start and end, in place, window after window."""
        while holes := self._holes(ids, start, end):
            reach = end if self.denoising.window is None else min(end, holes[0] + self.denoising.window)
            yield from self._fill_window(ids, start, end, reach)

    def _fill_window(self, ids: list[int], start: int, end: int, reach: int) -> Generator[Step | Event, Answer, None]:
        """Fill the holes before `reach`, the whole block from start to end being read."""
        index, num_passes = 0, self.denoising.num_passes or len(self._holes(ids, start, reach))
        while holes := self._holes(ids, start, reach):
            if self.denoising.is_counted and not self.denoising.count(len(holes), index, num_passes):
                index += 1  # a pass that fills none changes nothing, and is not made
                continue
            rows = [max(0, place - start - self.config.is_shifted) for place in holes]
            step = Step(self.session, ids[start:end], self._tokens(start, end), sorted(set(rows)), keep=0)
            logits = yield from ask(step)
            logits = self._without_mask(logits[[sorted(set(rows)).index(row) for row in rows]])
            for number in self._chosen(logits, holes, index, num_passes):
                yield self._commit(ids, holes[number], logits[number])
            index += 1

    def _holes(self, ids: Sequence[int], start: int, end: int) -> list[int]:
        return [place for place in range(start, end) if ids[place] == self.mask_id]

    def _tokens(self, start: int, end: int) -> Tokens:
        size, device = self.config.block_size, self.session.device
        if size is None:
            return visibility.full(end - start, device=device)
        return layouts.noised_block(start, end, size, device=device)

    def _without_mask(self, logits: Tensor) -> Tensor:
        """A hole is not filled with a hole."""
        logits = logits.clone()
        logits[:, self.mask_id] = -torch.inf
        return logits

    def _commit(self, ids: list[int], place: int, logits: Tensor) -> Event:
        seen = [token for token in ids if token != self.mask_id] if self.sampling.repetition_penalty != 1.0 else []
        probabilities = distribution(logits, seen, self.sampling)
        token = self.chance.draw(probabilities, place)
        own = logits.softmax(-1) if self.sampling.is_greedy else probabilities
        ids[place] = token
        return Event("commit", place, None, token, float(own[token]))

    def _chosen(self, logits: Tensor, holes: Sequence[int], index: int, num_passes: int) -> list[int]:
        """Which holes are filled in this pass, the one with this index. logits: [hole, vocab]."""
        order, num_left = self.denoising.order, num_passes - index
        if order == "ancestral":
            share = self.denoising.share(index, num_passes)
            return [i for i, place in enumerate(holes) if self.chance.happens(share, place, REVEAL + num_left)]
        if order == "first_hitting":
            return [self.chance.draw(torch.ones(len(holes)), holes[0], REVEAL + len(holes))]
        scores = certainty(logits, order)
        if order == "threshold":
            return sorted({int(scores.argmax()), *(scores >= self.denoising.threshold).nonzero()[:, 0].tolist()})
        return sorted(scores.topk(self.denoising.count(len(holes), index, num_passes)).indices.tolist())


def certainty(logits: Tensor, order: Order) -> Tensor:
    """How sure the model is of each hole, more being surer. logits: [hole, vocab] -> [hole]."""
    probabilities = logits.softmax(-1)
    if order == "margin":
        best = probabilities.topk(2).values
        return best[:, 0] - best[:, 1]
    if order == "entropy":
        return -torch.special.entr(probabilities).sum(-1)
    return probabilities.amax(-1)


def _check_text(
    session: Session, ids: list[int], rewritten: Collection[int], denoising: Denoising, mask_id: int
) -> None:
    if session.length:
        raise CutawayError(
            f"The diffusion decoder fills in a whole text, and this session holds {session.length} tokens. Open a new one."
        )
    if wrong := [place for place in rewritten if not 0 <= place < len(ids) or ids[place] == mask_id]:
        raise CutawayError(
            f"The place {wrong[0]} is to be rewritten, and no token stands there. Name places of the text."
        )
    num_holes = ids.count(mask_id) + len(set(rewritten))
    if not num_holes:
        raise CutawayError(
            f"Every token of the text is there already, and this model was trained to {session.model.config.taught}: nothing is "
            "left for it. Ask for max_tokens, put the mask token where something is missing, or name places to rewrite."
        )
    sizes = [size for size in (session.model.config.block_size, denoising.window) if size is not None]
    most = min(num_holes, *sizes) if sizes else num_holes
    if denoising.num_passes is not None and denoising.num_passes > most:
        raise CutawayError(
            f"num_passes is {denoising.num_passes}, and there are {most} tokens to fill in at a time: this model was trained to "
            f"{session.model.config.taught}. Allowed: 1 to {most}."
        )
    if session.model.config.is_shifted and (ids[0] == mask_id or 0 in rewritten):
        raise CutawayError(
            "This model says a hidden token one place earlier, so the first of a text must be there. Begin the text with one."
        )
    check_places(len(ids), places(session.model.config.main, session.model))
