"""A plan runs several tokens at once: with the bits of one after another, or as the readable pass where they see ahead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from cutaway.decode import Session
from cutaway.model import Tokens, layouts, visibility
from cutaway.model.visibility import NEVER, build
from cutaway.runtime.cache import Cache
from cutaway.runtime.plans import plan
from cutaway.runtime.plans.planner import PLANS
from cutaway.runtime.plans.program import Operation, Program, Step
from cutaway.runtime.quantise import quantise
from tests import tiny

from .planned import HAS_KERNELS, SHAPES, feed, made, readable, tokens

pytestmark = HAS_KERNELS


def in_parts(session: Session, ids: Sequence[int], sizes: Sequence[int]) -> Tensor:
    """Logits [position, vocab] of ids, as many a pass as is said."""
    assert sum(sizes) == len(ids)
    ends = [sum(sizes[: index + 1]) for index in range(len(sizes))]
    return torch.cat([session.extend(ids[end - size : end], "all") for size, end in zip(sizes, ends, strict=True)])


@pytest.mark.parametrize("bits", [32, 16, 8, 4])
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("cache", [Cache(slides=False), Cache(bits=16, slides=False), Cache(bits=8, slides=False)])
def test_together_they_have_the_bits_of_one_after_another(
    cache: Cache, name: str, bits: int, replays: list[int]
) -> None:
    model, ids = made(SHAPES[name]), tokens(1 + 2 + 3 + 4 + 7 + 13)
    quantise(model, bits)
    alone = feed(Session(model, cache=cache), ids)
    feed(Session(model, cache=cache), ids[:2])
    together, again = Session(model, cache=cache), Session(model, cache=cache)
    assert torch.equal(in_parts(together, ids, [1, 2, 3, 4, 7, 13]), alone)
    assert torch.equal(in_parts(again, ids, [13, 1, 7, 4, 2, 3]), alone), "in any parts"
    assert torch.equal(together.store.tensors[0][..., : len(ids), :], again.store.tensors[0][..., : len(ids), :])
    assert torch.equal(together.store.fields[..., : len(ids)], visibility.causal(len(ids)).fields)
    assert len(replays) == 3 * len(ids) + 2


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_threads_changes_no_bit(threads: int) -> None:
    model, ids, before = made(SHAPES["sandwich, windows, caps"]), tokens(40), torch.get_num_threads()
    cache, drafts = Cache(slides=False), layouts.drafting(16, 3, [4, 4, 4])
    try:
        found = []
        for number in (before, threads):
            torch.set_num_threads(number)
            session = Session(model, cache=cache)
            found.append(torch.cat([session.extend(ids[:16], "all"), session.extend(ids[16:31], "all", tokens=drafts)]))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("bits", [32, 8])
def test_masks_that_see_ahead_of_themselves(name: str, bits: int, replays: list[int]) -> None:
    """Drafts and blocks of masks behind each: what the hybrid decoder asks, over and over, of a store that it rewinds."""
    model, ids = made(SHAPES[name]), tokens(40)
    quantise(model, bits)
    sessions = [Session(model, cache=Cache(slides=False), is_planned=is_planned) for is_planned in (True, False)]
    for session in sessions:
        session.extend(ids[:5])
    for num_known, sizes in ((1, [3]), (3, [4, 4, 3]), (4, [5, 5, 5, 5]), (2, [0, 2]), (1, [1])):
        start = sessions[0].length
        count, before = num_known + sum(sizes), len(replays)
        layout = layouts.drafting(start, num_known, sizes)
        found, wanted = (each.extend(ids[:count], "all", tokens=layout, keep=num_known) for each in sessions)
        assert (found - wanted).abs().max() <= (1e-5 if bits == 32 else 5e-2) * wanted.abs().max()
        assert len(replays) == before + count
        for session in sessions:
            session.rewind(start + (num_known + 1) // 2)
    alone = feed(Session(model, cache=Cache(slides=False)), [*sessions[0].ids, 7])
    assert torch.equal(sessions[0].extend([7]), alone[-1:]), "what is kept has the bits of one token after another"


def hidden(count: int, **fields: Sequence[int]) -> Tokens:
    """Causal tokens behind a text of 3, but for these fields."""
    given = dict(zip(("known", "reads", "position"), [list(range(3, 3 + count))] * 3, strict=True)) | fields
    return build(**{name: torch.tensor([numbers]) for name, numbers in given.items()})


ODD = {
    "another text": hidden(3, segment=[1, 1, 1]),
    "not all of the text before": hidden(3, reads=[3, 1, 5]),
    "not itself": hidden(3, known=[3, NEVER, 5]),
}
USUAL = {
    "peers": hidden(3, known=[NEVER] * 3, group=[1, 1, 2], rank=[0, 1, 0]),
    "ahead": hidden(3, reads=[5, 5, 5]),
    "places apart": hidden(3, position=[9, 4, 7]),
}


@pytest.mark.parametrize("name", [*ODD, *USUAL])
@pytest.mark.parametrize("shape", ["slopes", "sandwich, windows, caps", "gated, grouped, rotary"])
def test_who_sees_whom_is_what_the_readable_pass_says(name: str, shape: str, replays: list[int]) -> None:
    """What a plan cannot say is left to the readable pass."""
    model, ids, cache = made(SHAPES[shape]), tokens(6), Cache(slides=False)
    planned, plain = Session(model, cache=cache), Session(model, cache=cache, is_planned=False)
    for session in (planned, plain):
        session.extend(ids[:3])
    layout = (ODD | USUAL)[name]
    tiny.assert_close(planned.extend(ids[3:], "all", tokens=layout), plain.extend(ids[3:], "all", tokens=layout))
    assert replays == ids[: 3 if name in ODD else 6]


@pytest.mark.parametrize("name", SHAPES)
def test_blocks_behind_blocks(name: str, replays: list[int]) -> None:
    """What block diffusion asks: a noised block, several times, and then its clean tokens, which the next blocks see."""
    model, ids = made(SHAPES[name]), tokens(12)
    sessions = [Session(model, cache=Cache(slides=False), is_planned=is_planned) for is_planned in (True, False)]
    for start in (0, 4, 8):
        block = ids[start : start + 4]
        for layout, keep in (
            (layouts.noised_block(start, start + 4, 4), 0),
            (layouts.blocks(start, start + 4, 4), 4),
        ):
            found, wanted = (each.extend(block, "all", tokens=layout, keep=keep) for each in sessions)
            tiny.assert_close(found, wanted)
    assert replays == [token for start in (0, 4, 8) for token in ids[start : start + 4] * 2]
    tiny.assert_close(sessions[0].extend([7]), sessions[1].extend([7]))
    assert len(replays) == 25, "and behind it a token that sees them all"


def test_a_text_that_sees_itself_whole(replays: list[int]) -> None:
    model, ids = made(SHAPES["parallel, partly rotary"]), tokens(20)
    found = Session(model).extend(ids, "all", tokens=visibility.full(20))
    wanted = Session(model, is_planned=False).extend(ids, "all", tokens=visibility.full(20))
    tiny.assert_close(found, wanted)
    assert replays == ids


@pytest.mark.parametrize("read", ["last", "none", [1, 4], "all"])
def test_logits_of_the_tokens_that_were_asked_for(read: Any) -> None:
    model, ids = made(SHAPES["learned positions, tied"]), tokens(7)
    whole = feed(Session(model), ids)
    rows = {"last": [6], "none": [], "all": range(7)}.get(read, read) if isinstance(read, str) else read
    for _ in range(2):
        assert torch.equal(Session(model).extend(ids, read), whole[list(rows)]), "as it learns, and after"


def test_more_tokens_than_a_plan_takes_are_read(replays: list[int]) -> None:
    model, ids = made(SHAPES["gated, grouped, rotary"]), tokens(plan.MOST_TOKENS + 1)
    tiny.assert_close(Session(model).extend(ids, "all"), readable(model, ids))
    assert not replays
    Session(model).extend(ids[1:])
    assert replays == ids[1:]


def test_a_large_model_is_read_from_fewer_tokens_on(monkeypatch: pytest.MonkeyPatch, replays: list[int]) -> None:
    monkeypatch.setattr(plan, "LARGE", 100)
    model, ids = made(SHAPES["gated, grouped, rotary"]), tokens(plan.MOST_OF_LARGE + 1)
    session = Session(model)
    for _ in range(2):
        tiny.assert_close(session.peek(ids, "all"), readable(model, ids))
    session.extend(ids[1:])
    assert not replays, "nor a prompt, whoever recorded when"
    session.extend(ids[:3])
    assert replays == ids[:3], "but what is drafted behind it"


def test_one_token_and_several_are_admitted_each_by_itself() -> None:
    model, ids = made(SHAPES["gated, grouped, rotary"]), tokens(6)
    session = Session(model)
    session.extend(ids[:3])
    assert PLANS[model].admitted == {True}
    session.extend(ids[3:4])
    assert PLANS[model].admitted == {True, False}


def test_a_plan_that_is_wrong_of_one_token_is_not_admitted(monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids, original = made(SHAPES["gated, grouped, rotary"]), tokens(6), Program.replay
    session = Session(model)
    session.extend(ids[:3])

    def wrong(self: Program, now: Step, count: int | None = None) -> None:
        original(self, now, len(self.ops) - 2 if now.count == 1 else count)

    monkeypatch.setattr(Program, "replay", wrong)
    tiny.assert_close(feed(session, ids[3:]), readable(model, ids)[3:])
    assert session.planner is not None
    assert "other numbers" in str(session.planner.reason)
    assert PLANS[model].admitted == {True}


def test_a_plan_that_is_wrong_of_several_tokens_is_not_admitted(monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids, original = made(SHAPES["gated, grouped, rotary"]), tokens(9), Program.replay
    Session(model).extend(ids[:1])
    assert PLANS[model].admitted == {False}

    def wrong(self: Program, now: Step, count: int | None = None) -> None:
        original(self, now, len(self.ops) - 2 if now.count > 1 else count)

    monkeypatch.setattr(Program, "replay", wrong)
    session = Session(model)
    session.extend(ids[:1])
    tiny.assert_close(session.extend(ids[1:], "all"), readable(model, ids)[1:])
    assert session.planner is not None
    assert "other numbers" in str(session.planner.reason)
    assert PLANS[model].admitted == {False}


@pytest.mark.parametrize("name", SHAPES)
def test_vectors_that_live_at_once_lie_apart(name: str) -> None:
    """And what is shared is not written again before the threads have waited for whoever reads it."""
    model = made(SHAPES[name])
    Session(model).extend([3])
    program = PLANS[model].wide
    spans = [_span(op.out, operation, program) for op, operation in zip(program.ops, program.operations, strict=True)]
    last = {id(vector): index for index, each in enumerate(program.operations) for vector in each.inputs}
    waits = [bool(op.waits) for op in program.ops]
    for index, (first, end) in enumerate(spans):
        until = last.get(id(program.operations[index].out), index)
        if program.operations[index].out.is_shared:
            until = next((later for later in range(until + 1, len(waits)) if waits[later]), len(waits)) - 1
        for later in range(index + 1, until + 1):
            assert spans[later][1] <= first or end <= spans[later][0], f"{index} and {later}"


def _span(place: Any, operation: Operation, program: Program) -> tuple[int, int]:
    """Where a vector of all threads and tokens begins and ends, in bytes; of the result, nowhere."""
    if place.data is None:
        return (0, 0)
    copies = program.num_threads if place.own else 1
    size = 4 * (place.own * (copies - 1) + operation.out.size * program.num_tokens)
    return place.data, place.data + size
