"""Static stores that grow, that hold numbers in another type, and models that move: what is said stays the same."""

from __future__ import annotations

import copy

import pytest
import torch

from cutaway.config import PositionConfig, StackConfig
from cutaway.decode import Session
from cutaway.decode.static import static_session
from cutaway.errors import CutawayError
from cutaway.runtime.gpu import Graphed, is_fixed, merge_projections, move, room, type_of
from cutaway.runtime.gpu.merged import Part
from cutaway.runtime.gpu.static import StaticStore
from tests import tiny
from tests.gpus import needs_gpu
from tests.model.test_mask_adapter import STACKS as MASKABLE
from tests.model.test_mask_adapter import base, opened

from .test_gpu import LLAMA_LIKE, VARIANTS, is_mixture, said

FAR = tiny.stack(position=PositionConfig(kind="rotary"))


@pytest.mark.parametrize("capacity", [1, 3, 8])
def test_a_store_that_grows_says_the_same(capacity: int) -> None:
    """It grows in prompts and in steps, and is rewound, by whoever is in no pass, as before."""
    model = tiny.lively(FAR)
    one = Session(model)
    other = static_session(model, capacity=capacity, backend=None, grows=True)
    for ids in ([3, 1, 4, 1, 5], [9], [2], [6], [5, 3, 5, 8, 9, 7, 9], [3]):
        tiny.assert_close(other.extend(ids, "all"), one.extend(ids, "all"))
    store = other.store
    assert isinstance(store, StaticStore)
    assert capacity < other.length <= store.capacity == store.fields.shape[2]
    assert {each.shape[2] for each in (*store.keys, *store.values)} == {store.capacity}
    for session in (one, other):
        session.rewind(4)
    assert said(other, [7], 30) == said(one, [7], 30)
    other.rewind(0)
    assert said(other, [7], 30) == said(Session(model), [7], 30)
    assert isinstance(other.model, Graphed)
    assert other.model.num_steps == 4 + 2 * 29 + 2


def test_a_fork_grows_by_itself() -> None:
    model = tiny.lively(FAR)
    session = static_session(model, capacity=4, backend=None, grows=True)
    session.extend([3, 1, 4])
    twin = session.fork()
    wanted = said(Session(model), [3, 1, 4, 7], 12)
    assert said(twin, [7], 12) == said(session, [7], 12) == wanted


def test_what_there_is_no_memory_to_grow_into_is_refused_and_all_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    session = static_session(tiny.lively(FAR), capacity=4, backend=None, grows=True)
    session.extend([3, 1, 4])
    monkeypatch.setattr(room, "bytes_left", lambda _: 2 * 2 * 16 * 4 * 8 - 1)
    with pytest.raises(CutawayError, match=r"cpu would need 2,048 bytes .* and 2,047 .* are available"):
        session.extend([1, 5])
    assert (session.ids, session.store.length) == ([3, 1, 4], 3)
    monkeypatch.undo()
    tiny.assert_close(session.extend([1, 5]), Session(session.model).extend([3, 1, 4, 1, 5]))


def test_a_long_step_that_fails_half_way_leaves_the_session_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """And still the one whose steps are replayed: it is not forked to be read in parts."""
    session = static_session(tiny.lively(FAR), capacity=2048, backend=None)
    session.extend([3, 1, 4])
    reserve, store = StaticStore.reserve, session.store

    def full(self: StaticStore, count: int) -> None:
        assert self.length < 1000, "full"
        reserve(self, count)

    monkeypatch.setattr(StaticStore, "reserve", full)
    with pytest.raises(AssertionError, match="full"):
        session.extend([5] * 1200)
    assert session.ids == [3, 1, 4]
    assert session.store is store
    monkeypatch.undo()
    session.extend([5] * 1200)
    session.extend([7])
    assert isinstance(session.model, Graphed)
    assert session.model.num_steps == 1
    assert session.store is store


@pytest.mark.parametrize("stack", [each for each in VARIANTS.values() if not is_mixture(each)])
def test_numbers_in_another_type_are_those_of_a_growing_store(stack: StackConfig) -> None:
    """fp64 within, fp32 kept: what is computed with is what is kept, also in the pass that wrote it."""
    model = tiny.model(tiny.config(decoder=stack), dtype=torch.float64)
    full, kept = Session(model), static_session(model, capacity=16, dtype=torch.float32, backend=None)
    for ids in ([3, 1, 4], [1], [5], [9, 2]):
        wanted, found = full.extend(ids, "all"), kept.extend(ids, "all")
        assert found.dtype == torch.float64
        assert 0 < float((found - wanted).abs().max()) < 1e-5 * max(1.0, float(wanted.abs().max()))


def test_where_numbers_decide_what_runs_nothing_is_captured() -> None:
    for stack in VARIANTS.values():
        assert is_fixed(tiny.model(tiny.config(decoder=stack))) != is_mixture(stack)
    assert not is_fixed(opened(base(MASKABLE["sinusoidal"])))


def test_a_model_that_moves_says_the_same_by_fewer_products(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.lively(LLAMA_LIKE)
    twin = copy.deepcopy(model)
    move(twin, torch.device("cpu"))
    assert any(isinstance(each, Part) for each in twin.modules())
    assert merge_projections(twin) == 0
    assert said(Session(twin), [3, 1], 20) == said(Session(model), [3, 1], 20)
    monkeypatch.setattr(room, "bytes_left", lambda _: room.SPARE)
    with pytest.raises(CutawayError, match="are available"):
        move(model, torch.device("cpu"))
    assert not any(isinstance(each, Part) for each in model.modules())


def test_the_type_of_weights_on_a_gpu() -> None:
    assert type_of(None, is_half=True) == type_of(16, is_half=False) == torch.bfloat16
    assert type_of(None, is_half=False) == type_of(32, is_half=True) == torch.float32
    for bits in (8, 4, 5):
        with pytest.raises(CutawayError, match=f"bits is {bits}, .* kept in 32 or 16 bits. .* or for the device 'cpu'"):
            type_of(bits, is_half=True)


@needs_gpu
def test_a_store_that_has_grown_is_captured_anew() -> None:
    model = tiny.lively(FAR).to("cuda")
    session = static_session(model, capacity=2, backend=None, grows=True)
    wanted = said(Session(model), [3, 1], 40)
    assert said(session, [3, 1], 40) == wanted
    session.rewind(0)
    assert said(session, [3, 1], 40) == wanted
    assert isinstance(session.model, Graphed)
    assert session.model.num_steps == 78
