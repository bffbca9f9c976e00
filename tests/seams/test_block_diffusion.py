"""One pass over noised and clean text trains every block at once: each block's logits equal those of its own pass."""

from __future__ import annotations

import pytest
import torch

from cutaway.config import PositionConfig, StackConfig
from cutaway.model import Call, visibility
from cutaway.model.call import Attend
from cutaway.model.layouts import block_diffusion, blocks, noised_block
from cutaway.runtime.attend import fused
from cutaway.runtime.stores import KVStore
from tests import tiny

LENGTH, SIZE, MASK = 9, 3, 0
PLACES = torch.arange(LENGTH).unsqueeze(0)
STACKS = {
    "sinusoidal": tiny.stack(),
    "rotary": tiny.stack(position=PositionConfig(kind="rotary")),
    "relative": tiny.stack(
        position=PositionConfig(kind="relative", num_buckets=8, max_distance=12, bidirectional=True)
    ),
    "window": tiny.stack(layer_types=tiny.NEAR, pattern=("near", "full")),
}
CLEAN = tiny.ids(1, LENGTH)
NOISED = torch.where(torch.arange(LENGTH) % 2 == 0, MASK, CLEAN)
kernels = pytest.mark.parametrize("kernel", [None, fused], ids=["readable", "fused"])
stacks = pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)


def test_who_sees_whom() -> None:
    """Two blocks of one token: noised n0 n1, clean c0 c1."""
    tokens = block_diffusion(torch.arange(2).unsqueeze(0), 1)
    allowed = visibility.allow(tokens, tokens)[0].int().tolist()
    assert allowed == [[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 1, 1]]


@kernels
@stacks
def test_every_block_equals_its_own_pass(stack: StackConfig, kernel: Attend | None) -> None:
    model = tiny.model(tiny.config(decoder=stack))
    whole = model(torch.cat([NOISED, CLEAN], 1), Call(block_diffusion(PLACES, SIZE), attend=kernel))
    for start in range(0, LENGTH, SIZE):
        end = start + SIZE
        before, noised = blocks(0, start, SIZE), noised_block(start, end, SIZE)
        tokens = visibility.Tokens(torch.cat([before.fields, noised.fields], dim=2))
        alone = model(torch.cat([CLEAN[:, :start], NOISED[:, start:end]], 1), Call(tokens))
        tiny.assert_close(whole[:, start:end], alone[:, start:])


@kernels
@stacks
def test_clean_blocks_are_final_and_may_be_cached(stack: StackConfig, kernel: Attend | None) -> None:
    """Decoding: a noised block over the store, tried and forgotten; then its clean text, kept."""
    model = tiny.model(tiny.config(decoder=stack))
    whole = model(torch.cat([NOISED, CLEAN], 1), Call(block_diffusion(PLACES, SIZE), attend=kernel))
    store = KVStore(stack, capacity=4)
    for start in range(0, LENGTH, SIZE):
        end = start + SIZE
        call = Call(noised_block(start, end, SIZE), attend=kernel, store=store)
        tiny.assert_close(model(NOISED[:, start:end], call), whole[:, start:end])
        store.rewind(start)
        call = Call(blocks(start, end, SIZE), attend=kernel, store=store)
        tiny.assert_close(model(CLEAN[:, start:end], call), whole[:, LENGTH + start : LENGTH + end])


def test_one_block_is_masked_diffusion() -> None:
    """With one block as long as the text, the noised side is a plain bidirectional pass."""
    model = tiny.model(tiny.config())
    whole = model(torch.cat([NOISED, CLEAN], 1), Call(block_diffusion(PLACES, LENGTH)))
    tiny.assert_close(whole[:, :LENGTH], model(NOISED, Call(visibility.full(LENGTH))))


def test_blocks_of_one_token_are_causal() -> None:
    """The clean side with blocks of one token is an autoregressive pass."""
    model = tiny.model(tiny.config())
    whole = model(torch.cat([NOISED, CLEAN], 1), Call(block_diffusion(PLACES, 1)))
    tiny.assert_close(whole[:, LENGTH:], model(CLEAN, Call(visibility.causal(LENGTH))))
