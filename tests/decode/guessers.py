"""The decoders whose drafts come from elsewhere, for tests of what they share. In: a model. Out: decoders, called alike."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from cutaway.config import StackConfig, TokenIds
from cutaway.decode import Decoder, Drafter, Event, Lookup, Session, draft, lookup
from cutaway.model import Transformer
from tests import tiny

Make = Callable[..., Decoder]
NAMES = ("lookup", "draft")


def lively(stack: StackConfig | None = None, **knobs: Any) -> Transformer:
    """A model in fp64 whose greedy text varies."""
    config = tiny.config(decoder=stack, embedding_scale=5.0, tokens=TokenIds(bos=1, eos=2), **knobs)
    return tiny.model(config, seed=4, dtype=torch.float64)


def like(model: Transformer, noise: float, seed: int = 3) -> Transformer:
    """A model that says nearly the same: a draft model that is often right."""
    made, generator = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    for parameter in made.parameters():
        parameter.data += noise * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return made


def guesser(name: str, model: Transformer, num_drafts: int = 3, *, noise: float = 0.05) -> Make:
    """`lookup` or `draft` for a model: (session, ids, sampling, **knobs) -> decoder."""
    if name == "lookup":
        looking = Lookup(num_drafts=num_drafts, longest=2)
        return lambda session, ids, sampling, **knobs: lookup(session, ids, sampling, looking=looking, **knobs)
    plan = Drafter(model=like(model, noise), num_drafts=num_drafts)
    return lambda session, ids, sampling, **knobs: draft(
        session, Session(plan.model), ids, sampling, drafter=plan, **knobs
    )


def final(events: Sequence[Event]) -> list[tuple[int, int | None]]:
    """What stands where at the end."""
    return [(event.position, event.new) for event in events if event.is_final]


def check_drafts(events: Iterable[Event]) -> None:
    """A draft is accepted or rejected at the place where it stood, and nothing else is."""
    places: dict[int, int | None] = {}
    for event in events:
        if event.kind == "draft":
            assert event.position not in places
            places[event.position] = event.new
        elif event.kind in ("accept", "reject"):
            assert places.pop(event.position) == event.old
        else:
            assert event.position not in places
    assert not places
