"""An adapter gated by position: a Projection's replacement that reads `call.gates`. A closed gate changes no bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from cutaway.config import ExpertsConfig, FeedForwardConfig, StackConfig
from cutaway.model import Call, Transformer, visibility
from cutaway.model.projection import Projection
from cutaway.runtime.stores import KVStore
from tests import tiny

LENGTH = 7
EXPERTS = FeedForwardConfig(d_hidden=24, experts=ExpertsConfig(num_experts=3, num_active=2))
STACKS = {"dense": tiny.stack(), "experts": tiny.stack(feedforward=EXPERTS)}
IDS, CALL = tiny.ids(2, LENGTH), Call(visibility.causal(LENGTH))


class Adapter(nn.Module):
    """W x + gate · B A x (Hu et al. 2021, eq. 3, gated): open where `call.gates[name]` is not zero."""

    def __init__(self, base: Projection, name: str, generator: torch.Generator) -> None:
        super().__init__()
        d_out, d_in = base.weight.shape
        self.base, self.name = base, name
        self.down = nn.Parameter(torch.randn(2, d_in, generator=generator))
        self.up = nn.Parameter(torch.randn(d_out, 2, generator=generator))

    def forward(self, x: Tensor, call: Call) -> Tensor:
        """x: [batch, position, d_in] -> [batch, position, d_out]."""
        plain = self.base(x, call)
        gate = call.gates[self.name].unsqueeze(-1)
        return torch.where(gate == 0, plain, plain + gate * (x @ self.down.T @ self.up.T))


def adapted(model: Transformer) -> Transformer:
    """Every matrix of the layers replaced by itself with an adapter."""
    generator = torch.Generator().manual_seed(6)
    owners = [m for m in model.main.layers.modules() if any(isinstance(c, Projection) for c in m.children())]
    for owner in owners:
        for name, child in list(owner.named_children()):
            if isinstance(child, Projection):
                setattr(owner, name, Adapter(child, "draft", generator))
    return model.requires_grad_(False)


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_a_closed_gate_changes_no_bit(stack: StackConfig) -> None:
    config = tiny.config(decoder=stack)
    closed = replace(CALL, gates={"draft": torch.zeros(2, LENGTH)})
    assert torch.equal(adapted(tiny.model(config))(IDS, closed), tiny.model(config)(IDS, CALL))


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_a_gate_opens_where_it_says(stack: StackConfig) -> None:
    """Open from token 4 of the first text on: what comes before, and the second text, stay the same.

    Bit for bit, but for experts: with the gate, other tokens join their matmul, whose rows are equal within tolerance then.
    """
    is_exact = stack.feedforward.experts is None
    model = adapted(tiny.model(tiny.config(decoder=stack)))
    gate = torch.zeros(2, LENGTH)
    closed = model(IDS, replace(CALL, gates={"draft": gate}))
    gate[0, 4:] = 0.5
    opened = model(IDS, replace(CALL, gates={"draft": gate}))
    for one, other in ((opened[:1, :4], closed[:1, :4]), (opened[1:], closed[1:])):
        tiny.assert_close(one, other)
        assert torch.equal(one, other) or not is_exact
    assert not torch.isclose(opened[0, 4:], closed[0, 4:], atol=1e-3).all(-1).any()


def test_gates_are_those_of_the_pass_also_under_a_cache() -> None:
    model = adapted(tiny.model(tiny.config()))
    gate = (torch.arange(LENGTH) % 3 == 1).float().expand(2, LENGTH)
    want = model(IDS, replace(CALL, gates={"draft": gate}))
    store, parts = KVStore(model.main.config, batch=2, capacity=2), []
    for start, end in ((0, 4), (4, 5), (5, 7)):
        call = Call(visibility.causal(end - start, start), store=store, gates={"draft": gate[:, start:end]})
        parts.append(model(IDS[:, start:end], call))
    tiny.assert_close(torch.cat(parts, dim=1), want)
