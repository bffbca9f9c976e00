"""Hidden tokens by their three layouts: what each row says equals a pass of its own, and nobody sees what is hidden from him."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cutaway.config import PositionConfig, StackConfig, TokenIds
from cutaway.data import Batch
from cutaway.model import Call, layouts, visibility
from cutaway.objectives import Noise, block_numbers, by_blocks, by_count, by_time, causal, drafted, masked, rows_of
from cutaway.objectives.diffusion import Rows
from cutaway.train.step import predict
from tests import tiny
from tests.objectives import batches

MASK = 2
LENGTH, SIZE = 12, 4
STACKS = {
    "sinusoidal": tiny.stack(),
    "rotary": tiny.stack(position=PositionConfig(kind="rotary")),
    "window": tiny.stack(position=PositionConfig(kind="rotary"), layer_types=tiny.NEAR, pattern=("near", "full")),
}
stacks = pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)


def batch(num_rows: int = 2) -> Batch:
    ids = tiny.ids(num_rows, LENGTH + 1).numpy()
    ids[ids == MASK] = 3
    return Batch(
        input_ids=ids[:, :-1], target_ids=ids[:, 1:], weights=np.ones((num_rows, LENGTH), np.float32), num_bytes=1.0
    )


def model(stack: StackConfig, **knobs: Any) -> Any:
    return tiny.model(tiny.config(decoder=stack, tokens=TokenIds(mask=MASK), **knobs), dtype=torch.float64)


def words(logits: Tensor) -> Tensor:
    """Without the mask, which has no probability."""
    return logits[..., torch.arange(tiny.VOCAB) != MASK]


def noise_of(rows: Rows, size: int | None, seed: int = 1) -> Noise:
    return by_count(rows.may_hide, block_numbers(rows, size), torch.Generator().manual_seed(seed))


@stacks
def test_one_block_is_masked_diffusion(stack: StackConfig) -> None:
    """The same logits, targets, weights and count: so the same loss."""
    rows = rows_of(batch())
    noise = noise_of(rows, None)
    one, whole = masked(rows, noise, MASK), by_blocks(rows, noise, MASK, LENGTH)
    made = model(stack)
    tiny.assert_close(words(predict(made, whole)), words(predict(made, one)))
    assert torch.equal(one.target_ids, whole.target_ids)
    assert one.weights is not None
    assert torch.equal(one.weights, torch.as_tensor(whole.weights))
    assert one.count == whole.count == 2 * LENGTH


@stacks
def test_the_clean_half_of_a_hybrid_is_the_plain_pass(stack: StackConfig) -> None:
    made, given = model(stack), batch()
    task = drafted(rows_of(given), MASK, SIZE, 1)
    plain = causal(given)
    tiny.assert_close(predict(made, task)[:, :LENGTH], predict(made, plain))
    assert torch.equal(task.target_ids[:, :LENGTH], plain.target_ids)


@pytest.mark.parametrize("offset", range(SIZE))
@pytest.mark.parametrize("is_shifted", [False, True])
@stacks
def test_every_draft_equals_what_the_decoder_asks(stack: StackConfig, is_shifted: bool, offset: int) -> None:
    """A block of masks behind the text before it; and each mask's target is the token that the decoder drafts there."""
    made, given = model(stack), batch(1)
    rows = rows_of(given, is_shifted=is_shifted)
    task = drafted(rows, MASK, SIZE, offset, is_shifted=is_shifted)
    logits = predict(made, task)[:, LENGTH:]
    begins = sorted({max(0, (place + offset) // SIZE * SIZE - offset) for place in range(LENGTH)})
    for begin, end in zip(begins, [*begins[1:], LENGTH], strict=True):
        row = torch.cat([rows.ids[:, :begin], torch.full((1, end - begin), MASK)], 1)
        alone = made(row, Call(layouts.drafting(0, begin, [end - begin])))
        tiny.assert_close(logits[:, begin:end], alone[:, begin:])
    text = torch.cat([rows.ids, rows.next_ids[:, -1:]], 1)
    assert torch.equal(task.target_ids[:, LENGTH:], text[:, is_shifted : LENGTH + is_shifted])


def test_each_loss_of_a_hybrid_is_over_its_own_tokens() -> None:
    """The weights of both halves add up to the same, however many tokens each has."""
    given = batches.packed(4)
    task = drafted(rows_of(given), MASK, SIZE, 2, draft_weight=0.5)
    assert task.weights is not None
    length = given.input_ids.shape[1]
    assert task.count == float((given.weights > 0).sum())
    assert float(task.weights[:, :length].sum()) == task.count
    assert abs(float(task.weights[:, length:].sum()) - 0.5 * task.count) < 1e-3


@stacks
def test_a_changed_hidden_key_changes_no_bit(stack: StackConfig) -> None:
    """A clean token changes nothing in the noised blocks, or drafts, up to its own; a mask nothing outside its block."""
    made, rows = model(stack), rows_of(batch(1))
    noise = noise_of(rows, SIZE)
    for task, clean in (
        (by_blocks(rows, noise, MASK, SIZE), slice(LENGTH, 2 * LENGTH)),
        (drafted(rows, MASK, SIZE, 0), slice(0, LENGTH)),
    ):
        before = made(task.input_ids, Call(task.tokens))
        ids = task.input_ids.clone()
        place = 6  # in the second block
        ids[0, clean.start + place] = 30
        after = made(ids, Call(task.tokens))
        other = slice(0, LENGTH) if clean.start else slice(LENGTH, 2 * LENGTH)
        assert torch.equal(before[:, other][:, : 2 * SIZE], after[:, other][:, : 2 * SIZE])
        assert not torch.equal(before[:, other][:, 2 * SIZE :], after[:, other][:, 2 * SIZE :])
        ids = task.input_ids.clone()
        ids[0, other.start + place] = 30
        after = made(ids, Call(task.tokens))
        outside = torch.ones(2 * LENGTH, dtype=torch.bool)
        outside[other.start + SIZE : other.start + 2 * SIZE] = False
        assert torch.equal(before[:, outside], after[:, outside])
        assert not torch.equal(before, after)


@pytest.mark.parametrize("is_shifted", [False, True])
def test_packed_texts_never_see_each_other(is_shifted: bool) -> None:
    """Each text of a row says what it says alone; what is never scored, and padding, is never hidden."""
    made, given = model(STACKS["rotary"]), batches.packed(3)
    rows = rows_of(given, is_shifted=is_shifted)
    noise = by_time(rows.may_hide, block_numbers(rows, None), torch.Generator().manual_seed(1))
    task = masked(rows, noise, MASK, is_shifted=is_shifted)
    logits = predict(made, task)
    assert given.segments is not None
    segments = torch.as_tensor(given.segments)
    for row in range(3):
        for segment in segments[row][segments[row] >= 0].unique():
            here = (segments[row] == segment).nonzero()[:, 0]
            alone = made(task.input_ids[row : row + 1, here], Call(visibility.full(len(here))))
            tiny.assert_close(words(logits[row : row + 1, here]), words(alone))
    assert not (rows.may_hide & (segments < 0)).any()
    begins = torch.as_tensor(given.positions) == 0
    assert bool((rows.may_hide & begins & (segments >= 0)).any()) == (not is_shifted)
    for row, place in noise.is_hidden.nonzero().tolist():
        said = place - is_shifted
        assert task.target_ids[row, said] == rows.ids[row, place]
        assert task.weights is not None
        assert task.weights[row, said] == noise.weights[row, place]


def test_what_is_not_scored_is_not_hidden() -> None:
    """A prompt whose targets have weight 0 stays: only the answer behind it is hidden, its first token too."""
    given = batch(1)
    given.weights[0, :5] = 0
    assert rows_of(given).may_hide.tolist() == [[False] * 6 + [True] * 6]
    given.weights[0, :5] = 1
    given.weights[0, 5:] = 0
    assert rows_of(given).may_hide.tolist() == [[True] * 6 + [False] * 6]
    assert rows_of(given, is_shifted=True).may_hide.tolist() == [[False] + [True] * 5 + [False] * 6]


def test_blocks_are_numbered_text_by_text() -> None:
    rows = rows_of(batches.packed(2))
    assert rows.segments is not None
    for size in (None, 3):
        numbers: Tensor = block_numbers(rows, size)
        pairs = {
            (int(segment), int(position) // (size or 99), int(number))
            for segment, position, number in zip(rows.segments[0], rows.positions[0], numbers[0], strict=True)
        }
        assert len({pair[:2] for pair in pairs}) == len({pair[2] for pair in pairs}) == len(pairs)


@pytest.mark.parametrize("kind", ["blocks", "drafts"])
def test_packed_texts_of_blocks_and_drafts_never_see_each_other(kind: str) -> None:
    """A text that changes, clean half and noised half, changes no bit of what the others say."""
    made, rows = model(STACKS["rotary"]), rows_of(batches.packed(3))
    assert rows.segments is not None
    noise = noise_of(rows, SIZE)
    task = by_blocks(rows, noise, MASK, SIZE) if kind == "blocks" else drafted(rows, MASK, SIZE, 1)
    segments = torch.cat([rows.segments, rows.segments], 1)
    row = next(each for each in range(3) if len(segments[each][segments[each] >= 0].unique()) > 1)
    before = made(task.input_ids, Call(task.tokens))[row]
    for segment in segments[row][segments[row] >= 0].unique():
        is_own, ids = segments[row] == segment, task.input_ids.clone()
        ids[row, is_own] = (ids[row, is_own] + 7) % tiny.VOCAB
        after = made(ids, Call(task.tokens))[row]
        assert torch.equal(before[~is_own], after[~is_own])
        assert not torch.equal(before[is_own], after[is_own])
