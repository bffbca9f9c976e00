"""The memory's keys and values, filled when the session opens, equal those computed at every step; cached = uncached."""

from __future__ import annotations

import pytest
import torch

from cutaway.config import AttentionConfig, PositionConfig, StackConfig
from cutaway.model import Call, Memory, visibility
from cutaway.model.call import Attend
from cutaway.runtime.attend import fused
from cutaway.runtime.stores import KVStore
from tests import tiny

STACKS = {
    "pre": tiny.stack(),
    "post": tiny.stack(placement="post"),
    "relative": tiny.stack(position=PositionConfig(kind="relative", num_buckets=8, max_distance=12)),
    "grouped, normed, shared": tiny.stack(
        attention=AttentionConfig(num_heads=4, num_kv_heads=2, query_key_norm="head"), num_layers=4, num_shared=2
    ),
}
TARGET = tiny.ids(2, 6, seed=4)


def read(stack: StackConfig, kernel: Attend | None) -> tuple[tiny.Transformer, Memory, Memory]:
    """A model and its memory of two sources of 7 and 4 tokens, computed at every step and filled beforehand."""
    model = tiny.model(tiny.config(encoder=stack, decoder=stack))
    call = Call(visibility.padded([7, 4], 7, is_causal=False), attend=kernel)
    memory = model.encode(tiny.ids(2, 7, seed=3), call)
    return model, memory, model.fill(memory, call)


@pytest.mark.parametrize("kernel", [None, fused], ids=["readable", "fused"])
@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_filled_equals_computed_bit_for_bit(stack: StackConfig, kernel: Attend | None) -> None:
    model, computed, filled = read(stack, kernel)
    assert len(filled.filled) == stack.num_layers
    assert not computed.filled
    one, other = (model(TARGET, Call(visibility.causal(6), attend=kernel, memory=m)) for m in (computed, filled))
    assert torch.equal(one, other)


@pytest.mark.parametrize("kernel", [None, fused], ids=["readable", "fused"])
@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_step_by_step_equals_at_once(stack: StackConfig, kernel: Attend | None) -> None:
    model, computed, filled = read(stack, kernel)
    want = model(TARGET, Call(visibility.causal(6), memory=computed))
    store, parts = KVStore(model.main.config, batch=2, capacity=2), []
    for start, end in ((0, 2), (2, 3), (3, 6)):
        tokens = visibility.causal(end - start, start)
        parts.append(model(TARGET[:, start:end], Call(tokens, attend=kernel, store=store, memory=filled)))
    tiny.assert_close(torch.cat(parts, dim=1), want)


def test_each_text_hears_its_own_source() -> None:
    """A batch of two sources equals each alone, and the source matters."""
    model, memory, _ = read(tiny.stack(), None)
    both = model(TARGET, Call(visibility.causal(6), memory=memory))
    for row, length in enumerate((7, 4)):
        source = tiny.ids(2, 7, seed=3)[row : row + 1, :length]
        alone = model.encode(source, Call(visibility.full(length)))
        target = TARGET[row : row + 1]
        tiny.assert_close(both[row : row + 1], model(target, Call(visibility.causal(6), memory=alone)))
        deaf = model.encode((source + 1) % tiny.VOCAB, Call(visibility.full(length)))
        assert not torch.isclose(
            both[row : row + 1], model(target, Call(visibility.causal(6), memory=deaf)), atol=1e-3
        ).all()
