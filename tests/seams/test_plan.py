"""A recorded plan: the readable forward runs once over a fixed store and leaves a list of calls, replayed for every token.

A toy of `runtime/`'s plan. Its leaves are projections, norms and the kernel, with the few torch calls between them; what
changes between steps (ids, tokens, place in the store) are fixed-shape tensors, updated in place. A forward that reads a
tensor's value cannot be recorded, and the recorder refuses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

from cutaway.config import AttentionConfig, PositionConfig, StackConfig
from cutaway.model import Call, Tokens, Transformer, visibility
from cutaway.model.attend import append
from cutaway.model.call import Spec
from cutaway.model.norm import LayerNorm, RmsNorm
from cutaway.model.projection import Projection
from cutaway.model.visibility import EMPTY, FIELDS
from tests import tiny

VALUE_READS = {
    Tensor.item,
    Tensor.tolist,
    Tensor.nonzero,
    Tensor.__bool__,
    Tensor.__int__,
    Tensor.__float__,
    Tensor.__index__,
}


class FixedStore:
    """A store that never grows: places [0, capacity), of which `index` (a tensor) says where this pass writes."""

    def __init__(self, stack: StackConfig, capacity: int) -> None:
        shape = (stack.num_layers, 2, 1, stack.attention.kv_heads, capacity, stack.d_head)
        self.values, self.index = torch.zeros(shape), torch.zeros(1, dtype=torch.long)
        self.fields = torch.zeros(len(FIELDS), 1, capacity, dtype=torch.long)
        self.fields[FIELDS.index("segment")] = EMPTY

    def begin(self, tokens: Tokens) -> Tokens:
        self.fields.index_copy_(2, self.index, tokens.fields)
        return Tokens(self.fields)

    def layer(self, index: int) -> FixedSlot:
        return FixedSlot(self.values[index, 0], self.values[index, 1], self.index)


class FixedSlot:
    def __init__(self, k: Tensor, v: Tensor, index: Tensor) -> None:
        self.k, self.v, self.index = k, v, index

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        self.k.index_copy_(2, self.index, k)
        self.v.index_copy_(2, self.index, v)
        return self.k, self.v


class Plan(TorchFunctionMode):
    """Records calls by the identity of their tensors; `replay` runs them again on what those tensors hold by then."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Callable[..., Any], Any, Any]] = []
        self.num_leaves = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in VALUE_READS:
            raise RuntimeError(f"A plan cannot read the value of a tensor ({func.__name__}).")
        return self.record(func, args, kwargs or {})

    def record(self, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        with torch._C.DisableTorchFunction():
            out = func(*args, **kwargs)
        if any(isinstance(item, Tensor) for item in tree_flatten(out)[0]):
            self.calls.append((func, (args, kwargs), out))
        return out

    def leaf(self, func: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """The function as one call of the plan, whatever it calls inside."""

        def recorded(*args: Any) -> Tensor:
            self.num_leaves += 1
            out: Tensor = self.record(func, args, {})
            return out

        return recorded

    def replay(self) -> Any:
        """Run the list; the last result comes back."""
        made: dict[int, Tensor] = {}

        def current(item: Any) -> Any:
            return made.get(id(item), item) if isinstance(item, Tensor) else item

        out: Any = None
        for func, inputs, recorded in self.calls:
            args, kwargs = tree_map(current, inputs)
            out = func(*args, **kwargs)
            made.update({id(old): new for old, new in zip(tensors(recorded), tensors(out), strict=True)})
        return out


def tensors(value: Any) -> Iterable[Tensor]:
    return [item for item in tree_flatten(value)[0] if isinstance(item, Tensor)]


def kernel_with(leaf: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def kernel(spec: Spec, q: Tensor, k: Tensor, v: Tensor, call: Call) -> Tensor:
        k, v = append(k, v, call)
        assert call.frame is not None
        return leaf(q, k, v, call.frame.allowed(), spec.scale)

    return kernel


def sdpa(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, mask, scale=scale, enable_gqa=True)


class Session:
    """One token a pass over a fixed store. ids, tokens and index are updated in place."""

    def __init__(self, model: Transformer) -> None:
        self.model, self.store = model, FixedStore(model.main.config, 24)
        self.ids, self.tokens = torch.zeros(1, 1, dtype=torch.long), Tokens(visibility.causal(1).fields.clone())

    def place(self, token: int, position: int) -> None:
        self.ids.fill_(token)
        self.store.index.fill_(position)
        self.tokens.fields.copy_(visibility.causal(1, position).fields)

    def forward(self, leaf: Callable[..., Tensor] = sdpa) -> Tensor:
        call = Call(self.tokens, attend=kernel_with(leaf), store=self.store)
        logits: Tensor = self.model(self.ids, call)
        return logits


def write(session: Session, run: Callable[[], Tensor], prompt: list[int], count: int) -> tuple[list[int], Tensor]:
    """Greedy, from the start of the store. Returns the ids after the prompt and the logits of every pass."""
    written, logits = list(prompt), []
    for position in range(len(prompt) + count - 1):
        session.place(written[position], position)
        logits.append(run())
        if position == len(written) - 1:
            written.append(int(logits[-1][0, -1].argmax()))
    return written[len(prompt) :], torch.cat(logits, dim=1)


def recorded(session: Session) -> Plan:
    """The plan of one pass: leaves are wrapped while it is recorded, and nothing of the model is changed after."""
    plan = Plan()
    leaves = [m for m in session.model.modules() if isinstance(m, (Projection, LayerNorm, RmsNorm))]
    for module in leaves:
        module.forward = plan.leaf(type(module).forward.__get__(module))  # type: ignore[method-assign]
    with plan:
        session.forward(plan.leaf(sdpa))
    for module in leaves:
        del module.forward
    return plan


STACKS = {
    "sinusoidal": tiny.stack(),
    "rotary and grouped": tiny.stack(
        position=PositionConfig(kind="rotary"), attention=AttentionConfig(num_heads=4, num_kv_heads=2)
    ),
    "windows": tiny.stack(layer_types=tiny.NEAR, pattern=("near", "full")),
}


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_a_replayed_plan_writes_the_same_text(stack: StackConfig) -> None:
    """Bit for bit the logits of the readable forward over the same store, and the tokens of an uncached pass."""
    model, prompt = tiny.lively(stack), [3, 1, 4]
    eager, planned = Session(model), Session(model)
    plan = recorded(planned)
    num_projections = sum(isinstance(m, Projection) for m in model.modules())
    assert plan.num_leaves == num_projections + (2 * 2 + 1) + 2, "projections, norms and kernels of two layers"
    text, logits = write(eager, eager.forward, prompt, 12)
    replayed_text, replayed = write(planned, plan.replay, prompt, 12)
    assert replayed_text == text
    assert torch.equal(replayed, logits)
    assert len(set(text)) > 3, "texts that do not vary prove nothing"
    whole = model(torch.tensor([prompt + text[:-1]]), Call(visibility.causal(len(prompt) + 11)))
    tiny.assert_close(replayed, whole)


def test_a_forward_that_reads_values_is_refused() -> None:
    """Experts choose by value which rows to compute; such a forward has no plan of this kind."""
    session = Session(tiny.model(tiny.config(decoder=tiny.variants()["experts"])))
    with pytest.raises(RuntimeError, match="cannot read the value of a tensor"):
        recorded(session)


def test_the_toy_store_is_a_store() -> None:
    """Places that were never written stay unseen."""
    session = Session(tiny.model(tiny.config()))
    _, logits = write(session, session.forward, [5], 4)
    session.store.values[..., 10:, :] = 1e3
    again = Session(session.model)
    again.store.values[..., 10:, :] = -1e3
    _, other = write(again, again.forward, [5], 4)
    assert torch.equal(logits, other)
