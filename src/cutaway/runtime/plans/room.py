"""Where in a store the next token's keys and values go. In: a store. Out: addresses for a plan.

Plans read and write contiguous memory: per layer keys, then values, [kv_head, capacity, d_head], of one causal text from its
start; in fp32, in bf16, or as codes of 8 bits with scales.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..formats import Format, Int8, Plain
from ..stores import KVStore
from .program import Step

FORMS: dict[Format, int] = {Plain(torch.float32): 0, Plain(torch.bfloat16): 1, Int8(): 2}  # as plan.cpp counts them


@dataclass(frozen=True, slots=True)
class Room:
    """values, scales, fields: addresses of the store's numbers, of their scales, if any, and of its visibility; position: of the
    token; capacity: of the store; form: see `FORMS`."""

    form: int
    values: int
    scales: int | None
    fields: int
    position: int
    capacity: int

    def step(self, token_id: int, result: Tensor) -> Step:
        """One token through a plan. result: where its logits go."""
        places = self.values, self.scales, self.fields, result.data_ptr()
        return Step(token_id, self.position, self.capacity, self.form, *places)


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


def next_room(store: KVStore) -> Room:
    """Room for one more causal token, which the store counts from now on. store: plain, see `is_plain`."""
    store.begin_next()
    return room_at(store, store.start)


def room_at(store: KVStore, position: int) -> Room:
    """The place of a token that the store counts."""
    values, *scales = [tensor.data_ptr() for tensor in store.tensors]
    return Room(
        form=FORMS[store.form],
        values=values,
        scales=scales[0] if scales else None,
        fields=store.fields.data_ptr(),
        position=position,
        capacity=store.capacity,
    )
