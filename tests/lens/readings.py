"""Texts as readings for the lens's tests. In: ids. Out: a `Reading` of one text, or of a source and a target."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from cutaway.lens.reading import Reading
from cutaway.model.visibility import causal, full


def text(ids: Sequence[int], *, sees_ahead: bool = False, source: Sequence[int] | None = None) -> Reading:
    """One text. Its tokens' texts are `t0`, `t1`, and so on."""
    read = None if source is None else text(source, sees_ahead=True)
    tokens = full(len(ids)) if sees_ahead else causal(len(ids))
    texts = (tuple(f"t{index}" for index in range(len(ids))),)
    return Reading(ids=torch.tensor([list(ids)]), tokens=tokens, lengths=(len(ids),), texts=texts, source=read)
