"""Two decoders of different kinds in one row a pass. Neither knows of the other, and each writes what it writes alone.

A decoder is a generator: it yields the step that it wants (ids, tokens, store) and receives the logits. The driver packs
the steps of all decoders into one pass over a `PackedStore`.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from cutaway.config import AttentionConfig, PositionConfig, StackConfig
from cutaway.model import Call, Tokens, Transformer, visibility
from cutaway.model.call import Attend
from cutaway.runtime.attend import fused
from cutaway.runtime.stores import KVStore, PackedStore
from tests import tiny


@dataclass(frozen=True)
class Step:
    """What a decoder wants of the model. ids: [1, position]."""

    ids: Tensor
    tokens: Tokens
    store: KVStore


Decoder = Generator[Step, Tensor, list[int]]


def step(store: KVStore, ids: Sequence[int]) -> Step:
    return Step(torch.tensor([ids]), visibility.causal(len(ids), store.length), store)


def greedy(store: KVStore, prompt: list[int], count: int) -> Decoder:
    """One token a pass."""
    written, pending = list[int](), prompt
    while len(written) < count:
        logits = yield step(store, pending)
        pending = [int(logits[0, -1].argmax())]
        written += pending
    return written


def drafting(store: KVStore, prompt: list[int], count: int) -> Decoder:
    """Greedy by guessing: three guesses a pass, those that the model confirms are kept, the rest is rewound."""
    written, pending = list[int](), prompt
    while len(written) < count:
        guesses = [(pending[-1] + n) % tiny.VOCAB for n in range(3)]
        logits = yield step(store, pending + guesses)
        chosen = logits[0, len(pending) - 1 :].argmax(-1).tolist()
        accepted = next((n for n, guess in enumerate(guesses) if chosen[n] != guess), len(guesses))
        store.rewind(store.length - len(guesses) + accepted)
        pending = chosen[accepted : accepted + 1]
        written += chosen[: accepted + 1]
    return written[:count]


def together(model: Transformer, decoders: Sequence[Decoder], kernel: Attend | None) -> tuple[list[list[int]], int]:
    """Drive all decoders; every pass holds one step of each that still runs. Returns their texts and the passes."""
    steps = {index: next(decoder) for index, decoder in enumerate(decoders)}
    texts: dict[int, list[int]] = {}
    num_passes = 0
    while steps:
        num_passes += 1
        pieces = [s.tokens for s in steps.values()]
        store = PackedStore([s.store for s in steps.values()], pieces)
        ids = torch.cat([s.ids for s in steps.values()], dim=1)
        logits = model(ids, Call(visibility.join(pieces), attend=kernel, store=store))
        parts = logits.split([len(piece) for piece in pieces], dim=1)
        for index, part in zip(list(steps), parts, strict=True):
            try:
                steps[index] = decoders[index].send(part)
            except StopIteration as end:
                texts[index] = end.value
                del steps[index]
    return [texts[index] for index in range(len(decoders))], num_passes


STACKS = {
    "sinusoidal": tiny.stack(),
    "rotary": tiny.stack(
        position=PositionConfig(kind="rotary"), attention=AttentionConfig(num_heads=4, num_kv_heads=2)
    ),
    "alibi and windows": tiny.stack(
        position=PositionConfig(kind="alibi"), layer_types=tiny.NEAR, pattern=("near", "full")
    ),
    "windows": tiny.stack(layer_types=tiny.NEAR, pattern=("near",)),
}


@pytest.mark.parametrize("kernel", [None, fused], ids=["readable", "fused"])
@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_each_decoder_writes_what_it_writes_alone(stack: StackConfig, kernel: Attend | None) -> None:
    model = tiny.lively(stack)
    prompts = ([3, 1, 4, 1, 5], [9, 2], [6, 5, 3])
    kinds = (greedy, drafting, greedy)

    def decoders() -> list[Decoder]:
        return [kind(KVStore(stack, capacity=4), prompt, 12) for kind, prompt in zip(kinds, prompts, strict=True)]

    alone = [together(model, [decoder], kernel)[0][0] for decoder in decoders()]
    packed, num_passes = together(model, decoders(), kernel)
    assert packed == alone
    assert num_passes == 12, "the row runs as long as its longest decoder"
    assert len({token for text in packed for token in text}) > 4, "texts that do not vary prove nothing"
    plain = together(model, [greedy(KVStore(stack, capacity=4), prompts[1], 12)], kernel)[0][0]
    assert packed[1] == plain, "guessing is greedy, token for token"
