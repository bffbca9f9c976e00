"""When a plan is recorded, admitted and dropped. In: tokens of a session. Out: logits, or word that the readable pass runs.

A plan is admitted by its first pass, and again by its first one over several tokens: the readable pass has run, the plan runs
the same tokens, and both must agree. What the plan computed is then what counts, so that equal passes give equal bits, whoever
recorded when. It is dropped when the model changes under it, and recorded anew.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ...model.transformer import Transformer
from ..formats import Plain
from ..stores import KVStore
from .plan import MOST_TOKENS, Plan
from .recorder import record
from .room import Pass, is_plain, sees_all

TOLERANCE = 1e-3  # of the largest number: far above what rounding does, far below what another computation would
ROUNDED_TOLERANCE = 0.1  # where inputs of products are rounded to 127 steps: a few of them fall on the other side
PLANS: WeakKeyDictionary[Transformer, Plan] = WeakKeyDictionary()


class Planner:
    """The plans of one session's model. reason: why there is none; a session that has been refused asks no more."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def may_run(self, model: Transformer, store: object, asked: Pass) -> bool:
        """Whether a plan could run these tokens: none that was refused, in training mode, into another store, or too many."""
        plan, count = PLANS.get(model), len(asked.ids)
        if self.reason is not None or count > MOST_TOKENS or model.head is None or not is_plain(store):
            return False
        is_served = plan is None or plan.serves(count, store.length)
        return is_served and is_ordinary(model) and sees_all(asked.tokens, store)

    def run(self, model: Transformer, asked: Pass, store: KVStore) -> Tensor | None:
        """These tokens by the plan, where one may run: logits [read, vocab]. None where there is no plan for them yet."""
        plan = current(model)
        if plan is None or asked.is_several not in plan.admitted:
            return None
        return plan.run(asked, store, asked.begin(store))

    def learn(self, model: Transformer, asked: Pass, store: KVStore, logits: Tensor) -> Tensor:
        """Record and admit a plan, where `run` had none. logits: of the readable pass, whose tokens are the store's last.

        Returns logits [read, vocab], of one token at least: the plan's, if it was admitted.
        """
        plan = current(model) or record(model, torch.get_num_threads())
        if isinstance(plan, str):
            self.reason = plan
            return logits
        if not plan.serves(len(asked.ids), store.length - len(asked.ids)):
            PLANS[model] = plan
            return logits
        found = admitted(plan, asked, store, logits)
        if found is None:
            self.reason = "It has no plan: on its first pass, the plan gave other numbers than the readable one."
            return logits
        plan.admitted.add(asked.is_several)
        PLANS[model] = plan
        return found


def current(model: Transformer) -> Plan | None:
    """The plan of a model, if it has one that still stands: for as many threads as there are, and of the model as it is."""
    plan = PLANS.get(model)
    if plan is not None and (plan.num_threads != torch.get_num_threads() or not plan.guard.holds):
        PLANS.pop(model, None)
        return None
    return plan


def is_ordinary(model: Transformer) -> bool:
    """Whether a pass computes what plans compute: not in training mode, and in full precision."""
    return not model.training and not torch.is_autocast_enabled("cpu")


def admitted(plan: Plan, asked: Pass, store: KVStore, logits: Tensor) -> Tensor | None:
    """The plan's logits of the store's last tokens, if it gives the readable pass's numbers; else None, and the store stays."""
    start = store.length - len(asked.ids)
    before = tuple(tensor[..., start : store.length, :].clone() for tensor in store.tensors)
    found = plan.run(asked, store, start)
    after = tuple(tensor[..., start : store.length, :] for tensor in store.tensors)
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
