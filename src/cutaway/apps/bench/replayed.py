"""Where the time of a replayed token goes. In: a session whose model has a recorded plan. Out: seconds by kind of operation.

A plan is one native call, in which no clock runs. So it is replayed without the operations of one kind, in turns with whole
replays: what is saved is what they take. Numbers of such a replay mean nothing; they are left in a session that is used no more.
"""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Callable

import torch

from ...decode import Session
from ...runtime.plans.plan import Plan
from ...runtime.plans.planner import PLANS
from ...runtime.plans.program import Kind, Op, Step
from ...runtime.plans.room import Pass, is_plain

PARTS = {
    "weights": (Kind.PRODUCT,),
    "attention": (Kind.ATTEND,),
    "norms": (Kind.LAYER_NORM, Kind.RMS_NORM),
}
TURNS = 15


def seconds_of_parts(session: Session, token_id: int) -> dict[str, float] | None:
    """Seconds of PARTS in a replay of the last token of a session; None where its model has no plan that serves it."""
    plan, store = PLANS.get(session.model), session.store
    if plan is None or not is_plain(store) or plan.num_threads != torch.get_num_threads() or not plan.guard.holds:
        return None
    asked, result = Pass([token_id]), torch.empty(plan.program.result.size)
    now = asked.step(store, session.length - 1, plan.num_states, result)
    replays = {name: replay_without(plan, kinds, now) for name, kinds in {"": (), **PARTS}.items()}
    found: dict[str, list[float]] = {name: [] for name in PARTS}
    for _ in range(TURNS):
        seconds = {name: _timed(replay) for name, replay in replays.items()}
        for name in PARTS:
            found[name].append(seconds[""] - seconds[name])
    return {name: max(0.0, statistics.median(saved)) for name, saved in found.items()}


def replay_without(plan: Plan, kinds: tuple[Kind, ...], now: Step) -> Callable[[], None]:
    """A replay of the plan that leaves these kinds of operations out."""
    program = plan.program
    left = [op for op in program.ops if op.kind not in kinds]
    ops, count = (Op * len(left))(*left), len(left)

    def replay() -> None:
        program.kernels.replay(ctypes.addressof(ops), count, ctypes.addressof(now), program.num_threads)

    return replay


def _timed(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
