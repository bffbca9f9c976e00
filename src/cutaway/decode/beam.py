"""Beam search. In: a session and a prompt. Out: the best continuations found, and a commit event for each token of the best.

    score(y) = Σ log p(y_t | y_<t, x) / |y|^length_penalty     (Wu et al. 2016 §7, with length for (5 + length) / 6)

The best `num_beams` unfinished texts go on together, each by one token a step; whoever is among the best and ends is kept aside.
`Search` is the bookkeeping of one text and runs no model; `beam_search` drives it over forks of a session, and `batch.py` over
many sources at once.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..config import ModelConfig
from ..errors import CutawayError
from .autoregressive import check_max_tokens, end_ids, start_ids
from .constraints import NO_CONSTRAINTS, Constraints, constrain
from .run import run
from .samplers import not_numbers, repetition_penalty, require
from .session import Session
from .step import Decoder, Event, Step, ask, ask_all

EarlyStopping = bool | Literal["never"]
STRONGEST = 20.0  # length penalty: beyond, lengths overflow


@dataclass(frozen=True, kw_only=True)
class Beam:
    """How the search is done. num_beams: texts that go on together; 1 is greedy. num_return: how many of the best are wanted.

    length_penalty: 0 ranks by the sum of log probabilities, above it longer texts gain, below it they lose. early_stopping: when
    to stop once num_beams texts have ended. True: at once. False: when the best one that goes on would, if it ended now, not be
    among them. never: when it could not be among them at any length up to max_tokens. repetition_penalty: multiplies the log
    probabilities of ids seen (Keskar et al. 2019 §4.1); 1 is none. constraints: what new tokens must and must not be.
    Raises CutawayError for values outside what `__post_init__` lists.
    """

    num_beams: int = 4
    num_return: int = 1
    length_penalty: float = 1.0
    early_stopping: EarlyStopping = False
    repetition_penalty: float = 1.0
    constraints: Constraints = NO_CONSTRAINTS

    def __post_init__(self) -> None:
        beams, wanted, length, penalty = self.num_beams, self.num_return, self.length_penalty, self.repetition_penalty
        require(beams >= 1, "num_beams", beams, "1 and more")
        require(1 <= wanted <= beams, "num_return", wanted, f"from 1 to num_beams, {beams}")
        require(-STRONGEST <= length <= STRONGEST, "length_penalty", length, f"from {-STRONGEST} to {STRONGEST}")
        require(
            self.early_stopping in (True, False, "never"), "early_stopping", self.early_stopping, "true, false, never"
        )
        require(0 < penalty < math.inf, "repetition_penalty", penalty, "above 0; 1 is no penalty, more repeats less")


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A continuation. ids: the new tokens, the end id included; log_probs: of each, after the rules; score: see above."""

    ids: tuple[int, ...]
    log_probs: tuple[float, ...]
    score: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What all texts of a search share. end_ids: what ends a text; max_tokens: the most new ones, the end id included."""

    beam: Beam
    max_tokens: int
    end_ids: frozenset[int]

    @property
    def num_candidates(self) -> int:
        """How many continuations are looked at: enough that num_beams of them go on, whichever end."""
        return max(2, 1 + len(self.end_ids)) * self.beam.num_beams

    def candidates(self, logits: Tensor, ids: Tensor, num_new: int) -> tuple[list[list[float]], list[list[int]]]:
        """Every row's best next tokens: their log probabilities, best first, and their ids.

        logits: [batch, vocab]; ids: [batch, position], all that each row holds, of which the last num_new are new.
        Raises CutawayError for logits that are not numbers.
        """
        scores = logits.float().log_softmax(-1)
        if self.beam.repetition_penalty != 1.0:
            scores = repetition_penalty(scores, ids, self.beam.repetition_penalty)
        limits = {"num_new": num_new, "max_tokens": self.max_tokens}
        scores = constrain(scores, ids, self.beam.constraints, **limits, end_ids=self.end_ids)
        best, tokens = scores.topk(min(self.num_candidates, scores.shape[-1]))
        log_probs: list[list[float]] = best.tolist()
        if any(math.isnan(row[0]) for row in log_probs):
            raise CutawayError(not_numbers())
        return log_probs, tokens.tolist()


class Search:
    """The beams of one text. live: those that go on, best first, their score the plain sum; ended: the best that have ended."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.beam = plan, plan.beam
        self.live = [Hypothesis((), (), 0.0)]
        self.ended: list[Hypothesis] = []

    @property
    def num_new(self) -> int:
        """How many new tokens each live beam has."""
        return len(self.live[0].ids)

    @property
    def found(self) -> list[Hypothesis]:
        """The best that have ended, best first: num_return of them, or all there are."""
        return self.ended[: self.beam.num_return]

    def advance(self, log_probs: Sequence[Sequence[float]], ids: Sequence[Sequence[int]]) -> list[int]:
        """One more token. log_probs, ids: what `Plan.candidates` says of each live beam.

        Returns, for each beam that is live now, which of the old ones it continues; nothing once the search is over.
        """
        candidates = self._best(log_probs, ids)
        is_last = self.num_new + 1 == self.plan.max_tokens
        going: list[tuple[int, Hypothesis]] = []
        for rank, (parent, grown) in enumerate(candidates):
            if not is_last and grown.ids[-1] not in self.plan.end_ids:
                going.append((parent, grown))
            elif rank < self.beam.num_beams:
                self._end(grown)
        if not candidates:  # the rules leave nothing to say: the texts end as they are
            for text in self.live:
                self._end(text)
        going = going[: self.beam.num_beams]
        if going and self._is_over(going[0][1]):
            going = []
        self.live = [grown for _, grown in going]
        return [parent for parent, _ in going]

    def _best(self, log_probs: Sequence[Sequence[float]], ids: Sequence[Sequence[int]]) -> list[tuple[int, Hypothesis]]:
        """The best continuations of all live beams, and which beam each continues. What is −inf is none."""
        choices = [
            (text.score + value, parent, token, value)
            for parent, text in enumerate(self.live)
            for value, token in zip(log_probs[parent], ids[parent], strict=True)
            if value > -math.inf
        ]
        choices.sort(key=lambda choice: -choice[0])
        best = choices[: self.plan.num_candidates]
        return [(parent, _grown(self.live[parent], token, value)) for _, parent, token, value in best]

    def _end(self, text: Hypothesis) -> None:
        score = text.score / max(1, len(text.ids)) ** self.beam.length_penalty
        self.ended.append(Hypothesis(text.ids, text.log_probs, score))
        self.ended.sort(key=lambda ended: -ended.score)
        del self.ended[self.beam.num_beams :]

    def _is_over(self, best: Hypothesis) -> bool:
        """Whether what has ended is enough. best: the best text that would go on."""
        beam = self.beam
        if len(self.ended) < beam.num_beams:
            return False
        if beam.early_stopping is True or beam.num_beams == 1:
            return True
        could_grow = beam.early_stopping == "never" and beam.length_penalty > 0
        length = self.plan.max_tokens if could_grow else len(best.ids)
        return best.score / length**beam.length_penalty <= self.ended[-1].score


def beam_search(
    session: Session,
    prompt_ids: Sequence[int],
    beam: Beam,
    *,
    max_tokens: int,
    eos_ids: Collection[int] | None = None,
    found: list[Hypothesis] | None = None,
) -> Decoder:
    """Continue the session with the prompt and then the best text of up to max_tokens tokens.

    prompt_ids, eos_ids: as `autoregressive`. found: receives the num_return best hypotheses at the end, best first; fewer where
    there are not as many. The tokens of the best are committed when all is over: before, none is final. The beams live in forks
    of the session, which itself holds the prompt afterwards. Where the model's position table would end before max_tokens, it
    decides. Raises CutawayError, at the first step, for what `autoregressive` refuses.
    """
    ids: Sequence[int] = prompt_ids or start_ids(session)
    plan = make_plan(session.model.config, beam, max_tokens, eos_ids, _room(session, len(ids)))
    search = Search(plan)
    logits = [(yield from ask(Step(session, ids)))]
    beams = [session]
    while True:
        seen = torch.tensor([beam.ids for beam in beams], device=session.device)
        parents = search.advance(*plan.candidates(torch.stack([rows[-1] for rows in logits]), seen, search.num_new))
        if not parents:
            break
        beams = _continued(beams, parents, session)
        steps = [Step(beam, text.ids[-1:]) for beam, text in zip(beams, search.live, strict=True)]
        logits = yield from ask_all(steps)
    if found is not None:
        found[:] = search.found
    for index, (token, value) in enumerate(zip(search.ended[0].ids, search.ended[0].log_probs, strict=True)):
        yield Event("commit", session.length + index, None, token, math.exp(value))


def hypotheses(
    session: Session,
    prompt_ids: Sequence[int],
    beam: Beam,
    *,
    max_tokens: int,
    eos_ids: Collection[int] | None = None,
) -> list[Hypothesis]:
    """The num_return best continuations, best first: `beam_search`, run to its end; which see for arguments and errors."""
    found: list[Hypothesis] = []
    for _ in run(beam_search(session, prompt_ids, beam, max_tokens=max_tokens, eos_ids=eos_ids, found=found)):
        pass
    return found


def make_plan(
    config: ModelConfig, beam: Beam, max_tokens: int, eos_ids: Collection[int] | None, room: int | None
) -> Plan:
    """A checked plan. eos_ids None: the model's own end id. room: how many new tokens the positions allow; None: any number."""
    check_max_tokens(max_tokens)
    most = max_tokens if room is None else max(1, min(max_tokens, room))
    beam.constraints.check(config.vocab_size, most)
    return Plan(beam, most, end_ids(config) if eos_ids is None else frozenset(eos_ids))


def _room(session: Session, num_prompt: int) -> int | None:
    """The last new token is never run, so it needs no place."""
    return None if session.room is None else session.room - num_prompt + 1


def _continued(beams: Sequence[Session], parents: Sequence[int], session: Session) -> list[Session]:
    """A session for each new beam. The first to continue an old beam takes it over, the others fork it; `session` stays."""
    free = {index for index, beam in enumerate(beams) if beam is not session}
    continued = []
    for parent in reversed(parents):  # forks come before anyone runs, so the order is free
        continued.append(beams[parent] if parent in free else beams[parent].fork())
        free.discard(parent)
    return continued[::-1]


def _grown(text: Hypothesis, token: int, log_prob: float) -> Hypothesis:
    return Hypothesis((*text.ids, token), (*text.log_probs, log_prob), text.score + log_prob)
