"""Tests of decoding: sessions, samplers, the plain decoder, one decoder alone and many together, stop strings."""

from __future__ import annotations

from cutaway.config import ModelConfig, PositionConfig, TokenIds
from cutaway.model import Transformer
from tests import tiny


def decoder_only(kind: str = "learned", *, seed: int = 4, **knobs: object) -> Transformer:
    """A decoder whose greedy tokens vary. kind: of its positions; ids 1 and 2 begin and end a text."""
    return tiny.model(_config(kind, **knobs), seed=seed, std=0.6)


def translator(kind: str = "learned", *, seed: int = 1) -> Transformer:
    """An encoder-decoder; id 3 begins what it writes."""
    source = tiny.stack(position=PositionConfig(kind=kind, bidirectional=kind == "relative"))  # type: ignore[arg-type]
    target = tiny.stack(position=PositionConfig(kind=kind))  # type: ignore[arg-type]
    tokens = TokenIds(bos=1, eos=2, decoder_start=3)
    return tiny.model(tiny.config(encoder=source, decoder=target, tokens=tokens), seed=seed, std=0.6)


def prompt(length: int, seed: int = 0) -> list[int]:
    """Random ids."""
    return tiny.ids(1, length, seed=seed)[0].tolist()


def _config(kind: str, **knobs: object) -> ModelConfig:
    stack = tiny.stack(position=PositionConfig(kind=kind))  # type: ignore[arg-type]
    return tiny.config(decoder=stack, **{"tokens": TokenIds(bos=1, eos=2), **knobs})
