"""Steps -> passes. In: steps that wait. Out: rows of at most so many tokens, each with a piece of several sessions.

A row holds pieces of sessions that share one model and one kernel; their tokens stand side by side and never see each other. A
step longer than its session reads in one pass, or than what is left of the row, is cut where that changes nothing (see
`session.Piece.ends`), its rest waits for later passes (Agrawal et al. 2023, chunked prefill), and every step behind it keeps a
place, so that long prompts don't hold up short steps. Sessions with a memory (encoder-decoders) or a watcher have each row for
themselves, and their steps are never cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from ..model.visibility import cuts
from .session import Piece, Session, forward, kept_length, rows_of
from .step import Step


class Work:
    """A step on its way through one or more passes. before: the work on the same session that must be done first."""

    def __init__(self, step: Step, before: Work | None = None) -> None:
        self.step, self.before = step, before
        self.num_done, self.start = 0, 0
        self.logits: list[Tensor] = []

    @property
    def session(self) -> Session:
        """The step's session."""
        return self.step.session

    @property
    def num_left(self) -> int:
        """How many of the step's tokens still wait."""
        return len(self.step.ids) - self.num_done

    @property
    def is_ready(self) -> bool:
        """Whether the next pass may hold a piece of it."""
        return self.before is None or self.before.num_left == 0

    @property
    def answer(self) -> Tensor:
        """The logits [read, vocab] of the whole step."""
        return self.logits[0] if len(self.logits) == 1 else torch.cat(self.logits)

    def size(self, most: int | None) -> int:
        """How many of its tokens the next pass holds: as many as there are, `most` allows, and its session reads in one pass.

        It may be more where the step is not cut so short.
        """
        limits = [limit for limit in (most, self.session.most_in_pass) if limit is not None]
        if not limits or self.num_left <= min(limits) or not self._is_divisible:
            return self.num_left
        most = max(1, min(limits))
        if self.step.tokens is None:
            return most
        ends = [end - self.num_done for end in (*self._cuts, len(self.step.ids)) if end > self.num_done]
        return max([end for end in ends if end <= most], default=ends[0])

    def piece(self, size: int) -> Piece:
        """The next `size` tokens, checked. Raises CutawayError as `Session.extend`."""
        step, first, end = self.step, self.num_done, self.num_done + size
        rows = rows_of(step.read, len(step.ids))
        kept_length(step.keep, len(step.ids))
        if first == 0 or step.tokens is not None:  # a step that cannot end must not begin
            piece = self.session.piece(step.ids, rows, step.tokens).part(first, end)
        else:
            piece = self.session.piece(step.ids[first:end], [row - first for row in rows if first <= row < end], None)
        if first == 0:
            self.start = self.session.length
        return piece

    def take(self, size: int, logits: Tensor) -> None:
        """The pass with the next `size` tokens is over; after the last, the session keeps what the step says."""
        self.num_done += size
        self.logits.append(logits)
        if self.num_left == 0:
            self.session.rewind(self.start + kept_length(self.step.keep, len(self.step.ids)))

    @cached_property
    def _cuts(self) -> list[int]:
        return [] if self.step.tokens is None else cuts(self.step.tokens)

    @property
    def _is_divisible(self) -> bool:
        """A store that forgets must not do so on the way through tokens that the step does not keep."""
        keep, session = self.step.keep, self.session
        return session.shares_rows and (not session.store.slides or keep is None or keep >= len(self.step.ids))


def make_works(steps: Sequence[Step]) -> list[Work]:
    """A work for each step; steps on one session wait for each other, in order."""
    works: list[Work] = []
    latest: dict[int, Work] = {}
    for step in steps:
        works.append(Work(step, latest.get(id(step.session))))
        latest[id(step.session)] = works[-1]
    return works


def next_row(waiting: Sequence[Work], max_tokens: int | None) -> list[tuple[Work, int]]:
    """What the next pass holds: works that are ready, oldest first, and how many tokens of each.

    waiting: not empty, oldest first. max_tokens: of the row, None for no limit; only a step that is not cut (see above) may
    exceed it, and then it is alone.
    """
    head = next(work for work in waiting if work.is_ready)
    if not head.session.shares_rows:
        return [(head, head.num_left)]
    ready = [work for work in waiting if work.is_ready and _fits(work.session, head.session)]
    if max_tokens is None:
        return [(work, work.size(None)) for work in ready]
    row: list[tuple[Work, int]] = []
    left = max_tokens
    for index, work in enumerate(ready):
        num_behind = len(ready) - index - 1
        size = work.size(max(1, left - num_behind))
        if size > left and row:
            continue
        row.append((work, size))
        left -= size
        if left <= 0:
            break
    return row


def run_row(row: Sequence[tuple[Work, int]], pieces: Sequence[Piece]) -> None:
    """One pass over the pieces of a row; every work takes its logits."""
    for (work, size), logits in zip(row, forward(pieces), strict=True):
        work.take(size, logits)


def execute(steps: Sequence[Step]) -> tuple[list[Tensor], list[list[Step]]]:
    """Run steps in as few passes as they allow. Returns each step's logits [read, vocab], and the steps of every pass."""
    works = make_works(steps)
    waiting, passes = works, list[list[Step]]()
    while waiting:
        row = next_row(waiting, None)
        run_row(row, [work.piece(size) for work, size in row])
        passes.append([work.step for work, _ in row])
        waiting = [work for work in waiting if work.num_left]
    return [work.answer for work in works], passes


def _fits(session: Session, head: Session) -> bool:
    return session.shares_rows and session.model is head.model and session.attend is head.attend
