"""One compiled graph serves all layers of a type: nothing that a layer receives names the layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from cutaway.config import PositionConfig, StackConfig
from cutaway.model import Call, Transformer, visibility
from cutaway.runtime.attend import fused
from cutaway.runtime.stores import KVStore
from tests import tiny
from tests.compiling import Counting, traces_whole_passes

DEEP = tiny.stack(num_layers=6, position=PositionConfig(kind="rotary"))


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def compiled(stack: StackConfig, *, two_stacks: bool = False) -> tuple[Transformer, Transformer, Counting]:
    """A plain model, the same model with each layer compiled, and the counter of its graphs."""
    config = tiny.config(encoder=stack, decoder=stack) if two_stacks else tiny.config(decoder=stack)
    plain, fast, backend = tiny.model(config), tiny.model(config), Counting()
    for layer in fast.main.layers:
        layer.compile(backend=backend, fullgraph=True)
    return plain, fast, backend


@pytest.mark.parametrize("placement", ["pre", "post", "parallel"])
def test_one_graph_for_all_layers(placement: Any) -> None:
    stack = tiny.stack(num_layers=6, position=PositionConfig(kind="rotary"), placement=placement)
    plain, fast, backend = compiled(stack)
    ids, call = tiny.ids(2, 5), Call(visibility.causal(5), attend=fused)
    tiny.assert_close(fast(ids, call), plain(ids, call))
    assert backend.num_graphs == 1


def test_one_graph_for_all_layers_over_a_store() -> None:
    """The prompt is one graph for six layers; the steps that follow add none for a layer."""
    plain, fast, backend = compiled(DEEP)
    ids, stores = tiny.ids(1, 9), [KVStore(DEEP, capacity=16) for _ in range(2)]
    counts = []
    for start, end in ((0, 5), (5, 6), (6, 7), (7, 8), (8, 9)):
        tokens, part = visibility.causal(end - start, start), ids[:, start:end]
        want, got = (m(part, Call(tokens, attend=fused, store=s)) for m, s in zip((plain, fast), stores, strict=True))
        tiny.assert_close(got, want)
        counts.append(backend.num_graphs)
    assert counts[0] == 1
    assert counts[-1] == counts[-2] == counts[-3] <= 3, f"steps must settle on one graph: {counts}"


@traces_whole_passes
def test_one_graph_for_all_layers_with_a_memory() -> None:
    plain, fast, backend = compiled(tiny.stack(num_layers=5), two_stacks=True)
    source, target = Call(visibility.full(7)), tiny.ids(2, 5)
    memory = plain.fill(plain.encode(tiny.ids(2, 7), source), source)
    call = Call(visibility.causal(5), attend=fused, memory=memory)
    tiny.assert_close(fast(target, call), plain(target, call))
    assert backend.num_graphs == 1


def test_a_graph_for_each_type_of_layer() -> None:
    """Windows bring a mask where the others have a flag: two types, two graphs, whatever the depth."""
    stack = tiny.stack(num_layers=6, layer_types=tiny.NEAR, pattern=("near", "full"))
    plain, fast, backend = compiled(stack)
    ids, call = tiny.ids(2, 7), Call(visibility.causal(7), attend=fused)
    tiny.assert_close(fast(ids, call), plain(ids, call))
    assert backend.num_graphs == 2
