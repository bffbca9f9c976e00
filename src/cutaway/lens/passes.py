"""Passes for experiments. In: a prompt as ids, and who changes what on the way. Out: logits, or a trace.

A prompt is one text, or a source and what the decoder has read of the target. It runs several times at once as rows of a batch,
so that each row can be changed in another place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import CutawayError
from ..model import Call, Transformer
from ..model.call import Watch
from ..runtime.attend import fused
from .attending import seen_by
from .sites import sites
from .trace import Recorder, Trace

Progress = Callable[[int, int], None]
"""Told after each batch of runs: how many are done, and of how many."""

CELLS = 8192
"""Tokens of a batch: as many rows run at once as have no more together."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What a model reads. tokens: the texts of the ids, or none. source_ids: what the encoder reads, None for one stack."""

    ids: tuple[int, ...]
    tokens: tuple[str, ...] = ()
    source_ids: tuple[int, ...] | None = None
    source_tokens: tuple[str, ...] = ()


class Change:
    """A `model.call.Watch` that changes the tensors of some sites. changes: site -> what becomes of its tensor."""

    def __init__(self, changes: Mapping[str, Callable[[Tensor], Tensor]]) -> None:
        self.changes = changes

    def wants(self, site: str) -> bool:
        """Whether this site is changed."""
        return site in self.changes

    def __call__(self, site: str, tensor: Tensor) -> Tensor:
        """The changed tensor."""
        return self.changes[site](tensor) if site in self.changes else tensor


class Chain:
    """Several watchers, each of which sees what the one before it returned."""

    def __init__(self, *watches: Watch) -> None:
        self.watches = watches

    def wants(self, site: str) -> bool:
        """Whether any of them wants the site."""
        return any(watch.wants(site) for watch in self.watches)

    def __call__(self, site: str, tensor: Tensor) -> Tensor:
        """Through all of them in order."""
        for watch in self.watches:
            tensor = watch(site, tensor)
        return tensor


def states_of(model: Transformer, prompt: Prompt, watch: Watch | None = None, rows: int = 1) -> Tensor:
    """What the last stack makes of the prompt, run in so many rows: [batch, position, d_model]."""
    device = model.token.weight.device
    memory = None
    if prompt.source_ids is not None:
        source = torch.tensor([prompt.source_ids], device=device).expand(rows, -1)
        seen = seen_by(model, source.shape[1], of_encoder=True).to(device)
        memory = model.encode(source, Call(seen, attend=fused, watch=watch))
    ids = torch.tensor([prompt.ids], device=device).expand(rows, -1)
    call = Call(seen_by(model, ids.shape[1]).to(device), attend=fused, memory=memory, watch=watch)
    return model.states(ids, call)


def logits_of(model: Transformer, prompt: Prompt, read: slice, watch: Watch | None = None, rows: int = 1) -> Tensor:
    """The logits of some positions: [batch, read, vocab] float64 on the CPU. Nobody watches the head."""
    states = states_of(model, prompt, watch, rows)[:, read]
    call = Call(seen_by(model, states.shape[1]).to(states.device))
    return model.logits(states, call).double().cpu()


@torch.inference_mode()
def traced(model: Transformer, prompt: Prompt, patterns: str | Sequence[str]) -> Trace:
    """One pass, with the sites of the stacks that the patterns name. Logits are left out: read them with `logits_of`."""
    check_prompt(model, prompt)
    source = len(prompt.source_ids or ())
    names = [site.name for site in sites(model.config, 1, len(prompt.ids), source=source)]
    recorder = Recorder(patterns, names)
    states_of(model, prompt, recorder)
    return recorder.trace(torch.tensor([prompt.ids]), prompt.tokens)


def batches(prompt: Prompt, count: int) -> list[range]:
    """`count` runs of a prompt in batches."""
    longest = max(len(prompt.ids), len(prompt.source_ids or ()))
    size = max(1, CELLS // longest)
    return [range(start, min(count, start + size)) for start in range(0, count, size)]


def check_prompt(model: Transformer, prompt: Prompt) -> None:
    """Raises CutawayError for what the model cannot read."""
    if model.config.has_cross and not prompt.source_ids:
        raise CutawayError(
            "This model has an encoder and a decoder: it reads a source first. Give the prompt a source."
        )
    if not model.config.has_cross and prompt.source_ids is not None:
        raise CutawayError("This model has one stack and reads no source. Leave the source out.")
    for name, ids in (("prompt", prompt.ids), ("source", prompt.source_ids)):
        if ids is None:
            continue
        if not ids:
            raise CutawayError(f"The {name} is empty. Give it one token at least.")
        if min(ids) < 0 or max(ids) >= model.config.vocab_size:
            raise CutawayError(
                f"An id of the {name} is outside the vocabulary: ids run from 0 to {model.config.vocab_size - 1}."
            )
        if any(stack.position.is_table for stack in model.config.stacks.values()) and len(ids) > model.config.context:
            raise CutawayError(
                f"The {name} has {len(ids):,} tokens. This model reads {model.config.context:,}. Shorten it."
            )


def check_place(prompt: Prompt, position: int | None) -> int:
    """The position, the last for None. Raises CutawayError for one that the prompt does not have."""
    length = len(prompt.ids)
    position = length - 1 if position is None else position
    if not 0 <= position < length:
        raise CutawayError(f"position is {position}. The prompt has {length} tokens, numbered from 0 to {length - 1}.")
    return position


def check_heads(num_layers: int, num_heads: int, heads: Sequence[tuple[int, int]]) -> None:
    """Raises CutawayError for a head that does not exist. heads: (layer, head)."""
    for layer, head in heads:
        if not (0 <= layer < num_layers and 0 <= head < num_heads):
            raise CutawayError(
                f"There is no head {head} in layer {layer}. Layers are numbered from 0 to {num_layers - 1}, heads from 0 to "
                f"{num_heads - 1}."
            )


def without_heads(heads: Sequence[tuple[int, int]], prefix: str = "") -> Change:
    """A watcher that switches heads off: their mix of values becomes zero. heads: (layer, head)."""
    by_layer: dict[int, list[int]] = {}
    for layer, head in heads:
        by_layer.setdefault(layer, []).append(head)
    return Change({f"{prefix}layers.{layer}.attention.mixed": _zeroing(chosen) for layer, chosen in by_layer.items()})


def _zeroing(heads: list[int]) -> Callable[[Tensor], Tensor]:
    def zeroed(mixed: Tensor) -> Tensor:
        mixed = mixed.clone()
        mixed[:, heads] = 0
        return mixed

    return zeroed
