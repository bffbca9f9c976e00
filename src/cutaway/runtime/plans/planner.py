"""When a plan is recorded, admitted and dropped. In: a token of a session. Out: its logits, or word that the readable pass runs.

A plan is admitted by its first token: the readable pass has run, the plan runs the same token, and both must agree. What the plan
computed is then what counts, so that equal passes give equal bits, whoever recorded when. It is dropped when the model changes
under it, and recorded anew.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ...model.transformer import Transformer
from ..formats import Plain
from ..stores import KVStore
from .plan import Plan
from .recorder import record
from .room import is_plain, next_room, room_at

TOLERANCE = 1e-3  # of the largest number: far above what rounding does, far below what another computation would
ROUNDED_TOLERANCE = 0.1  # where inputs of products are rounded to 127 steps: a few of them fall on the other side
PLANS: WeakKeyDictionary[Transformer, Plan] = WeakKeyDictionary()


class Planner:
    """The plans of one session's model. reason: why there is none; a session that has been refused asks no more."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def may_run(self, model: Transformer, store: object) -> bool:
        """Whether a plan could run a token: not one that was refused, in training mode, or into another store."""
        return self.reason is None and model.head is not None and is_plain(store) and is_ordinary(model)

    def run(self, model: Transformer, token_id: int, store: KVStore, *, has_logits: bool) -> Tensor | None:
        """One more causal token by the plan, where one may run: logits [read, vocab]. None where there is no plan yet."""
        plan = PLANS.get(model)
        if plan is None:
            return None
        if plan.num_threads != torch.get_num_threads() or not plan.guard.holds:
            PLANS.pop(model, None)
            return None
        return plan.run(token_id, next_room(store), has_logits=has_logits)

    def learn(self, model: Transformer, token_id: int, store: KVStore, logits: Tensor) -> Tensor:
        """Record and admit a plan, where `run` had none. token_id, logits: of the readable pass; its token is the store's last.

        Returns logits [read, vocab]: the plan's, if it was admitted.
        """
        plan = record(model, torch.get_num_threads())
        if isinstance(plan, str):
            self.reason = plan
            return logits
        found = admitted(plan, token_id, store, logits)
        if found is None:
            self.reason = "It has no plan: on its first token, the plan gave other numbers than the readable pass."
            return logits
        PLANS[model] = plan
        return found


def is_ordinary(model: Transformer) -> bool:
    """Whether a pass computes what plans compute: not in training mode, and in full precision."""
    return not model.training and not torch.is_autocast_enabled("cpu")


def admitted(plan: Plan, token_id: int, store: KVStore, logits: Tensor) -> Tensor | None:
    """The plan's logits of the store's last token, if it gives the readable pass's numbers; else None, and the store stays."""
    place = store.length - 1
    before = tuple(tensor[..., place, :].clone() for tensor in store.tensors)
    found = plan.run(token_id, room_at(store, place), has_logits=True)
    after = tuple(tensor[..., place, :] for tensor in store.tensors)
    is_rounded = plan.is_rounded or store.form != Plain(torch.float32)
    tolerance, read = ROUNDED_TOLERANCE if is_rounded else TOLERANCE, store.form.read
    if close(found, logits, tolerance) and close(read(after, torch.float32), read(before, torch.float32), tolerance):
        return found
    for tensor, held in zip(after, before, strict=True):
        tensor.copy_(held)
    return None


def close(ours: Tensor, theirs: Tensor, tolerance: float) -> bool:
    """Within the tolerance, and numbers."""
    return bool((ours - theirs).abs().max() <= tolerance * max(1.0, float(theirs.abs().max())))
