"""What a plan is asked for, and where in a store the tokens' keys and values go. In: ids, a store. Out: addresses for a plan.

Plans read and write contiguous memory: per layer keys, then values, [kv_head, capacity, d_head], of one causal text from its
start; in fp32, in bf16, or as codes of 8 bits with scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import Array, addressof, c_int64
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...model.visibility import FIELDS, Tokens
from ..formats import Format, Int8, Plain
from ..stores import KVStore
from .program import Step

FORMS: dict[Format, int] = {Plain(torch.float32): 0, Plain(torch.bfloat16): 1, Int8(): 2}  # as plan.cpp counts them


@dataclass(frozen=True, slots=True)
class Pass:
    """Tokens behind what a store holds. tokens: their visibility, batch 1; None: the causal continuation. read: the first whose
    logits are wanted, with those of all behind it; None: of none."""

    ids: Sequence[int]
    tokens: Tokens | None = None
    read: int | None = 0
    numbers: Array[c_int64] = field(init=False)
    """The ids, as plan.cpp reads them."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "numbers", (c_int64 * len(self.ids))(*self.ids))

    def begin(self, store: KVStore) -> int:
        """The store counts the tokens from now on, and holds their visibility; returns where the first of them goes."""
        if self.tokens is None:
            store.begin_next(len(self.ids))
        else:
            store.begin(self.tokens)
        return store.start

    def step(self, store: KVStore, start: int, head: int, result: Tensor) -> Step:
        """This pass through a plan. start: see `begin`; head: the plan's; result: where the logits go."""
        count = len(self.ids)
        values, *scales = [tensor.data_ptr() for tensor in store.tensors]
        return Step(
            count, start, count if self.read is None else self.read, head, self.tokens is None, store.capacity, FORMS[store.form],
            addressof(self.numbers), values, scales[0] if scales else None, store.fields.data_ptr(), result.data_ptr(),
        )  # fmt: skip


def is_plain(store: object) -> bool:
    """Whether it is a store that plans can fill: of one text, causal so far, contiguous, in a form that they know."""
    return (
        type(store) is KVStore
        and not store.slides
        and store.form in FORMS
        and store.values.shape[2] == 1
        and store.fields.shape[1] == 1
        and store.causal_length == store.length
        and store.values.is_cpu
        and all(tensor.is_contiguous() for tensor in store.tensors)
    )


def sees_all(tokens: Tokens, length: int) -> bool:
    """Whether each of these tokens sees itself, and all of a causal text of this length before them."""
    known, reads, group, _, segment, _ = tokens.fields[: len(FIELDS), 0]
    sees_itself = (known <= reads) | (group >= 0)
    sees_text = (reads >= length - 1) & (segment == 0) if length else sees_itself
    return tokens.fields.shape[1] == 1 and bool((sees_itself & sees_text).all())
