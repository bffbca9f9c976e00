"""The output of one token, with its arithmetic. In: logits, and how a token is chosen. Out: the top of the distribution.

    z = logit ÷ temperature      m = the largest z      e = exp(z − m)
    share = e / Σ e over the kept = exp(z − log Σ exp z over the kept)

in float64, from the logits as they are (after the repetition penalty, if one is asked for). What top-k, top-p or min-p cut
keeps its numbers and gets share 0. The choice is the one that `decode` makes for the same logits, seed and position.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..decode.samplers import Sampling, choose, min_p, penalised, temperature, top_k, top_p, uniform
from .words import Words


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One token. scaled: z; exponential: e; share: as in the file's equation.

    model_share: its share at temperature 1 with nothing cut and no penalty; is_kept: whether it may be drawn.
    """

    rank: int
    id: int
    text: str
    logit: float
    scaled: float
    exponential: float
    model_share: float
    share: float
    is_kept: bool


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The token that decoding takes. probability: as `decode` reports it. draw: the number in [0, 1) that fell, None: greedy.

    role: "eos" say, None for a word.
    """

    id: int
    text: str
    rank: int
    probability: float
    draw: float | None
    role: str | None


@dataclass(frozen=True, kw_only=True)
class Output:
    """What follows a token. temperature: what logits are divided by; maximum: m; total: Σ e over the kept; log_sum_exp: of z.

    candidates: the likeliest, in order; num_others, others_share: all the rest; num_kept: how many may be drawn.
    actual: the token that the prompt goes on with, None at its end.
    """

    position: int
    vocab_size: int
    temperature: float
    maximum: float
    total: float
    log_sum_exp: float
    num_kept: int
    candidates: tuple[Candidate, ...]
    num_others: int
    others_share: float
    choice: Choice
    actual: Candidate | None


def output_of(
    logits: Tensor, ids: Sequence[int], position: int, sampling: Sampling, words: Words, count: int
) -> Output:
    """The output at `position`. logits: [vocab]; ids: of the whole prompt; sampling: greedy divides by 1 and cuts nothing.

    count: how many candidates. Raises CutawayError for logits that are not numbers.
    """
    seen = ids[: position + 1]
    token, probability = choose(logits, seen, sampling, 0, position + 1)
    heat = 1.0 if sampling.is_greedy else sampling.temperature
    how = Sampling(repetition_penalty=sampling.repetition_penalty) if sampling.is_greedy else sampling
    table = _Table(logits, seen, replace(how, temperature=heat), words)
    ranks = table.ranks
    candidates = tuple(table.candidate(int(token_id)) for token_id in table.ordered[:count])
    draw = None if sampling.is_greedy else uniform(sampling.seed, 0, position + 1)
    return Output(
        position=position,
        vocab_size=len(logits),
        temperature=heat,
        maximum=table.maximum,
        total=table.total,
        log_sum_exp=table.maximum + math.log(table.total),
        num_kept=int(table.is_kept.sum()),
        candidates=candidates,
        num_others=len(logits) - len(candidates),
        others_share=table.share_of(table.ordered[count:]),
        choice=Choice(
            id=token,
            text=words.text(token),
            rank=int(ranks[token]),
            probability=probability,
            draw=draw,
            role=words.role(token),
        ),
        actual=table.candidate(ids[position + 1]) if position + 1 < len(ids) else None,
    )


class _Table:
    """Every number of the whole vocabulary. sampling: with a temperature above 0."""

    def __init__(self, logits: Tensor, seen: Sequence[int], sampling: Sampling, words: Words) -> None:
        self.words = words
        self.logits = logits.double()
        warm = temperature(penalised(logits, seen, sampling), sampling.temperature)
        self.is_kept = _kept(warm, sampling)
        self.scaled = warm.double()
        self.maximum = float(self.scaled.max())
        self.exponentials = (self.scaled - self.maximum).exp()
        self.total = float(self.exponentials[self.is_kept].sum())
        self.model_shares = self.logits.softmax(-1)
        self.ordered = self.scaled.argsort(descending=True, stable=True)
        self.ranks = torch.empty_like(self.ordered)
        self.ranks[self.ordered] = torch.arange(len(self.ordered))

    def share_of(self, ids: Tensor) -> float:
        """The share of several tokens together."""
        return float((self.exponentials[ids] * self.is_kept[ids]).sum()) / self.total

    def candidate(self, token_id: int) -> Candidate:
        """One row."""
        is_kept = bool(self.is_kept[token_id])
        exponential = float(self.exponentials[token_id])
        return Candidate(
            rank=int(self.ranks[token_id]),
            id=token_id,
            text=self.words.text(token_id),
            logit=float(self.logits[token_id]),
            scaled=float(self.scaled[token_id]),
            exponential=exponential,
            model_share=float(self.model_shares[token_id]),
            share=exponential / self.total if is_kept else 0.0,
            is_kept=is_kept,
        )


def _kept(warm: Tensor, sampling: Sampling) -> Tensor:
    """What the filters leave: [vocab] of bool."""
    if sampling.top_k is not None:
        warm = top_k(warm, sampling.top_k)
    if sampling.top_p is not None:
        warm = top_p(warm, sampling.top_p)
    if sampling.min_p is not None:
        warm = min_p(warm, sampling.min_p)
    return warm > -torch.inf
