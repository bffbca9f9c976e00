"""One pass verifies the drafts and drafts anew for every possible outcome: proposal r equals a fresh pass after r drafts."""

from __future__ import annotations

import pytest
import torch

from cutaway.config import PositionConfig, StackConfig
from cutaway.model import Call, Tokens, visibility
from cutaway.model.call import Attend
from cutaway.model.layouts import drafting
from cutaway.model.visibility import NEVER, build
from cutaway.runtime.attend import fused
from cutaway.runtime.stores import KVStore
from tests import tiny

KNOWN, DRAFTS, SIZE, MASK = 5, 3, 4, 0
STACKS = {
    "sinusoidal": tiny.stack(),
    "rotary": tiny.stack(position=PositionConfig(kind="rotary")),
    "alibi": tiny.stack(position=PositionConfig(kind="alibi")),
    "window": tiny.stack(layer_types=tiny.NEAR, pattern=("near", "full")),
}
TEXT = tiny.ids(1, KNOWN + DRAFTS)
LAYOUT = drafting(0, KNOWN + DRAFTS, [SIZE] * (DRAFTS + 1))
ROW = torch.cat([TEXT, torch.full((1, (DRAFTS + 1) * SIZE), MASK)], dim=1)


def masks(start: int, size: int) -> Tokens:
    """A block of masks, by itself: each sees what is before it, and its block; nobody else sees it."""
    position = torch.arange(start, start + size).unsqueeze(0)
    same = torch.ones_like(position)
    return build(known=same * NEVER, reads=same * (start - 1), group=same, position=position)


def proposal(r: int) -> slice:
    """Where the masks stand that follow if exactly r drafts are accepted."""
    start = KNOWN + DRAFTS + r * SIZE
    return slice(start, start + SIZE)


@pytest.mark.parametrize("kernel", [None, fused], ids=["readable", "fused"])
@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_every_proposal_equals_a_fresh_pass(stack: StackConfig, kernel: Attend | None) -> None:
    model = tiny.model(tiny.config(decoder=stack))
    logits = model(ROW, Call(LAYOUT, attend=kernel))
    length = KNOWN + DRAFTS
    tiny.assert_close(logits[:, :length], model(TEXT, Call(visibility.causal(length))))
    for r in range(DRAFTS + 1):
        end = KNOWN + r
        fresh = Tokens(torch.cat([visibility.causal(end).fields, masks(end, SIZE).fields], dim=2))
        ids = torch.cat([TEXT[:, :end], torch.full((1, SIZE), MASK)], dim=1)
        tiny.assert_close(logits[:, proposal(r)], model(ids, Call(fresh))[:, end:])
    assert not torch.isclose(logits[:, proposal(0)], logits[:, proposal(1)], atol=1e-3).all()


@pytest.mark.parametrize("kernel", [None, fused], ids=["readable", "fused"])
@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_known_text_may_lie_in_the_store(stack: StackConfig, kernel: Attend | None) -> None:
    """A pass over drafts and masks alone; then r drafts are kept, and everything after them is rewound."""
    model, store, r = tiny.model(tiny.config(decoder=stack)), KVStore(stack, capacity=4), 2
    whole = model(ROW, Call(LAYOUT))
    model(TEXT[:, :KNOWN], Call(visibility.causal(KNOWN), attend=kernel, store=store))
    rest = Tokens(LAYOUT.fields[:, :, KNOWN:])
    tiny.assert_close(model(ROW[:, KNOWN:], Call(rest, attend=kernel, store=store)), whole[:, KNOWN:])
    store.rewind(KNOWN + r)
    step = Call(visibility.causal(1, KNOWN + r), attend=kernel, store=store)
    tiny.assert_close(model(TEXT[:, KNOWN + r : KNOWN + r + 1], step), whole[:, KNOWN + r : KNOWN + r + 1])
