"""llama.cpp's side of `cutaway bench` computes what ours does, in processes of their own, and takes as many tokens."""

from __future__ import annotations

from pathlib import Path

import pytest

from cutaway.apps.bench.measure import prompt_of
from cutaway.apps.bench.peers import find_peer
from cutaway.apps.bench.shapes import config_of
from cutaway.apps.bench.versus import Match, Plan, compare, difference_of
from cutaway.runtime.roofline import Machine

pytest.importorskip("llama_cpp")

SMALL = "2,64,4,2,96,300"
PLAN = Plan(num_prompt=20, num_written=12, turns=2, threads=1)
MACHINE = Machine(read=1e10, peak=1e11, cache=None, cores=2, threads=1)


def test_both_compute_the_same(tmp_path: Path) -> None:
    match = Match(name=SMALL, config=config_of(SMALL), peer=find_peer("llama.cpp"), plan=PLAN, folder=tmp_path)
    assert difference_of(match) < 3e-3, "the rounding of halves"
    ids = prompt_of(match.config, PLAN.num_prompt)
    with match.ours() as ours, match.theirs(ours, 32) as theirs:
        one, other = (side.ask("turn", ids, PLAN.num_written) for side in (ours, theirs))
        again = theirs.ask("turn", ids, PLAN.num_written)
    assert one.ids == other.ids == again.ids
    assert len(one.ids) == PLAN.num_written + 1
    assert len(one.tokens) == len(other.tokens) == PLAN.num_written


def test_quantised_weights_are_compared() -> None:
    (found,) = compare(SMALL, [8], find_peer("llama.cpp"), MACHINE, PLAN)
    assert (found.bits, found.kind, found.void) == (8, "q8_0", None)
    assert found.decode is not None
    assert len(found.decode.ratio.values) == PLAN.turns
