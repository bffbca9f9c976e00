"""A layer watched under a cache: step by step it shows the rows that the whole pass shows, and the text stays the same."""

from __future__ import annotations

import torch
from torch import Tensor

from cutaway.config import AttentionConfig, PositionConfig
from cutaway.lens import Recorder
from cutaway.model import Call, Transformer, visibility
from cutaway.runtime.attend import fused
from cutaway.runtime.stores import KVStore
from tests import tiny

SITE = "layers.1.attention.weights"
STACK = tiny.stack(
    num_layers=3, position=PositionConfig(kind="rotary"), attention=AttentionConfig(num_heads=4, num_kv_heads=2)
)


def generate(model: Transformer, prompt: Tensor, *, is_watched: bool) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Six greedy tokens through the fused kernel and a store. Returns ids, logits of each pass, weights of each pass."""
    store, ids, pending = KVStore(STACK, capacity=4), prompt, prompt
    logits, weights = list[Tensor](), list[Tensor]()
    for _ in range(6):
        past, size = store.length, pending.shape[1]
        watch: Recorder | None = tiny.recorder(model, 1, size, SITE, past=past) if is_watched else None
        logits.append(model(pending, Call(visibility.causal(size, past), attend=fused, store=store, watch=watch)))
        pending = logits[-1][:, -1:].argmax(-1)
        ids = torch.cat([ids, pending], dim=1)
        if watch is not None:
            weights.append(watch.tensors[SITE])
    return ids, logits, weights


def test_a_watched_layer_under_a_cache() -> None:
    model, prompt = tiny.lively(STACK), tiny.ids(1, 4)
    plain_ids, plain_logits, _ = generate(model, prompt, is_watched=False)
    ids, logits, weights = generate(model, prompt, is_watched=True)
    assert torch.equal(ids, plain_ids)
    assert ids[0, 4:].unique().numel() > 2, "texts that do not vary prove nothing"
    for one, other in zip(logits, plain_logits, strict=True):
        tiny.assert_close(one, other)

    length = ids.shape[1] - 1
    whole = tiny.recorder(model, 1, length, SITE)
    model(ids[:, :-1], Call(visibility.causal(length), watch=whole))
    expected, row = whole.tensors[SITE], 0
    for seen in weights:
        num_queries, num_keys = seen.shape[2:]
        assert num_keys == row + num_queries, "a step shows its weights over the whole store"
        want = expected[:, :, row : row + num_queries, :num_keys]
        torch.testing.assert_close(seen, want, rtol=1e-5, atol=1e-5)
        row += num_queries
    assert row == length
