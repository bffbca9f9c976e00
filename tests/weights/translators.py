"""Encoder-decoders, ours and theirs, on the same texts. In: models. Out: logits under teacher forcing, at once and by steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cutaway.decode import Sampling, Session, autoregressive, run
from cutaway.model import Call, Transformer, visibility
from cutaway.runtime.attend import fused
from tests import tiny

SOURCE, TARGET = tiny.ids(3, 9, seed=7).clamp_min(2), tiny.ids(3, 11, seed=8).clamp_min(2)
LENGTHS = (9, 4, 6)
PAD = 0


def padded() -> tuple[Tensor, Tensor]:
    """Sources of different lengths and their mask: [batch, source] each."""
    mask = (torch.arange(9).unsqueeze(0) < torch.tensor(LENGTHS).unsqueeze(1)).long()
    return SOURCE.masked_fill(mask == 0, PAD), mask


@torch.inference_mode()
def teacher_forced(model: Transformer, *, kernel: Any = None) -> Tensor:
    """Ours, for padded sources: [batch, position, vocab]."""
    tokens = visibility.padded(LENGTHS, 9, is_causal=False)
    memory = model.encode(padded()[0], Call(tokens, kernel))
    return model(TARGET, Call(visibility.causal(11), kernel, memory=memory))


@torch.inference_mode()
def alone(model: Transformer, row: int) -> Tensor:
    """Ours, for one source by itself: [batch, position, vocab]."""
    length = LENGTHS[row]
    memory = model.encode(SOURCE[row : row + 1, :length], Call(visibility.full(length)))
    return model(TARGET[row : row + 1], Call(visibility.causal(11), memory=memory))


def assert_the_same(ours: Transformer, reference: Any) -> None:
    """The same logits for a padded batch, whichever kernel; and for each text alone."""
    source, mask = padded()
    with torch.inference_mode():
        wanted = reference(input_ids=source, attention_mask=mask, decoder_input_ids=TARGET).logits
    for kernel in (None, fused):
        tiny.assert_close(teacher_forced(ours, kernel=kernel), wanted)
    for row in range(3):
        tiny.assert_close(alone(ours, row)[0], wanted[row])


def assert_greedy_alike(ours: Transformer, reference: Any) -> None:
    """The same tokens, chosen one by one from the start id, each over its own cache; and they vary."""
    how, chosen = {"do_sample": False, "num_beams": 1, "eos_token_id": None, "forced_eos_token_id": None}, []
    for row, source in enumerate(tiny.ids(6, 9, seed=7).clamp_min(2)):
        source = source[: 9 - row]
        session = Session(ours, source_ids=source.tolist())
        events = run(autoregressive(session, [], Sampling(temperature=0), max_tokens=9, eos_ids=[]))
        wanted = reference.generate(source.unsqueeze(0), max_new_tokens=9, **how)[0, 1:].tolist()
        assert [event.new for event in events] == wanted
        chosen += wanted
    assert len(set(chosen)) > 3, "tokens that do not vary prove nothing"


def assert_steps_equal_the_pass(ours: Transformer) -> None:
    """A session over its cache, a few tokens at a time, gives the logits of the whole pass."""
    for row, length in enumerate(LENGTHS):
        session = Session(ours, source_ids=SOURCE[row, :length].tolist())
        target = TARGET[row].tolist()
        parts = [session.extend(target[:3], "all")] + [session.extend([token], "all") for token in target[3:]]
        tiny.assert_close(torch.cat(parts), alone(ours, row)[0])
