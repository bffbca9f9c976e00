"""How a session keeps what it has read, and how much it reads in a pass. In: settings. Out: a store, and its bytes beforehand.

A prompt of any length is read in passes of at most `chunk` tokens (Agrawal et al. 2023), so that what a pass computes with
takes the same memory however long the prompt is. A mask has a row for each of them and a column for each token so far: where
it would be larger than `AREA`, passes are shorter. What stays is the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from ..config import ModelConfig, StackConfig
from ..cost import MARGIN, bytes_of_cached_value, cache_bytes
from ..errors import CutawayError
from ..model.call import Memory
from ..model.transformer import Transformer
from .budget import check_memory
from .formats import Format, Int8, Plain
from .stores import KVStore

BITS: Final = (32, 16, 8)
CHUNK: Final = 512  # see docs/caches.md for what it costs

AREA: Final = 2**21  # entries of a mask
LEAST: Final = 64  # tokens that a pass may hold whatever its mask takes

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class Cache:
    """bits: of a kept number. 32: fp32; 16: bf16, or the model's own where that has 16; 8: int8, with a scale for each token
    and head. None: the model's own.

    slides: layers with a window keep the last window alone, and `margin` tokens more, by which a session can be rewound; there
    is nothing else that it could not do, and where no layer has a window nothing changes. chunk: the most tokens of a pass that
    reads a prompt, None for all in one. Raises CutawayError for other numbers of bits, a margin below 0 and a chunk below 1.
    """

    bits: int | None = None
    slides: bool = True
    margin: int = MARGIN
    chunk: int | None = CHUNK

    def __post_init__(self) -> None:
        if self.bits is not None and self.bits not in BITS:
            raise CutawayError(
                f"bits of a cache is {self.bits}. Allowed: {', '.join(map(str, BITS))}, or none for the model's own."
            )
        if self.margin < 0:
            raise CutawayError(f"margin of a cache is {self.margin}. It must be 0 or more tokens.")
        if self.chunk is not None and self.chunk < 1:
            raise CutawayError(f"chunk of a cache is {self.chunk}. Read at least 1 token in a pass, or all: None.")

    def most(self, num_before: int) -> int | None:
        """The most tokens of a pass behind so many; None for any number."""
        if self.chunk is None:
            return None
        return min(self.chunk, max(LEAST, AREA // (num_before + self.chunk)))

    def form(self, dtype: torch.dtype) -> Format:
        """How numbers of a model of this type are held."""
        if self.bits == 8:
            return Int8()
        if self.bits is None or dtype.itemsize * 8 == self.bits:
            return Plain(dtype)
        return Plain(torch.float32 if self.bits == 32 else torch.bfloat16)

    def store(self, stack: StackConfig, dtype: torch.dtype) -> KVStore:
        """An empty store for a model of this type, on the default device."""
        return KVStore(stack, form=self.form(dtype), slides=self.slides, margin=self.margin)

    def memory(self, memory: Memory) -> Memory:
        """A source's keys and values, held as those of the text are."""
        form = self.form(memory.states.dtype)
        if not memory.filled or form == Plain(memory.states.dtype):
            return memory
        return replace(memory, filled=Held(memory.filled, form, memory.states.dtype))

    def at_least(self, margin: int) -> Cache:
        """The same, with no smaller margin than this."""
        return replace(self, margin=max(self.margin, margin))

    def num_bytes(self, config: ModelConfig, num_tokens: int, dtype: torch.dtype, *, num_source: int = 0) -> float:
        """Bytes that a session of so many tokens holds, and its source's."""
        each = bytes_of_cached_value(config, self.bits or dtype.itemsize * 8)
        return cache_bytes(config, num_tokens, each, num_source=num_source, margin=self.margin if self.slides else None)

    def check(self, model: Transformer, num_read: Sequence[int], num_written: int) -> None:
        """Raises CutawayError where there is no memory for what texts will keep, all at once; before any is taken.

        num_read: tokens of each prompt. num_written: tokens behind each. Raises CutawayError too for bits where nothing is kept
        from one pass to the next.
        """
        config, like = model.config, model.token.weight
        if self.bits is not None and config.sees_ahead:
            raise CutawayError(
                f"bits of the cache is {self.bits}, and this model keeps none: every pass reads the whole text anew, for it was "
                f"trained to {config.taught}. Leave it out."
            )
        has_source, most = config.has_cross, config.context if config.main.position.is_table else None
        texts = [num_written + (0 if has_source else size) for size in num_read]
        if most is not None:
            texts = [min(size, most) for size in texts]
        sources = num_read if has_source else [0] * len(num_read)
        sizes = zip(texts, sources, strict=True)
        wanted = sum(self.num_bytes(config, size, like.dtype, num_source=source) for size, source in sizes)
        check_memory(wanted, f"Keys and values of {sum(texts) + sum(sources):,} tokens", like.device)


WHOLE: Final = Cache(slides=False)
"""Everything is kept, as the model computes it."""


class Held:
    """Keys and values of every layer as a format holds them, read where they are wanted."""

    def __init__(self, pairs: Iterable[Pair], form: Format, dtype: torch.dtype) -> None:
        self.form, self.dtype = form, dtype
        self.held = [(form.write(k), form.write(v)) for k, v in pairs]

    def __len__(self) -> int:
        return len(self.held)

    def __getitem__(self, index: int) -> Pair:
        """k, v of a layer: [batch, kv_head, source, d_head]."""
        k, v = self.held[index]
        return self.form.read(k, self.dtype), self.form.read(v, self.dtype)

    def __iter__(self) -> Iterator[Pair]:
        return (self[index] for index in range(len(self)))

    @property
    def num_bytes(self) -> int:
        """Bytes of all of them."""
        return sum(part.nbytes for pair in self.held for side in pair for part in side)
