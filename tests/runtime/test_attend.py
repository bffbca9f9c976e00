"""The native attention where a pass asks for it: causal or full, whole or behind what a store holds, and for nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from cutaway.config import AttentionConfig, LayerType, PositionConfig, StackConfig
from cutaway.decode import Session
from cutaway.model import Call, visibility
from cutaway.model.attend import readable
from cutaway.model.call import Spec
from cutaway.model.transformer import make_frame
from cutaway.runtime import attend, ops, rows
from tests import tiny

pytestmark = pytest.mark.skipif(not ops.ARE_HERE, reason="No kernels here.")


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, bool]]:
    """Queries, keys and whether causal, of what was computed natively, however small it was."""
    found: list[tuple[int, int, bool]] = []

    def watched(q: Tensor, k: Tensor, v: Tensor, scale: float, is_causal: bool) -> tuple[Tensor, Tensor]:
        found.append((q.shape[2], k.shape[2], is_causal))
        return real(q, k, v, scale, is_causal)

    real = ops.attention
    monkeypatch.setattr(rows, "SMALL", 0)
    monkeypatch.setattr(attend, "MANY", 2)
    monkeypatch.setattr(attend, "MANY_BEHIND", 2)
    monkeypatch.setattr(ops, "attention", watched)
    return found


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("queries", [2, 5, 47, 49, 100])
@pytest.mark.parametrize("before", [0, 1, 48, 200])
@pytest.mark.parametrize("kv_heads", [1, 4])
def test_the_last_queries_of_more_keys(
    queries: int, before: int, kv_heads: int, served: list[tuple[int, int, bool]]
) -> None:
    keys, spec = before + queries, Spec("attention.", 0.37)
    q, k, v = (
        random(2, heads, size, 12, seed=size + heads)
        for heads, size in ((4, queries), (kv_heads, keys), (kv_heads, keys))
    )
    frame = make_frame(visibility.causal(queries, before), visibility.causal(keys))
    with torch.no_grad():
        ours = attend.fused(spec, q, k, v, Call(visibility.causal(queries, before), frame=frame))
        theirs = readable(spec, q, k, v, Call(visibility.causal(queries, before), frame=frame))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert served == [(queries, keys, True)]


ATTENTION = AttentionConfig(num_heads=4, num_kv_heads=2)
STACKS: dict[str, tuple[StackConfig, Callable[[list[tuple[int, int, bool]]], bool]]] = {
    "plain": (tiny.stack(attention=ATTENTION), lambda found: {keys for _, keys, _ in found} == {5, 16, 18}),
    "rotary": (tiny.stack(position=PositionConfig(kind="rotary")), lambda found: len(found) == 6),
    "a bias": (tiny.stack(position=PositionConfig(kind="alibi")), lambda found: not found),
    "a window": (
        tiny.stack(num_layers=1, layer_types={"near": LayerType(window=6)}, pattern=("near",)),
        lambda found: {keys for _, keys, _ in found} == {5},
    ),
}


@pytest.mark.parametrize("name", STACKS)
def test_a_session_in_steps_gives_what_one_readable_pass_does(name: str, served: list[tuple[int, int, bool]]) -> None:
    stack, is_as_wanted = STACKS[name]
    model, ids = tiny.model(tiny.config(decoder=stack)), tiny.ids(1, 18)[0].tolist()
    with torch.no_grad():
        wanted = model(torch.tensor([ids]), Call(visibility.causal(18)))[0]
    session = Session(model, is_planned=False)
    found = torch.cat([session.extend(ids[:5]), session.extend(ids[5:16]), session.extend(ids[16:])])
    torch.testing.assert_close(found, wanted[[4, 15, 17]], rtol=1e-4, atol=1e-5)
    assert is_as_wanted(served)
    assert all(is_causal for _, _, is_causal in served)


def test_gradients_are_torchs(served: list[tuple[int, int, bool]]) -> None:
    model = tiny.model(tiny.config()).requires_grad_(True)
    model(tiny.ids(1, 9), Call(visibility.causal(9), attend=attend.fused)).sum().backward()
    assert not served


@pytest.mark.parametrize(
    ("before", "queries", "is_native"), [(0, 255, False), (0, 256, True), (40, 63, False), (40, 64, True)]
)
def test_from_how_many_queries_on(before: int, queries: int, is_native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch needs a mask for tokens behind others: one is made for all layers, and none where the native kernel serves."""
    found: list[int] = []
    masks: list[tuple[int, ...]] = []
    attention, allow = ops.attention, visibility.allow

    def watched(q: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
        found.append(q.shape[2])
        return attention(q, *others)

    def masked(queries: visibility.Tokens, keys: visibility.Tokens, *others: Any) -> Tensor:
        masks.append((len(queries), len(keys)))
        return allow(queries, keys, *others)

    monkeypatch.setattr(rows, "SMALL", 0)
    stack = tiny.stack(attention=ATTENTION, position=PositionConfig(kind="rotary"))
    ids = tiny.ids(1, before + queries)[0].tolist()
    session = Session(tiny.model(tiny.config(decoder=stack)), is_planned=False)
    if before:
        session.extend(ids[:before])
    monkeypatch.setattr(ops, "attention", watched)
    monkeypatch.setattr("cutaway.model.call.allow", masked)
    monkeypatch.setattr("cutaway.model.transformer.allow", masked)
    session.extend(ids[before:])
    assert found == [queries] * stack.num_layers * is_native
    assert masks == [(queries, before + queries)] * (before > 0 and not is_native)
