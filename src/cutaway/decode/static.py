"""A session over a store of fixed shape, for steps that are captured. In: a model, a capacity. Out: a session as any other."""

from __future__ import annotations

import torch

from ..errors import CutawayError
from ..model import Transformer
from ..runtime.gpu import Graphed, StaticStore
from ..runtime.gpu.graphed import Backend
from .session import Session


def static_session(
    model: Transformer, *, capacity: int, dtype: torch.dtype | None = None, backend: Backend | None = "inductor"
) -> Session:
    """An empty session of at most `capacity` tokens, whose one-token steps are compiled, and captured on a GPU.

    dtype: of the stored keys and values; None for the model's own. backend: see `Graphed`.
    Raises CutawayError for a model of two stacks, and a capacity below 1.
    """
    if model.config.has_cross or model.config.decoder is None:
        raise CutawayError("A static session takes a model with a decoder alone. Open a `Session` for this one.")
    if capacity < 1:
        raise CutawayError(f"capacity is {capacity}. It must be at least 1 token.")
    weight = model.token.weight
    store = StaticStore(model.config.main, capacity=capacity, dtype=dtype or weight.dtype, device=weight.device)
    session = Session(Graphed(model, store, backend=backend), is_planned=False)  # its steps are recorded already
    session.store = store  # type: ignore[assignment]
    return session
