"""The same tokens by another road: cached = uncached, packed = single, batched = single, fused = readable.

Every position kind × placement × window × grouped heads, and every further knob, in fp32 (the design's tolerance) and in
fp64 (1e-11). Weights are random, untied, of deviation 0.3.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from cutaway.config import StackConfig
from cutaway.model import Call, Transformer, visibility
from cutaway.model.call import Attend
from cutaway.runtime.attend import fused
from cutaway.runtime.stores import KVStore, PackedStore
from tests import tiny

SHAPES = dict(tiny.every_shape()) | tiny.variants()
STEPS = (4, 1, 1, 3, 2)
DTYPES = (torch.float32, torch.float64)
SOME = {name: stack for name, stack in SHAPES.items() if "-" not in name or "-pre" in name}
everywhere = pytest.mark.parametrize("stack", SHAPES.values(), ids=SHAPES)
somewhere = pytest.mark.parametrize("stack", SOME.values(), ids=SOME)


def cached(model: Transformer, ids: Tensor, steps: Sequence[int], kernel: Attend | None, dtype: torch.dtype) -> Tensor:
    """The logits of a session that reads `steps` tokens at a time. The store begins small, so that it must grow."""
    store, parts, start = KVStore(model.main.config, batch=len(ids), capacity=4, dtype=dtype), [], 0
    for size in steps:
        call = Call(visibility.causal(size, start), attend=kernel, store=store)
        parts.append(model(ids[:, start : start + size], call))
        start += size
    return torch.cat(parts, dim=1)


@everywhere
def test_cached_equals_uncached_and_fused_equals_readable(stack: StackConfig) -> None:
    ids = tiny.ids(2, sum(STEPS))
    for dtype in DTYPES:
        model = tiny.model(tiny.config(decoder=stack), dtype=dtype)
        want = model(ids, Call(visibility.causal(sum(STEPS))))
        tiny.assert_close(model(ids, Call(visibility.causal(sum(STEPS)), attend=fused)), want)
        for kernel in (None, fused):
            tiny.assert_close(cached(model, ids, STEPS, kernel, dtype), want)


@everywhere
def test_packed_equals_single(stack: StackConfig) -> None:
    """Two sessions, a prompt and then steps of different sizes, in one row a pass."""
    rows, sizes = (tiny.ids(1, 7, seed=1), tiny.ids(1, 9, seed=2)), ((4, 1, 2), (3, 5, 1))
    for dtype in DTYPES:
        model = tiny.model(tiny.config(decoder=stack), dtype=dtype)
        alone = [cached(model, ids, steps, fused, dtype) for ids, steps in zip(rows, sizes, strict=True)]
        for kernel in (None, fused):
            together = packed(model, rows, sizes, kernel, dtype)
            for got, want in zip(together, alone, strict=True):
                tiny.assert_close(got, want)


def packed(
    model: Transformer,
    rows: Sequence[Tensor],
    sizes: Sequence[Sequence[int]],
    kernel: Attend | None,
    dtype: torch.dtype,
) -> list[Tensor]:
    stores = [KVStore(model.main.config, capacity=4, dtype=dtype) for _ in rows]
    parts: list[list[Tensor]] = [[] for _ in rows]
    for step in zip(*sizes, strict=True):
        starts = [store.length for store in stores]
        pieces = [visibility.causal(size, start) for size, start in zip(step, starts, strict=True)]
        ids = torch.cat([row[:, at : at + n] for row, at, n in zip(rows, starts, step, strict=True)], dim=1)
        logits = model(ids, Call(visibility.join(pieces), attend=kernel, store=PackedStore(stores, pieces)))
        for part, piece in zip(parts, logits.split(list(step), dim=1), strict=True):
            part.append(piece)
    return [torch.cat(part, dim=1) for part in parts]


@somewhere
def test_a_padded_batch_equals_its_texts_alone(stack: StackConfig) -> None:
    lengths, width = (3, 6, 5), 6
    for dtype in DTYPES:
        model = tiny.model(tiny.config(decoder=stack), dtype=dtype)
        texts = [tiny.ids(1, length, seed=length) for length in lengths]
        alone = [model(text, Call(visibility.causal(text.shape[1]))) for text in texts]
        for left in (False, True):
            pads = [((width - n, 0) if left else (0, width - n)) for n in lengths]
            rows = [torch.nn.functional.pad(text, pad) for text, pad in zip(texts, pads, strict=True)]
            tokens = visibility.padded(lengths, width, is_causal=True, left=left)
            for kernel in (None, fused):
                logits = model(torch.cat(rows), Call(tokens, attend=kernel))
                for row, pad, want in zip(logits, pads, alone, strict=True):
                    tiny.assert_close(row[pad[0] : width - pad[1]].unsqueeze(0), want)


@somewhere
def test_packed_documents_without_stores_equal_their_texts_alone(stack: StackConfig) -> None:
    """As training packs them: one row, no store; by segment numbers, and by joined pieces under their flag."""
    rows = [tiny.ids(1, 4, seed=1), tiny.ids(1, 3, seed=2)]
    model = tiny.model(tiny.config(decoder=stack))
    want = torch.cat([model(row, Call(visibility.causal(row.shape[1]))) for row in rows], dim=1)
    segments = torch.tensor([[0] * 4 + [1] * 3])
    numbered = visibility.packed(segments, torch.tensor([[0, 1, 2, 3, 0, 1, 2]]))
    joined = visibility.join([visibility.causal(4), visibility.causal(3)])
    for tokens in (numbered, joined):
        for kernel in (None, fused):
            tiny.assert_close(model(torch.cat(rows, dim=1), Call(tokens, attend=kernel)), want)


@somewhere
def test_a_full_stack_is_the_same_fused(stack: StackConfig) -> None:
    ids = tiny.ids(2, 7)
    for dtype in DTYPES:
        model = tiny.model(tiny.config(encoder=stack), dtype=dtype)
        call = Call(visibility.full(7))
        tiny.assert_close(model(ids, Call(visibility.full(7), attend=fused)), model(ids, call))


def test_a_forked_store_goes_its_own_way() -> None:
    """Both go on in turns, and neither meets what the other wrote."""
    model, ids = tiny.model(tiny.config()), tiny.ids(1, 7)
    other = torch.cat([ids[:, :4], (ids[:, 4:] + 1) % tiny.VOCAB], dim=1)
    store = KVStore(model.main.config, capacity=8)
    model(ids[:, :4], Call(visibility.causal(4), store=store))
    twin = store.fork()
    for start, end in ((4, 6), (6, 7)):
        for text, own in ((ids, store), (other, twin)):
            got = model(text[:, start:end], Call(visibility.causal(end - start, start), store=own))
            tiny.assert_close(got, model(text, Call(visibility.causal(7)))[:, start:end])


def test_reordered_rows_continue_what_they_took_over() -> None:
    model, ids = tiny.model(tiny.config()), tiny.ids(3, 5)
    store = KVStore(model.main.config, batch=3, capacity=4)
    model(ids[:, :4], Call(visibility.causal(4), store=store))
    rows = torch.tensor([2, 0, 2])
    store.reorder(rows)
    got = model(ids[rows][:, 4:], Call(visibility.causal(1, 4), store=store))
    tiny.assert_close(got, model(ids[rows], Call(visibility.causal(5)))[:, 4:])
