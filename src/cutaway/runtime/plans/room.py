"""Where in a store the next token's keys and values go. In: a store. Out: addresses for a plan.

Plans read and write contiguous fp32: per layer keys, then values, [kv_head, capacity, d_head], of one causal text from its start.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..stores import KVStore


@dataclass(frozen=True, slots=True)
class Room:
    """values, fields: addresses of the store's numbers and of its visibility; position: of the token; capacity: of the store."""

    values: int
    fields: int
    position: int
    capacity: int


def is_plain(store: object) -> bool:
    """Whether it is a store that plans can fill: of one text, causal so far, contiguous, in fp32."""
    return (
        type(store) is KVStore
        and store.dtype is torch.float32
        and store.values.shape[2] == 1
        and store.fields.shape[1] == 1
        and store.causal_length == store.length
        and store.values.is_cpu
        and store.values.is_contiguous()
    )


def next_room(store: KVStore) -> Room:
    """Room for one more causal token, which the store counts from now on. store: plain, see `is_plain`."""
    store.begin_next()
    return room_at(store, store.start)


def room_at(store: KVStore, position: int) -> Room:
    """The place of a token that the store counts."""
    return Room(store.values.data_ptr(), store.fields.data_ptr(), position, store.capacity)
