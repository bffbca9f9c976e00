"""Sessions with a recorded plan write what those without write."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

import cutaway
from cutaway.config import ModelConfig, StackConfig
from cutaway.decode import Session
from cutaway.runtime.cache import Cache
from cutaway.runtime.plans.planner import PLANS
from cutaway.runtime.quantise import quantise
from tests import tiny

from .planned import HAS_KERNELS, SHAPES, feed, made, readable, tokens, written

pytestmark = HAS_KERNELS
SHAPED = [*tiny.every_shape(), *tiny.variants().items()]


@pytest.mark.parametrize("stack", [stack for _, stack in SHAPED], ids=[name for name, _ in SHAPED])
def test_every_shape_has_a_plan_that_computes_what_it_computes(stack: StackConfig) -> None:
    model, ids = tiny.model(tiny.config(decoder=stack)), tokens(9)
    planned, plain = Session(model), Session(model, attend=None)
    for session in (planned, plain):
        session.extend(ids[:3])
    tiny.assert_close(feed(planned, ids[3:]), feed(plain, ids[3:]))
    has_experts = stack.feedforward.experts is not None
    assert (planned.planner is not None and planned.planner.reason is None) != has_experts
    assert (PLANS.get(model) is None) == has_experts


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("is_native", [True, False])
def test_texts_are_the_same(config: ModelConfig, is_native: bool, replays: list[int]) -> None:
    model, prompt = made(config, is_native=is_native), tokens(3)
    text = written(Session(model), prompt, 30)
    assert len(replays) == 3 + 29, "the prompt, and all but the last token"
    assert text == written(Session(model, is_planned=False), prompt, 30)
    assert text == written(Session(model, attend=None), prompt, 30)
    assert len(replays) == 3 + 29
    assert len(set(text)) > 3, "texts that do not vary prove nothing"


@pytest.mark.parametrize("bits", [16, 8, 4])
@pytest.mark.parametrize("name", ["gated, grouped, rotary", "parallel, partly rotary", "learned positions, tied"])
def test_weights_in_fewer_bits_have_plans(bits: int, name: str, replays: list[int]) -> None:
    """Inputs are rounded behind norms that differ in their last place: now and then a code may fall on the other side."""
    model, ids = made(SHAPES[name]), tokens(8)
    quantise(model, bits)
    found, wanted = feed(Session(model), ids), readable(model, ids)
    assert len(replays) == len(ids)
    assert (found - wanted).abs().max() <= (1e-5 if bits == 16 else 1e-2) * wanted.abs().max()
    assert wanted.std(dim=-1).min() > 1e-2, "logits that do not vary prove nothing"


@pytest.mark.parametrize("bits", [16, 8])
@pytest.mark.parametrize("name", SHAPES)
def test_keys_and_values_in_fewer_bits_have_plans(bits: int, name: str, replays: list[int]) -> None:
    """What is kept is rounded behind sums that differ in their last place: now and then a number may fall on the other side."""
    model, ids, cache = made(SHAPES[name]), tokens(12), Cache(bits=bits, slides=False)
    found = feed(Session(model, cache=cache), ids)
    wanted = feed(Session(model, cache=cache, is_planned=False), ids)
    assert len(replays) == len(ids)
    assert (found - wanted).abs().max() <= 1e-2 * wanted.abs().max()
    assert (found - readable(model, ids)).abs().max() > 0, "something is rounded"
    session = Session(model, cache=cache)
    feed(session, ids[:8])
    twin = session.fork()
    session.rewind(4)
    assert torch.equal(feed(session, ids[4:]), found[4:])
    assert torch.equal(feed(twin, ids[8:]), found[8:])


def test_the_bundled_model_writes_the_same_text(replays: list[int]) -> None:
    lm = cutaway.load("stories")
    pieces = lm.stream("Once upon a time", max_tokens=60, session=Session(lm.model, is_planned=False))
    plain = "".join(piece.text for piece in pieces)
    assert not replays
    assert lm.generate("Once upon a time", max_tokens=60) == plain
    assert len(replays) >= 50


def test_a_generation_gives_its_bits_again_whoever_recorded() -> None:
    model, ids = made(SHAPES["gated, grouped, rotary"]), tokens(6)
    first = feed(Session(model), ids)
    assert torch.equal(first, feed(Session(model), ids)), "with the plan there beforehand"
    PLANS.pop(model)
    again = Session(model)
    again.extend(ids[:1], "none")
    assert torch.equal(torch.cat([first[:1], feed(again, ids[1:])]), first)


def test_a_store_that_grows_moves_its_memory(replays: list[int]) -> None:
    model, ids = made(SHAPES["gated, grouped, rotary"]), tokens(150)
    tiny.assert_close(feed(Session(model), ids), readable(model, ids))
    assert len(replays) == 150


def test_rewind_peek_and_keep() -> None:
    model, ids = made(SHAPES["sandwich, windows, caps"]), tokens(12)
    whole, session = feed(Session(model), ids), Session(model)
    feed(session, ids[:6])
    feed(session, [7, 8, 9])
    session.rewind(6)
    assert torch.equal(session.peek([ids[6]]), whole[6:7])
    assert session.ids == ids[:6]
    assert session.extend([ids[6]], "none").shape == (0, tiny.VOCAB)
    assert torch.equal(feed(session, ids[7:]), whole[7:])
    session.rewind(0)
    assert torch.equal(feed(session, ids), whole)


def test_forks_and_sessions_in_turn_do_not_know_each_other() -> None:
    model, (one, other) = made(SHAPES["slopes"]), (tokens(14), tokens(14, seed=6))
    expected = [feed(Session(model), one[:7] + end) for end in (one[7:], other[7:])] + [feed(Session(model), other)]
    session, third = Session(model), Session(model)
    feed(session, one[:7])
    twin, found = session.fork(), list[Tensor]()
    feed(third, other[:7])
    for a, b in zip(one[7:], other[7:], strict=True):
        found += [session.extend([a]), twin.extend([b]), third.extend([b])]
    for index, whole in enumerate(expected):
        assert torch.equal(torch.cat(found[index::3]), whole[7:])


def test_threads_share_a_plan() -> None:
    model = made(SHAPES["gated, grouped, rotary"])
    texts = [tokens(40, seed=seed) for seed in range(6)]
    expected = [feed(Session(model), text) for text in texts]
    with ThreadPoolExecutor(6) as pool:
        for found, whole in zip(pool.map(lambda text: feed(Session(model), text), texts), expected, strict=True):
            assert torch.equal(found, whole)


def test_another_number_of_threads_gives_the_same_bits(replays: list[int]) -> None:
    model, ids, before = made(SHAPES["gated, grouped, rotary"]), tokens(6), torch.get_num_threads()
    try:
        found = []
        for num_threads in (1, 2, 3):
            torch.set_num_threads(num_threads)
            found.append(feed(Session(model), ids))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert len(replays) == 18


def test_a_model_without_users_is_freed_with_its_plan() -> None:
    model = made(SHAPES["slopes"])
    Session(model).extend([3])
    Session(model).extend([3])
    count = len(PLANS)
    del model
    gc.collect()
    assert len(PLANS) < count
