"""Where one can look. In: a config and the size of a pass. Out: every site of that pass, in the order of the way.

A site is a name that the forward pass taps, with the axes and the shape of its tensor; the list is known before anything
runs. `match` turns patterns such as `layers.*.attention.weights` into names.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from ..config import ModelConfig, StackConfig
from ..errors import CutawayError, near

_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, slots=True)
class Site:
    """One place of the forward pass. axes: a word for each axis; shape: its size in this pass; dtype: of its numbers."""

    name: str
    axes: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str = "float32"

    @property
    def num_bytes(self) -> int:
        """What a copy of it takes."""
        return math.prod(self.shape) * _BYTES[self.dtype]

    def only(self, kept: tuple[int, Sequence[int]] | None) -> Site:
        """The site with fewer entries of an axis. kept: the axis, and which of its entries; None: all."""
        if kept is None:
            return self
        axis, indices = kept
        return replace(self, shape=(*self.shape[:axis], len(indices), *self.shape[axis + 1 :]))


def sites(
    config: ModelConfig, batch: int, length: int, *, past: int = 0, source: int = 0, dtype: str = "float32"
) -> list[Site]:
    """Every site of a pass over `length` tokens a sequence, in the order in which the pass reaches them.

    past: tokens already in the store. source: tokens that the encoder read, where a decoder looks at an encoder. dtype: of the
    model's numbers, as torch names it.
    Raises CutawayError for a batch or length below 1, a negative past, or a source that is missing or has no encoder.
    """
    _check(config, batch, length, past, source)
    sizes = _Sizes(batch, length, past, source)
    if not config.has_cross:
        found = _stack("", config.main, sizes, has_cross=False)
    else:
        assert config.encoder is not None, "has_cross holds"
        found = _stack("encoder.", config.encoder, _Sizes(batch, source, 0, 0), has_cross=False)
        found += _stack("decoder.", config.main, sizes, has_cross=True)
    stream = ("batch", "position", "d_model"), (batch, length, config.main.d_model)
    if config.head_transform is not None:
        found.append(Site("output.transformed", *stream))
    if config.has_pooler:
        found.append(Site("output.pooled", ("batch", "d_model"), (batch, config.main.d_model)))
    if config.num_labels:
        found.append(Site("output.labels", ("batch", "position", "label"), (batch, length, config.num_labels)))
    if config.has_head:
        found.append(Site("output.logits", ("batch", "position", "vocab"), (batch, length, config.vocab_size)))
    return [replace(site, dtype=dtype) for site in found]


def match(patterns: str | Iterable[str], available: Sequence[str]) -> list[str]:
    """The names that any of the patterns selects, in the order of `available`. `*` stands for any characters.

    Raises CutawayError, naming the nearest sites, for a pattern that selects nothing.
    """
    wanted = [patterns] if isinstance(patterns, str) else list(patterns)
    for pattern in wanted:
        if not any(fnmatchcase(name, pattern) for name in available):
            raise CutawayError(f"No site matches '{pattern}'.{_hint(pattern, available)}")
    return [name for name in available if any(fnmatchcase(name, pattern) for pattern in wanted)]


@dataclass(frozen=True, slots=True)
class _Sizes:
    batch: int
    length: int
    past: int
    source: int


def _stack(prefix: str, stack: StackConfig, sizes: _Sizes, *, has_cross: bool) -> list[Site]:
    stream = ("batch", "position", "d_model"), (sizes.batch, sizes.length, stack.d_model)
    parts = ("token", "position", "type", "sum") if stack.num_token_types else ("token", "position", "sum")
    found = [Site(f"{prefix}embedding.{part}", *stream) for part in parts]
    for layer in range(stack.num_layers):
        found += _layer(f"{prefix}layers.{layer}.", stack, sizes, has_cross=has_cross)
    return [*found, Site(f"{prefix}output.norm", *stream)]


def _layer(prefix: str, stack: StackConfig, sizes: _Sizes, *, has_cross: bool) -> list[Site]:
    stream = ("batch", "position", "d_model"), (sizes.batch, sizes.length, stack.d_model)
    found = [Site(f"{prefix}residual.start", *stream)]
    found += _attention(f"{prefix}attention.", stack, sizes, "key", sizes.length, sizes.past + sizes.length)
    if stack.placement != "parallel":
        found.append(Site(f"{prefix}residual.middle", *stream))
    if has_cross:
        found += _attention(f"{prefix}cross.", stack, sizes, "source", sizes.source, sizes.source)
        found.append(Site(f"{prefix}residual.crossed", *stream))
    found += _feedforward(f"{prefix}feedforward.", stack, sizes)
    return [*found, Site(f"{prefix}residual.end", *stream)]


def _attention(prefix: str, stack: StackConfig, sizes: _Sizes, met: str, brought: int, num_met: int) -> list[Site]:
    """met: the axis word of what the queries meet; brought: how many of those this pass brings; num_met: how many in all."""
    batch, length, heads = sizes.batch, sizes.length, stack.attention.num_heads
    stream = ("batch", "position", "d_model"), (batch, length, stack.d_model)
    query = ("batch", "head", "position", "d_head"), (batch, heads, length, stack.d_head)
    place = "source" if met == "source" else "position"
    key = ("batch", "kv_head", place, "d_head"), (batch, stack.attention.kv_heads, brought, stack.d_head)
    scores = ("batch", "head", "query", met), (batch, heads, length, num_met)
    kinds = {"input": stream, "query": query, "key": key, "value": key, "scores": scores, "weights": scores}
    return [Site(prefix + name, *kind) for name, kind in {**kinds, "mixed": query, "output": stream}.items()]


def _feedforward(prefix: str, stack: StackConfig, sizes: _Sizes) -> list[Site]:
    batch, length, knobs = sizes.batch, sizes.length, stack.feedforward
    stream = ("batch", "position", "d_model"), (batch, length, stack.d_model)
    if knobs.experts is not None:
        inner = {"router": (("batch", "position", "expert"), (batch, length, knobs.experts.num_experts))}
    else:
        hidden = ("batch", "position", "d_hidden"), (batch, length, knobs.d_hidden)
        inner = {"pre": hidden, "active": hidden}
    return [Site(prefix + name, *kind) for name, kind in {"input": stream, **inner, "output": stream}.items()]


def _hint(pattern: str, available: Sequence[str]) -> str:
    """The nearest sites, with `*` for the number of a layer, so that the hint stays short for a deep model."""
    return near(re.sub(r"\d+", "*", pattern), {re.sub(r"\d+", "*", name) for name in available})


def _check(config: ModelConfig, batch: int, length: int, past: int, source: int) -> None:
    if batch < 1 or length < 1:
        raise CutawayError(f"The pass has batch {batch} and length {length}. Both must be at least 1.")
    if past < 0:
        raise CutawayError(f"past is {past}. It counts the tokens already in the store: 0 or more.")
    if config.has_cross and source < 1:
        raise CutawayError(
            f"source is {source}, but the decoder looks at an encoder. Give the source's length, 1 or more."
        )
    if not config.has_cross and source:
        raise CutawayError(f"source is {source}, but this model has one stack and reads no source. Leave it out.")
