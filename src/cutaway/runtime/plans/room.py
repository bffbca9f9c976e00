"""What a plan is asked for, and where in a store the tokens' keys and values go. In: ids, a store. Out: addresses for a plan.

Plans read and write contiguous memory: per layer keys, then values, [kv_head, capacity, d_head], of one text, all of which the
tokens see; in fp32, in bf16, or as codes of 8 bits with scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import Array, addressof, c_int64
from dataclasses import dataclass, field
from typing import TypeGuard

import torch
from torch import Tensor

from ...model.visibility import Tokens, causal
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

    @property
    def is_several(self) -> bool:
        """Whether it has more than one token."""
        return len(self.ids) > 1

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


def is_plain(store: object) -> TypeGuard[KVStore]:
    """Whether it is a store that plans can fill: of one text, contiguous, in a form that they know."""
    return (
        type(store) is KVStore
        and not store.slides
        and store.form in FORMS
        and store.values.shape[2] == 1
        and store.fields.shape[1] == 1
        and store.values.is_cpu
        and all(tensor.is_contiguous() for tensor in store.tensors)
    )


def sees_all(tokens: Tokens | None, store: KVStore) -> bool:
    """Whether each of these tokens sees itself, and all that the store holds. tokens: None for the causal continuation."""
    length, is_causal = store.length, store.causal_length == store.length
    if tokens is None and is_causal:
        return True
    if tokens is None:
        tokens = causal(1, length, device=store.fields.device)
    known, reads, group, _, segment, _ = tokens.fields[:, 0]
    before, _, _, _, text, _ = store.fields[:, 0, :length]
    sees_itself = bool(((known <= reads) | (group >= 0)).all()) and tokens.fields.shape[1] == 1
    if not sees_itself or length == 0:
        return sees_itself
    latest = length - 1 if is_causal else int(before.max())
    return bool((reads >= latest).all() and (segment == text[0]).all()) and (is_causal or bool((text == text[0]).all()))
