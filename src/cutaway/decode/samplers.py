"""Logits -> one id. In: logits, the ids so far, a Sampling. Out: probabilities, and a token drawn from them without state.

    penalty (Keskar et al. 2019 §4.1) -> temperature -> top-k (Fan et al. 2018) -> top-p (Holtzman et al. 2020 §3.1)
    -> min-p (Nguyen et al. 2024) -> softmax -> the inverse of the cumulative distribution at u

u comes from a counter-based generator keyed by (seed, request, position) (Salmon et al. 2011, Philox), so that a token does not
depend on what was drawn before it or beside it. Filters set what they remove to −inf.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import CutawayError

SMALLEST_TEMPERATURE = 1e-6
NUCLEUS_SIZES = (128, 1024, 4096)  # tried before the whole vocabulary is sorted


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a token is chosen from logits. temperature 0: the most likely one, the lowest id of equals. None: filter off.

    Raises CutawayError for values outside what `__post_init__` lists.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        heat, k, p, least, penalty = (
            self.temperature, self.top_k, self.top_p, self.min_p, self.repetition_penalty
        )  # fmt: skip
        is_warm = SMALLEST_TEMPERATURE <= heat < math.inf
        require(heat == 0 or is_warm, "temperature", heat, f"0 (greedy), or {SMALLEST_TEMPERATURE} and more")
        require(k is None or k >= 1, "top_k", k, "1 and more tokens; leave it out to keep all")
        require(p is None or 0 < p <= 1, "top_p", p, "above 0 and at most 1; leave it out to keep all")
        require(least is None or 0 <= least <= 1, "min_p", least, "from 0 to 1; leave it out to keep all")
        require(0 < penalty < math.inf, "repetition_penalty", penalty, "above 0; 1 is no penalty, more repeats less")
        require(0 <= self.seed < 2**64, "seed", self.seed, "whole numbers from 0 to 2^64 − 1")

    @property
    def is_greedy(self) -> bool:
        """Whether nothing is drawn."""
        return self.temperature == 0


@torch.inference_mode()
def choose(logits: Tensor, ids: Sequence[int], sampling: Sampling, request: int, position: int) -> tuple[int, float]:
    """The token for one place and its probability.

    logits: [vocab]; ids: the sequence so far (read under a repetition penalty only); request: the number of the prompt in its
    batch; position: the absolute place. The probability is that of the distribution which was drawn from; of a greedy choice,
    which is certain, the model's own (after the penalty). Raises CutawayError for logits that are not numbers.
    """
    logits = penalised(logits, ids, sampling)
    if sampling.is_greedy:
        token = int(logits.argmax())
        probability = float(logits.softmax(-1)[token])
    else:
        candidates, probabilities = _candidates(logits, sampling)
        index = draw(probabilities, uniform(sampling.seed, request, position))
        token = index if candidates is None else int(candidates[index])
        probability = float(probabilities[index])
    if not math.isfinite(probability):
        raise CutawayError(not_numbers(position))
    return token, probability


def distribution(logits: Tensor, ids: Sequence[int] | Tensor, sampling: Sampling) -> Tensor:
    """What a token is drawn from. logits: [..., vocab]; ids: [seen] or [..., seen] -> probabilities [..., vocab].

    In float32 at least. Greedy: all on the most likely token.
    """
    logits = penalised(logits, ids, sampling)
    if sampling.is_greedy:
        return torch.zeros_like(logits).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)
    logits = temperature(logits, sampling.temperature)
    if sampling.top_k is not None:
        logits = top_k(logits, sampling.top_k)
    return _by_mass(logits, sampling)


def penalised(logits: Tensor, ids: Sequence[int] | Tensor, sampling: Sampling) -> Tensor:
    """The first filter, which greedy choices obey too. logits: [..., vocab] -> the same, float32 at least."""
    logits = logits if logits.dtype.itemsize >= 4 else logits.float()
    if sampling.repetition_penalty == 1.0 or len(ids) == 0:
        return logits
    return repetition_penalty(logits, torch.as_tensor(ids, device=logits.device), sampling.repetition_penalty)


def repetition_penalty(logits: Tensor, ids: Tensor, penalty: float) -> Tensor:
    """Divide positive logits of ids seen by the penalty, multiply negative ones.

    logits: [..., vocab]; ids: [seen] or [..., seen], repeats count once.
    """
    ids = ids.expand(*logits.shape[:-1], ids.shape[-1])
    seen = logits.gather(-1, ids)
    return logits.scatter(-1, ids, torch.where(seen < 0, seen * penalty, seen / penalty))


def temperature(logits: Tensor, degree: float) -> Tensor:
    """Below 1 sharper, above 1 flatter. logits: [..., vocab]; degree: above 0."""
    return logits if degree == 1.0 else logits / degree


def top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the k most likely tokens, and those equal to the last of them. logits: [..., vocab]."""
    if k >= logits.shape[-1]:
        return logits
    least = logits.topk(k).values[..., -1:]
    return logits.masked_fill(logits < least, -torch.inf)


def top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the fewest most likely tokens that hold probability p, the one that crosses p included. logits: [..., vocab].

    Of tokens that are equal at the border the lowest ids stay.
    """
    if p >= 1.0:
        return logits
    least, num_kept = _nucleus(logits, p)
    is_removed = logits < least
    if not torch.equal(logits.shape[-1] - is_removed.sum(-1, keepdim=True), num_kept):
        is_equal = logits == least
        num_equal_kept = num_kept - (logits > least).sum(-1, keepdim=True)
        is_removed |= is_equal & (is_equal.cumsum(-1) > num_equal_kept)
    return logits.masked_fill(is_removed, -torch.inf)


def min_p(logits: Tensor, share: float) -> Tensor:
    """Keep the tokens with at least this share of the most likely one's probability. logits: [..., vocab]."""
    probabilities = logits.softmax(-1)
    return logits.masked_fill(probabilities < share * probabilities.amax(-1, keepdim=True), -torch.inf)


def draw(probabilities: Tensor, u: float) -> int:
    """The first id whose cumulative probability exceeds u of the whole, in float64. probabilities: [vocab]; u: in [0, 1)."""
    cumulative = probabilities.cumsum(-1, dtype=torch.float64)
    total = float(cumulative[-1])
    if not 0 < total < math.inf:
        raise CutawayError(not_numbers())
    return int(torch.searchsorted(cumulative, u * total, right=True))


def uniform(seed: int, request: int, position: int, index: int = 0) -> float:
    """A number in [0, 1) that depends on nothing but these four. index: for decoders that need several a place."""
    key, counter = np.array([seed, request], np.uint64), np.array([index, position, 0, 0], np.uint64)
    bits = np.random.Philox(key=key, counter=counter).random_raw()
    return float((int(bits) >> 11) * 2.0**-53)


def require(is_allowed: bool, name: str, value: object, allowed: str) -> None:
    """Raises CutawayError with the name of a setting, the value got and the values allowed, unless it is allowed."""
    if not is_allowed:
        raise CutawayError(f"{name} is {value}. Allowed: {allowed}.")


def not_numbers(position: int | None = None) -> str:
    """What to say of logits from which nothing can be chosen. position: where, if it is known."""
    where = "" if position is None else f" for position {position}"
    return (
        f"The logits{where} are not numbers (NaN or infinite), so no token can be chosen. The weights are damaged or training "
        "diverged: use an earlier checkpoint, or a lower learning rate."
    )


def _candidates(logits: Tensor, sampling: Sampling) -> tuple[Tensor | None, Tensor]:
    """The ids that top-k keeps (None: all) and the probabilities of these alone: `distribution` without its zeros.

    logits: [vocab]. After top-k, everything else costs k and not the vocabulary.
    """
    logits, k = temperature(logits, sampling.temperature), sampling.top_k
    if k is None or k >= len(logits):
        return None, _by_mass(logits, sampling)
    candidates = (~(logits < logits.topk(k).values[-1])).nonzero()[:, 0]  # what is not a number stays, to be noticed
    return candidates, _by_mass(logits[candidates], sampling)


def _by_mass(logits: Tensor, sampling: Sampling) -> Tensor:
    """The filters that look at probabilities, and the probabilities after them: [..., vocab]."""
    if sampling.top_p is not None:
        logits = top_p(logits, sampling.top_p)
    if sampling.min_p is not None:
        logits = min_p(logits, sampling.min_p)
    return logits.softmax(-1)


def _nucleus(logits: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """The least logit in the nucleus and how many tokens it has: both [..., 1]. Sorts no more than it needs."""
    vocab_size = logits.shape[-1]
    probabilities = logits.softmax(-1)
    wanted = p * probabilities.sum(-1, keepdim=True, dtype=torch.float64)
    for size in (*(size for size in NUCLEUS_SIZES if size < vocab_size), vocab_size):
        best, ids = logits.topk(size)
        mass = probabilities.gather(-1, ids).cumsum(-1, dtype=torch.float64)
        if size == vocab_size or bool((mass[..., -1:] >= wanted).all()):
            break
    num_kept = ((mass < wanted).sum(-1, keepdim=True) + 1).clamp_max(vocab_size)
    return best.gather(-1, num_kept - 1), num_kept
