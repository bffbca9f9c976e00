"""Nothing leaks: change a token, and the logits of everyone who cannot see it stay the same, bit for bit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cutaway.config import AttentionConfig, LayerType, PositionConfig, StackConfig
from cutaway.model import Call, Tokens, layouts, visibility
from cutaway.model.call import Attend
from cutaway.runtime.attend import fused
from tests import tiny

SHAPES: dict[str, Tokens] = {
    "causal": visibility.causal(8),
    "full": visibility.full(8),
    "prefix": visibility.prefix([3], 8),
    "packed": visibility.packed(torch.tensor([[0, 0, 0, 1, 1, 1, 2, -1]]), torch.tensor([[0, 1, 2, 0, 1, 2, 0, 0]])),
    "packed both ways": visibility.packed(
        torch.tensor([[0, 0, 0, 1, 1, -1, -1]]), torch.tensor([[0, 1, 2, 0, 1, 0, 1]]), is_causal=False
    ),
    "padded right": visibility.padded([5], 8, is_causal=True),
    "padded left": visibility.padded([5], 8, is_causal=False, left=True),
    "joined": visibility.join([visibility.causal(3), visibility.full(2), visibility.causal(3, 4)]),
    "block diffusion": layouts.block_diffusion(torch.arange(6).unsqueeze(0), 2),
    "hybrid": layouts.drafting(0, 5, [2, 2, 2]),
    "clean text and masks": layouts.hybrid(torch.arange(4).unsqueeze(0), 2),
}
WINDOW = {"near": LayerType(window=2)}
STACKS: dict[str, StackConfig] = {
    "sinusoidal": tiny.stack(),
    "rotary": tiny.stack(
        position=PositionConfig(kind="rotary"), attention=AttentionConfig(num_heads=4, num_kv_heads=2)
    ),
    "relative": tiny.stack(position=PositionConfig(kind="relative", num_buckets=8, max_distance=12)),
    "window": tiny.stack(layer_types=WINDOW, pattern=("near",)),
    "window and sinks": tiny.stack(
        attention=AttentionConfig(num_heads=4, sinks=1), layer_types=WINDOW, pattern=("near",)
    ),
}


def reach(tokens: Tokens, stack: StackConfig) -> Tensor:
    """Whose numbers may depend on whose: what is seen through all layers, one hop a layer. [query, key] of bool."""
    hops = torch.eye(len(tokens))
    for layer in range(stack.num_layers):
        window = stack.layer_types[stack.kind(layer)].window
        seen = visibility.allow(tokens, tokens, window, stack.attention.sinks)[0]
        hops = (seen.float() + torch.eye(len(tokens))) @ hops
    return hops > 0


@pytest.mark.parametrize("kernel", [None, fused], ids=["readable", "fused"])
@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
@pytest.mark.parametrize("tokens", SHAPES.values(), ids=SHAPES)
def test_a_hidden_token_changes_no_bit(tokens: Tokens, stack: StackConfig, kernel: Attend | None) -> None:
    model, length = tiny.model(tiny.config(decoder=stack)), len(tokens)
    ids, reached = tiny.ids(1, length), reach(tokens, stack)
    before = model(ids, Call(tokens, attend=kernel))
    for key in range(length):
        changed = ids.clone()
        changed[0, key] = (changed[0, key] + 7) % tiny.VOCAB
        is_changed = (model(changed, Call(tokens, attend=kernel)) != before).any(-1)[0]
        assert torch.equal(is_changed, reached[:, key]), f"token {key} reaches exactly those who see it"


@pytest.mark.parametrize("kernel", [None, fused], ids=["readable", "fused"])
def test_hidden_source_tokens_change_no_bit(kernel: Attend | None) -> None:
    """Padding of a source is seen by no decoder, and the target by no encoder."""
    stack = tiny.stack()
    model = tiny.model(tiny.config(encoder=stack, decoder=stack))
    source, target = tiny.ids(2, 6), tiny.ids(2, 4, seed=6)
    tokens = visibility.padded([6, 3], 6, is_causal=False)

    def logits(source: Tensor) -> Tensor:
        memory = model.encode(source, Call(tokens, attend=kernel))
        return model(target, Call(visibility.causal(4), attend=kernel, memory=memory))

    before, hidden, visible = logits(source), source.clone(), source.clone()
    hidden[1, 3:] = (hidden[1, 3:] + 7) % tiny.VOCAB
    assert torch.equal(logits(hidden), before)
    visible[1, 2] = (visible[1, 2] + 7) % tiny.VOCAB
    after = logits(visible)
    assert torch.equal(after[0], before[0])
    assert not torch.isclose(after[1], before[1]).all(-1).any()


@pytest.mark.parametrize("kernel", [None, fused], ids=["readable", "fused"])
def test_what_the_store_has_forgotten_changes_no_bit(kernel: Attend | None) -> None:
    """After a rewind, what was written beyond is gone, whatever it was."""
    from cutaway.runtime.stores import KVStore

    model, ids = tiny.model(tiny.config()), tiny.ids(1, 6)
    outcomes = []
    for wrong in ([1, 2, 3], [4, 5, 6]):
        store = KVStore(model.main.config, capacity=4)
        model(ids[:, :3], Call(visibility.causal(3), attend=kernel, store=store))
        model(torch.tensor([wrong]), Call(visibility.causal(3, 3), attend=kernel, store=store))
        store.rewind(3)
        outcomes.append(model(ids[:, 3:], Call(visibility.causal(3, 3), attend=kernel, store=store)))
    assert torch.equal(*outcomes)
