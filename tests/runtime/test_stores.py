"""Stores: whatever is added, taken back and forked, each says what the model says without one, and holds the bytes it should."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cutaway import cost
from cutaway.config import AttentionConfig, LayerType, PositionConfig, StackConfig
from cutaway.decode import Beam, Session, beam_search, run
from cutaway.errors import CutawayError
from cutaway.model import Call, Tokens, Transformer, visibility
from cutaway.model.call import keys_of
from cutaway.runtime.attend import fused
from cutaway.runtime.cache import WHOLE, Cache
from cutaway.runtime.formats import Format, Int8, Plain
from cutaway.runtime.stores import KVStore, PackedStore
from tests import tiny
from tests.decode import prompt

MIXED = {"near": LayerType(window=3), "mid": LayerType(window=6), "full": LayerType()}
STACKS = {
    "no window": tiny.stack(position=PositionConfig(kind="rotary")),
    "one window": tiny.stack(layer_types=MIXED, pattern=("near",)),
    "windows": tiny.stack(num_layers=4, layer_types=MIXED, pattern=("near", "full", "mid", "near")),
    "sinks": tiny.stack(
        attention=AttentionConfig(num_heads=4, sinks=2), layer_types=MIXED, pattern=("near", "mid"), num_layers=3
    ),
    "grouped bias": tiny.stack(
        position=PositionConfig(kind="alibi"),
        attention=AttentionConfig(num_heads=4, num_kv_heads=2),
        layer_types=MIXED,
        pattern=("mid", "full"),
    ),
}
CACHES = {
    "whole": WHOLE,
    "sliding": Cache(margin=2),
    "sliding, no margin": Cache(margin=0, chunk=3),
    "int8": Cache(bits=8, slides=False),
    "int8 sliding": Cache(bits=8, margin=1, chunk=4),
    "bf16": Cache(bits=16, margin=1),
}
by_stack = pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
by_cache = pytest.mark.parametrize("cache", CACHES.values(), ids=CACHES)


class Rounding:
    """What a store of a format gives back, without keeping anything: the slow twin of every format."""

    def __init__(self, form: Format) -> None:
        self.form = form

    def begin(self, tokens: Tokens) -> Tokens:
        return tokens

    def layer(self, _index: int) -> Rounding:
        return self

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return self.form.read(self.form.write(k), k.dtype), self.form.read(self.form.write(v), v.dtype)


def uncached(model: Transformer, ids: Sequence[int], cache: Cache) -> Tensor:
    """The text in one pass of the readable softmax: [position, vocab].

    In fp64, where what is rounded for a store is rounded alike however it was computed.
    """
    call = Call(visibility.causal(len(ids)), store=Rounding(cache.form(model.token.weight.dtype)))
    return model(torch.tensor([list(ids)]), call)[0]


moves = st.lists(
    st.tuples(st.sampled_from(["extend", "peek", "rewind", "fork", "swap"]), st.integers(1, 9)), min_size=6, max_size=14
)


@by_cache
@by_stack
@settings(max_examples=2, deadline=None)
@given(attend=st.sampled_from([fused, None]), steps=moves)
def test_whatever_is_done_to_it_a_session_says_what_the_model_says(
    stack: StackConfig, cache: Cache, attend: object, steps: list[tuple[str, int]]
) -> None:
    """Two sessions, one of which is forked from the other now and then."""
    model = tiny.model(tiny.config(decoder=stack), dtype=torch.float64)
    one, other = (Session(model, attend=attend, cache=cache) for _ in range(2))  # type: ignore[arg-type]
    for number, (verb, size) in enumerate([("extend", 9), *steps, ("extend", 2)]):
        new = prompt(size, seed=number)
        if verb in ("extend", "peek") and one.length + size <= 48:
            want = uncached(model, [*one.ids, *new], cache)[-size:]
            got = one.extend(new, "all") if verb == "extend" else one.peek(new, "all")
            tiny.assert_close(got, want)
        elif verb == "rewind":
            one.rewind(max(one.shortest, one.length - size))
        elif verb == "fork":
            other = one.fork()
        elif verb == "swap":
            one, other = other, one
        assert one.length == len(one.ids)


@by_cache
@by_stack
def test_sessions_of_any_stores_share_a_pass(stack: StackConfig, cache: Cache) -> None:
    """One slides and one does not; a row holds a piece of each."""
    model = tiny.model(tiny.config(decoder=stack), dtype=torch.float64)
    sessions = [Session(model, cache=cache), Session(model, cache=Cache(bits=cache.bits, slides=False))]
    for session, length in zip(sessions, (11, 5), strict=True):
        session.extend(prompt(length))
    for kernel in (fused, None):
        pieces = [visibility.causal(2, session.length) for session in sessions]
        store = PackedStore([session.fork().store for session in sessions], pieces)
        ids = torch.tensor([[4, 5, 6, 7]])
        got = model(ids, Call(visibility.join(pieces), attend=kernel, store=store))[0]
        for session, part, rows in zip(sessions, ([4, 5], [6, 7]), (slice(0, 2), slice(2, 4)), strict=True):
            tiny.assert_close(got[rows], uncached(model, [*session.ids, *part], cache)[-2:])


@by_stack
def test_a_sliding_store_holds_what_the_config_says_and_the_logits_stay(stack: StackConfig) -> None:
    """Token by token: the bytes are the cost module's, memory is bounded by the windows, and nothing else shows."""
    config, margin = tiny.config(decoder=stack), 2
    model, ids = tiny.model(config), prompt(48)
    sliding, whole = (Session(model, cache=Cache(slides=slides, margin=margin)) for slides in (True, False))
    for index, token in enumerate(ids):
        tiny.assert_close(sliding.extend([token]), whole.extend([token]))
        assert sliding.store.num_bytes == cost.cache_bytes(config, index + 1, margin=margin)
        assert whole.store.num_bytes == cost.cache_bytes(config, index + 1)
    num_windowed = sum(stack.layer_types[stack.kind(i)].window is not None for i in range(stack.num_layers))
    if num_windowed == stack.num_layers:
        grown = Session(model, cache=Cache(margin=margin))
        grown.store = KVStore(stack, capacity=1, slides=True, margin=margin)
        for token in ids:
            grown.extend([token])
        held = cost.cache_bytes(config, 48, margin=margin)
        assert grown.store.num_allocated <= 1.25 * held, "a fourth more than is kept"
        assert held < cost.cache_bytes(config, 48) / 3
    else:
        assert sliding.store.num_bytes <= whole.store.num_bytes


def test_layers_without_a_window_keep_all_beside_those_that_slide() -> None:
    stack = STACKS["windows"]
    session = Session(tiny.model(tiny.config(decoder=stack)), cache=Cache(margin=0))
    for token in prompt(30):
        session.extend([token])
    assert [session.store.kept(layer)[0].shape[2] for layer in range(4)] == [3, 30, 6, 3]


def test_a_step_over_a_window_needs_no_mask() -> None:
    """What a layer is given is what the token sees, so that the kernel runs without a mask."""
    store = KVStore(STACKS["windows"], slides=True, margin=5)
    store.begin(visibility.causal(20))
    store.begin(visibility.causal(1, 20))
    keys = store.begin(visibility.causal(1, 21))
    for kind, length in (("near", 3), ("mid", 6), ("full", 22)):
        assert len(keys_of(keys, kind)) == length
        assert keys_of(keys, kind).position[0].tolist() == list(range(22 - length, 22))
        assert keys_of(keys, kind).flag == "causal"


def test_a_sliding_store_goes_back_by_its_margin_and_to_the_start() -> None:
    """By `margin` tokens before the last pass, whatever the pass held; not further, and that is said."""
    model, ids = tiny.model(tiny.config(decoder=STACKS["one window"])), prompt(40)
    session = Session(model, cache=Cache(margin=4))
    session.extend(ids[:20])
    session.extend(ids[20:30])
    assert session.shortest == 16, "the last pass began at 20"
    with pytest.raises(CutawayError, match=r"sliding store of 30 tokens to 15.*Allowed: 0, and 16 to 30.*margin"):
        session.rewind(15)
    with pytest.raises(CutawayError, match="Allowed: 0 to 30"):
        session.rewind(31)
    with pytest.raises(CutawayError, match="Allowed: 0 to 30"):
        session.rewind(-1)
    assert (session.length, session.ids) == (30, ids[:30])
    session.rewind(16)
    tiny.assert_close(session.extend(ids[16:], "all"), uncached(model, ids, WHOLE)[16:])
    session.rewind(0)
    tiny.assert_close(session.extend(ids[:9], "all"), uncached(model, ids[:9], WHOLE))


def test_a_token_that_looks_further_back_than_is_kept_is_refused() -> None:
    session = Session(tiny.model(tiny.config(decoder=STACKS["one window"])), cache=Cache(margin=4))
    for token in prompt(20):
        session.extend([token])
    places = torch.tensor([[3]])
    early = visibility.build(known=places, reads=places, position=places)
    with pytest.raises(CutawayError, match=r"position 3 sees 3 positions back.*nothing before 13.*slides=False"):
        session.peek([5], tokens=early)
    assert session.length == 20


def test_what_has_no_order_is_kept_whole() -> None:
    """Positions that do not go up one by one: nothing is forgotten, and what is said stays right."""
    model = tiny.model(tiny.config(decoder=STACKS["one window"]))
    places = torch.arange(1, 24, 2).unsqueeze(0)
    tokens, ids = visibility.build(known=places, reads=places, position=places), prompt(14)
    session = Session(model, cache=Cache(margin=0))
    session.extend(ids[:12], tokens=tokens)
    more = visibility.build(known=places[:, :2] + 24, reads=places[:, :2] + 24, position=places[:, :2] + 24)
    got = session.extend(ids[12:], "all", tokens=more)
    whole = Tokens(torch.cat([tokens.fields, more.fields], 2))
    tiny.assert_close(got, model(torch.tensor([ids]), Call(whole))[0, 12:])
    assert session.store.kept(0)[0].shape[2] == 14


@by_cache
@by_stack
def test_a_fork_costs_nothing_until_one_writes_over_the_other(stack: StackConfig, cache: Cache) -> None:
    store = cache.store(stack, torch.float32)
    store.begin(visibility.causal(5))
    twin = store.fork()
    before = addresses(store)
    assert addresses(twin) == before
    store.begin(visibility.causal(2, 5))
    assert addresses(store) == before, "behind what both share is room"
    twin.begin(visibility.causal(1, 5))
    assert not set(addresses(twin)) & set(before), "the other one stands there"
    twin.begin(visibility.causal(1, 6))
    assert addresses(store) == before
    after = addresses(twin)
    back = max(store.shortest, 3)
    store.rewind(back)
    store.begin(visibility.causal(3, back))
    assert (addresses(store), addresses(twin)) == (before, after), "each is alone with its memory now"


def test_who_is_gone_holds_nothing() -> None:
    """Beams that are dropped leave their memory to those that go on."""
    store = KVStore(tiny.stack())
    store.begin(visibility.causal(5))
    twin, before = store.fork(), addresses(store)
    twin.begin(visibility.causal(1, 5))
    del store
    twin.rewind(2)
    twin.begin(visibility.causal(2, 2))
    assert addresses(twin) == before


@by_cache
@by_stack
@settings(max_examples=2, deadline=None)
@given(steps=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5), st.booleans()), min_size=8, max_size=16))
def test_forks_by_copy_on_write_are_bit_for_bit_those_that_copy(
    stack: StackConfig, cache: Cache, steps: list[tuple[int, int, bool]]
) -> None:
    """A family of up to four forks, and its slow twin, in which every fork copies at once.

    Sinks: what a mask hides may still lie between them and the window, or not any more, which changes how sums are rounded. In
    fp64, so that no number falls on the other side when it is rounded to few bits.
    """
    model = tiny.model(tiny.config(decoder=stack))
    model = model.double() if stack.attention.sinks else model
    families = []
    for deep in (False, True):
        sessions, said = [Session(model, cache=cache)], []
        for number, (who, size, forks) in enumerate(steps):
            session = sessions[who % len(sessions)]
            if session.length + size > 48:
                session.rewind(0)
            said.append(session.extend(prompt(size, seed=number), "all"))
            session.rewind(max(session.shortest, session.length - size // 2))
            if forks and len(sessions) < 4:
                sessions.append(session.fork())
                if deep:
                    sessions[-1].store = session.store.copy()
        families.append(torch.cat(said))
    tiny.assert_close(*families)
    assert stack.attention.sinks or torch.equal(*families)


def test_beams_share_their_prompt() -> None:
    """Beam search forks the session of the prompt: nothing is copied for the beam that goes on where the prompt lies."""
    session = Session(tiny.lively(tiny.stack()))
    session.extend(prompt(6))
    before, copies = addresses(session.store), []
    fork = KVStore.fork
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KVStore, "fork", lambda self: copies.append(fork(self)) or copies[-1])
        list(run(beam_search(session, [4], Beam(num_beams=3), max_tokens=6)))
    assert copies
    assert any(addresses(store) == before for store in copies)
    assert session.ids == [*prompt(6), 4]
    assert addresses(session.store) == before


def addresses(store: KVStore) -> list[int]:
    """Where the memory of each lane begins."""
    return [tensor.data_ptr() for lane in store.lanes for tensor in lane.buffer.tensors]


@given(st.integers(0, 2**31), st.sampled_from([1e-30, 1e-3, 1.0, 1e4, 1e30]))
def test_int8_is_off_by_half_a_scale_at_most(seed: int, size: float) -> None:
    x = size * torch.randn(2, 3, 5, 8, generator=torch.Generator().manual_seed(seed))
    x[0, 0, 0] = 0.0
    codes, scales = Int8().write(x)
    got = Int8().read((codes, scales), torch.float32)
    assert codes.dtype == torch.int8
    assert scales.shape == (2, 3, 5, 1)
    assert ((got - x).abs() <= 0.5001 * x.abs().amax(-1, keepdim=True) / 127).all()
    assert not got[0, 0, 0].any()
    again = Int8().read(Int8().write(got), torch.float32)
    assert torch.allclose(again, got, rtol=1e-5), "what was rounded once is not rounded further"


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf])
def test_what_is_no_number_stays_none(wrong: float) -> None:
    x = torch.ones(1, 2, 4)
    x[0, 0, 1] = wrong
    got = Int8().read(Int8().write(x), torch.float32)
    assert not got[0, 0].isfinite().all()
    assert got[0, 1].isfinite().all()


def test_int8_takes_about_a_quarter() -> None:
    wide = tiny.stack(d_model=256, attention=AttentionConfig(num_heads=4))
    config = tiny.config(decoder=wide)
    stores = [Cache(bits=bits).store(wide, torch.float32) for bits in (32, 16, 8)]
    for store, bits in zip(stores, (32, 16, 8), strict=True):
        store.begin(visibility.causal(9))
        assert store.num_bytes == cost.cache_bytes(config, 9, cost.bytes_of_cached_value(config, bits))
    full, half, quarter = (store.num_bytes for store in stores)
    assert (half / full, quarter / full) == (0.5, (64 + 4) / 256)


def test_a_model_in_bf16_keeps_its_own_type_unless_told() -> None:
    assert Cache().form(torch.bfloat16) == Plain(torch.bfloat16)
    assert Cache(bits=16).form(torch.float16) == Plain(torch.float16)
    assert Cache(bits=16).form(torch.float32) == Plain(torch.bfloat16)
    assert Cache(bits=32).form(torch.bfloat16) == Plain(torch.float32)
    model = tiny.model(tiny.config(), dtype=torch.bfloat16)
    want = Session(model).extend(prompt(9))
    assert torch.equal(Session(model, cache=Cache(bits=16)).extend(prompt(9)), want)
    assert torch.equal(Session(model, cache=Cache(bits=32)).extend(prompt(9)), want)
    assert Session(model, cache=Cache(bits=8)).extend(prompt(9)).dtype == torch.bfloat16


@pytest.mark.parametrize("bits", [16, 8])
def test_a_source_is_kept_in_as_many_bits(bits: int) -> None:
    config = tiny.config(encoder=tiny.stack(), decoder=tiny.stack(num_layers=3))
    model, source = tiny.model(config), prompt(9)
    session = Session(model, source_ids=source, cache=Cache(bits=bits))
    form = Cache(bits=bits).form(torch.float32)
    assert session.memory is not None
    held = session.memory.filled.num_bytes  # type: ignore[attr-defined]
    each = cost.bytes_of_cached_value(config, bits)
    assert held == cost.cache_bytes(config, 0, each, num_source=9)
    session.extend([4])
    assert held + session.store.num_bytes == cost.cache_bytes(config, 1, each, num_source=9)
    plain = Session(model, source_ids=source)
    assert plain.memory is not None
    for (k, v), (full_k, full_v) in zip(session.memory.filled, plain.memory.filled, strict=True):
        assert torch.equal(k, form.read(form.write(full_k), torch.float32))
        assert torch.equal(v, form.read(form.write(full_v), torch.float32))
    row = session.memory.select(torch.tensor([0, 0]))
    assert row.filled[2][0].shape[0] == 2


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"bits": 7}, "bits of a cache is 7. Allowed: 32, 16, 8"),
        ({"bits": 4}, "bits of a cache is 4"),
        ({"margin": -1}, "margin of a cache is -1"),
        ({"chunk": 0}, "chunk of a cache is 0"),
    ],
)
def test_impossible_settings_are_refused(knobs: dict[str, int], message: str) -> None:
    with pytest.raises(CutawayError, match=message):
        Cache(**knobs)
