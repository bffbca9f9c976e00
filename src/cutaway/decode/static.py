"""A session over a store of fixed shape, for steps that are captured. In: a model, a capacity. Out: a session as any other."""

from __future__ import annotations

from dataclasses import replace

import torch

from ..cost import cache_bytes
from ..errors import CutawayError
from ..model import Transformer
from ..runtime import machine
from ..runtime.cache import WHOLE, Cache
from ..runtime.gpu import Graphed, StaticStore, check_device_memory, is_fixed
from ..runtime.gpu.graphed import Backend
from .session import Session, places

MOST_NEW = 1024  # tokens not yet there that a store has room for at first: every step reads all of it
ROUND = 64  # tokens: products of few bits want rows of whole lines


def captured(model: Transformer, *, num_read: int = 0, num_new: int = MOST_NEW, cache: Cache = WHOLE) -> Session | None:
    """An empty session whose one-token steps are captured, not compiled; None where an ordinary one is to serve.

    That is on a processor, for a model with an encoder or one that does not say the next token, where numbers decide what runs,
    and for a cache of 8 bits. num_read, num_new: tokens of its text, as far as they are known. There is room for no more than the
    model has positions, and at first for at most `MOST_NEW` new ones. What outgrows that (a conversation, masks behind drafts)
    moves to a store of twice the size, and its steps are captured again. All of it is kept, also where layers have a window.
    Raises CutawayError where the device lacks the memory.
    """
    config, weight = model.config, model.token.weight
    says_next = config.decoder is not None and config.says_next and not config.has_cross and model.head is not None
    if not (machine.is_gpu(weight.device) and says_next and cache.bits != 8 and is_fixed(model)):
        return None
    wanted, limit = num_read + min(num_new, MOST_NEW), places(config.main, model)
    wanted = wanted if limit is None else min(wanted, limit)
    (_, dtype), *_ = cache.form(weight.dtype).parts(config.main.d_head)
    capacity = max(1, -(-wanted // ROUND)) * ROUND
    check_device_memory(cache_bytes(config, capacity, dtype.itemsize), weight.device)
    return static_session(model, capacity=capacity, dtype=dtype, backend=None, cache=cache, grows=True)


def static_session(
    model: Transformer,
    *,
    capacity: int,
    dtype: torch.dtype | None = None,
    backend: Backend | None = "inductor",
    cache: Cache = WHOLE,
    grows: bool = False,
) -> Session:
    """An empty session of at most `capacity` tokens, whose one-token steps are compiled, and captured on a GPU.

    dtype: of the stored keys and values; None for the model's own. backend: see `Graphed`. cache: how much is read in a pass; the
    store is this one. grows: whether it may hold more than `capacity`, see `StaticStore`.
    Raises CutawayError for a model of two stacks, and a capacity below 1.
    """
    if model.config.has_cross or model.config.decoder is None:
        raise CutawayError("A static session takes a model with a decoder alone. Open a `Session` for this one.")
    if capacity < 1:
        raise CutawayError(f"capacity is {capacity}. It must be at least 1 token.")
    weight = model.token.weight
    store = StaticStore(
        model.config.main, capacity=capacity, dtype=dtype or weight.dtype, device=weight.device, grows=grows
    )
    graphed = Graphed(model, store, backend=backend)
    session = Session(graphed, cache=replace(cache, slides=False), is_planned=False)  # its steps are recorded already
    session.store = store  # type: ignore[assignment]
    return session
