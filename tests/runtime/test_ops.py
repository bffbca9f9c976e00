"""The kernels as operators of torch: their shapes and strides without running them, and a pass that compiles as one graph."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch import library as registry

from cutaway.config import FeedForwardConfig, NormConfig, PositionConfig
from cutaway.model import Call, Transformer, visibility
from cutaway.runtime import activation, ops, rows
from cutaway.runtime.kernels import accelerate, attend
from cutaway.runtime.quantise import quantise
from cutaway.runtime.quantised import kernels
from cutaway.runtime.quantised.rounding import rounded
from cutaway.runtime.quantised.tiles import tiled, tiled_pairs, tiled_scales
from tests import tiny
from tests.compiling import traces_whole_passes

native = pytest.mark.skipif(
    not ops.ARE_HERE, reason=f"No kernels here (CUTAWAY_KERNELS={os.environ.get('CUTAWAY_KERNELS')})"
)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def heads(*shape: int) -> Tensor:
    """[batch, head, position, d_head], heads side by side, as projections are."""
    batch, number, positions, width = shape
    return random(batch, positions, number, width).transpose(1, 2)


def integers(bits: int) -> tuple[Any, ...]:
    made = rounded(random(35, 67), bits)
    return random(2, 3, 67), tiled(made.codes, bits), tiled_scales(made.scales), made.factor, 35, random(35)


def after(q: Tensor, k: Tensor, v: Tensor) -> tuple[Any, ...]:
    """What the gradient of attention is given."""
    return random(*q.shape), q, k, v, *ops.attention(q, k, v, 0.3, True), 0.3, True


Q, KV = (2, 4, 9, 8), (2, 2, 9, 8)
GIVEN: dict[str, tuple[Callable[..., Any], Callable[[], tuple[Any, ...]]]] = {
    "linear": (ops.linear, lambda: (random(2, 70, 12), random(20, 12), random(20))),
    "linear of a transposed matrix": (ops.linear, lambda: (random(70, 12), random(12, 20).t(), None)),
    "linear_of_few": (ops.linear_of_few, lambda: (random(3, 12), random(20, 12), None)),
    "linear_by_input": (ops.linear_by_input, lambda: (random(70, 20), random(20, 12))),
    "linear_by_weight": (ops.linear_by_weight, lambda: (random(70, 20), random(70, 12), True)),
    "linear_by_weight alone": (ops.linear_by_weight, lambda: (random(70, 20), random(70, 12), False)),
    "gelu_tanh": (ops.gelu_tanh, lambda: (random(5, 7).t(),)),
    "gelu_tanh_by_input": (ops.gelu_tanh_by_input, lambda: (random(5, 7), random(5, 7))),
    "attention": (ops.attention, lambda: (heads(*Q), heads(*KV), heads(*KV), 0.3, True)),
    "attention of whole tensors": (ops.attention, lambda: (random(*Q), random(*KV), random(*KV), 0.3, False)),
    "attention_by_inputs": (ops.attention_by_inputs, lambda: after(heads(*Q), heads(*KV), heads(*KV))),
    "rms_norm": (ops.rms_norm, lambda: (random(2, 3, 16), random(16), 1.0, 1e-5)),
    "gate": (ops.gate, lambda: (random(4, 6), random(4, 6), activation.NAMES.index("silu"))),
    "rotate": (ops.rotate, lambda: (heads(2, 3, 5, 8), random(1, 1, 5, 4), random(1, 1, 5, 4), False)),
    "rotate of whole tensors": (ops.rotate, lambda: (random(2, 3, 5, 8), random(2, 1, 5, 3), random(2, 1, 5, 3), True)),
    "linear_of_integers, 8 bits": (kernels.linear_of_integers, lambda: integers(8)),
    "linear_of_integers, 4 bits": (kernels.linear_of_integers, lambda: integers(4)),
    "linear_of_halves": (
        kernels.linear_of_halves,
        lambda: (random(3, 67), tiled_pairs(random(35, 67).bfloat16()), 35, None),
    ),
}


@native
@pytest.mark.parametrize("name", GIVEN)
def test_an_operator_is_what_it_says(name: str) -> None:
    """It writes into nothing, returns no view of what it is given, and its shapes and strides are known without running it."""
    function, given = GIVEN[name]
    registry.opcheck(function, given(), test_utils=("test_schema", "test_faketensor"))


@native
def test_every_operator_is_checked() -> None:
    names = {name.removeprefix("cutaway::") for name in torch._C._dispatch_get_all_op_names() if "cutaway::" in name}
    assert names == {name.split(" ")[0].rstrip(",") for name in GIVEN}


def model(bits: int) -> Transformer:
    """With every leaf that has a kernel: products, attention, rotary positions, RMS norms, gates."""
    stack = tiny.stack(
        position=PositionConfig(kind="rotary"),
        norm=NormConfig(kind="rms"),
        feedforward=FeedForwardConfig(d_hidden=24, is_gated=True, activation="silu"),
    )
    made = tiny.model(tiny.config(decoder=stack))
    quantise(made, bits)
    accelerate(made)
    return made


@native
@traces_whole_passes
@pytest.mark.parametrize("bits", [32, 16, 8, 4])
def test_a_pass_compiles_as_one_graph(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "SMALL", 0)
    torch.compiler.reset()
    found, graphs = model(bits), []

    def watched(graph: torch.fx.GraphModule, _: object) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    call, ids = Call(visibility.causal(70), attend=attend), tiny.ids(1, 70, seed=3)
    with torch.no_grad():
        wanted = found(ids, call)
        compiled = torch.compile(lambda ids: found(ids, call), backend=watched, fullgraph=True)
        assert torch.equal(compiled(ids), wanted)
    (graph,) = graphs
    called = {str(node.target) for node in graph.graph.nodes if "cutaway" in str(node.target)}
    products = {32: "linear", 16: "linear_of_halves", 8: "linear_of_integers", 4: "linear_of_integers"}
    assert {f"cutaway.{name}.default" for name in (products[bits], "rms_norm", "gate", "rotate")} <= called
