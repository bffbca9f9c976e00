"""Two programs in turns: what is void, who takes turns with whom, what is printed, and what is refused before anything runs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest
import torch

from cutaway.apps.bench import start, versus
from cutaway.apps.bench.goals import TABLE, Goal, goal_of
from cutaway.apps.bench.huggingface import Transformers
from cutaway.apps.bench.measure import Turn, prompt_of
from cutaway.apps.bench.ours import Ours
from cutaway.apps.bench.peers import PEERS, find_peer
from cutaway.apps.bench.shapes import SHAPES, config_of
from cutaway.apps.bench.show_versus import Row, notes, versus_dict
from cutaway.apps.bench.versus import Match, Plan, Rates, Spread, compare, difference_of, take_turns
from cutaway.apps.bench.worker import Worker
from cutaway.apps.cli import main
from cutaway.errors import CutawayError
from cutaway.runtime.roofline import Machine
from tests.apps.counting import Counting
from tests.apps.test_cli import Capture, ask

SMALL = "2,32,2,1,48,61"
MACHINE = Machine(read=1e10, peak=1e11, cache=2**20, cores=2, threads=1, instructions=("avx2",))
PLAN = Plan(num_prompt=12, num_written=4, turns=3, threads=1)
TRANSFORMERS = PEERS["transformers"]


class Inside:
    """A side in this process, with the manners of a worker."""

    def __init__(self, log: list[tuple[str, str]], make: Callable[..., Any], *arguments: object) -> None:
        self.log, self.name, self.side, self.idle = log, make.__name__, make(*arguments), 0.0

    def ask(self, method: str, *arguments: object) -> Any:
        self.log.append((self.name, method))
        return getattr(self.side, method)(*arguments)

    def forget_idle(self) -> None:
        self.log.append((self.name, "forget"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.log.append((self.name, "end"))


class Doubled(Transformers):
    """A peer that computes something else."""

    def logits(self, ids: Sequence[int]) -> list[list[float]]:
        return [[2 * number for number in row] for row in super().logits(ids)]


@pytest.fixture
def log() -> list[tuple[str, str]]:
    return []


@pytest.fixture(autouse=True)
def _reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine reads faster from time to time: 1, 2, 3 … GB/s."""
    rates = itertools.count(1)
    monkeypatch.setattr("cutaway.apps.bench.ours.read_bandwidth", lambda **_: 1e9 * next(rates))


@pytest.fixture
def match(tmp_path: Path, log: list[tuple[str, str]]) -> Match:
    def opened(make: Callable[..., Any], *arguments: object) -> Inside:
        return Inside(log, make, *arguments)

    return Match(
        name=SMALL,
        config=config_of(SMALL),
        peer=TRANSFORMERS,
        plan=PLAN,
        folder=tmp_path,
        open_side=opened,  # type: ignore[arg-type]
    )


def test_both_compute_the_same_and_take_turns(match: Match, log: list[tuple[str, str]]) -> None:
    assert difference_of(match) < 1e-5
    log.clear()
    found = take_turns(match, 32, MACHINE, 0.0)
    turns = [name for name, method in log if method == "turn"]
    assert turns == ["Ours", "Transformers", "Ours", "Transformers", "Transformers", "Ours", "Ours", "Transformers"]
    assert [name for name, method in log if method == "forget"] == ["Ours", "Transformers"], "after the first turns"
    assert (found.peer, found.kind, found.void) == ("transformers", "float32", None)
    assert found.decode is not None
    assert found.prefill is not None
    assert len(found.decode.ours.values) == len(found.prefill.peer.values) == PLAN.turns
    assert found.ours is not None
    assert found.ours.prefill.num_tokens == PLAN.num_prompt
    assert found.ours.parts == {}
    around = [method for name, method in log if name == "Ours" and method in ("read", "turn")]
    assert around == ["turn", *["read", "turn", "read"] * PLAN.turns], "the first turn warms up"
    assert found.read is not None
    assert found.read.values == (1.5e9, 3.5e9, 5.5e9)
    moved = [found.ours.decode.num_bytes * rate for rate in found.decode.ours.values]
    assert found.read_share.values == pytest.approx(
        [one / read for one, read in zip(moved, found.read.values, strict=True)]
    )


def test_both_write_the_same_tokens(match: Match, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cutaway.apps.bench.shapes.SPREAD", 0.4)
    ids = prompt_of(match.config, 12)
    with match.ours() as ours, match.theirs(ours, 32) as theirs:
        one, other = (side.ask("turn", ids, 20) for side in (ours, theirs))
    assert one.ids == other.ids
    assert len(one.ids) == 21
    assert len(set(one.ids)) > 3, "tokens that do not vary prove nothing"
    assert len(one.tokens) == len(other.tokens) == 20


def test_what_computes_something_else_is_not_compared(match: Match, monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(match, peer=replace(TRANSFORMERS, make=Doubled))
    difference = difference_of(other)
    assert difference == pytest.approx(1, rel=0.3), "2x − x is x, and x has a mean of about 0"
    found = versus.void_of(other, 32, difference)
    assert found is not None
    assert found.void is not None
    assert "computes something else with these weights" in found.void
    assert versus.void_of(other, 32, 0.0) is None
    monkeypatch.setattr(versus, "difference_of", lambda _: difference)
    monkeypatch.setattr(versus, "take_turns", None)
    (only,) = compare(SMALL, [32], TRANSFORMERS, MACHINE, PLAN)
    assert only.void == found.void


def rates(ours: Sequence[float], peer: Sequence[float]) -> Rates:
    return Rates(ours=Spread.of(ours), peer=Spread.of(peer))


def test_a_ratio_is_taken_within_each_turn() -> None:
    found = rates([10, 40, 90], [10, 20, 30])
    assert found.ratio.values == (1, 2, 3)
    assert (found.ratio.least, found.ratio.median, found.ratio.most) == (1, 2, 3)


def test_goals_are_those_of_the_table() -> None:
    assert {name for name, _ in TABLE} == set(SHAPES)
    assert goal_of("llama-1.1b", 8, "llama.cpp") == Goal(decode=1.15, prefill=2.0, share=0.88)
    assert goal_of("llama-1.1b", 8, "transformers") == Goal(share=0.88), "the ratios are those to llama.cpp"
    assert goal_of("stories", 8, "llama.cpp") == Goal()


def row(match: Match, **changes: Any) -> Row:
    found = replace(take_turns(match, 32, MACHINE, 0.0), **changes)
    return Row(name="llama-15m", compared=replace(found, peer="llama.cpp", bits=8))


def test_goals_stand_beside_the_figures(match: Match) -> None:
    fast, slow = rates([30, 40, 35], [10, 10, 10]), rates([30, 40, 35], [40, 40, 40])
    rows = [row(match, decode=slow, prefill=fast), row(match, decode=fast, prefill=slow)]
    told = versus_dict(rows, MACHINE, TRANSFORMERS, PLAN, [])
    assert [each["decode"]["is_met"] for each in told["comparisons"]] == [False, True]
    shares = [each["decode"]["read_share"]["median"] for each in told["comparisons"]]
    assert shares[0] > shares[1] > 0, "both wrote as fast, and the machine read more slowly beside the first"
    assert [each["prefill"]["is_met"] for each in told["comparisons"]] == [True, False]
    assert told["comparisons"][1]["decode"]["ratio"] == {"median": 3.5, "least": 3, "most": 4, "values": [3, 4, 3.5]}
    assert told["comparisons"][1]["decode"]["goal"] == 1.0
    said = " ".join(notes(rows, MACHINE))
    assert "avx512f, avx512_vnni, avx512_bf16, which this one lacks" in said
    assert "In the processor's cache, and so not bound by memory: llama-15m in 8 bits" in said
    assert "of a core while the other ran" not in said
    whole = replace(MACHINE, instructions=("avx2", "avx512f", "avx512_vnni", "avx512_bf16"))
    assert "which this one lacks" not in " ".join(notes([row(match, idle=0.5)], whole))
    assert "50 % of a core while the other ran" in " ".join(notes([row(match, idle=0.5)], whole))


@pytest.fixture
def replaced(match: Match, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command, but for processes of their own and the machine."""
    monkeypatch.setattr("cutaway.runtime.roofline.measure_machine", lambda: MACHINE)
    monkeypatch.setattr(versus.Match, "open_side", match.open_side)
    monkeypatch.setattr(versus, "Worker", match.open_side)
    made = versus.Match

    def opened(**given: Any) -> Match:
        return made(**given, open_side=match.open_side)

    monkeypatch.setattr(versus, "Match", opened)


@pytest.mark.usefixtures("replaced")
def test_it_runs_as_a_command(capsys: Capture) -> None:
    words = ("bench", SMALL, "--vs", "transformers", "--quick", "--prompt", "9", "--tokens", "3")
    shown = ask(capsys, *words)
    for word in ("Cutaway and transformers", "2 turns of 9 tokens read and 3", "ratio", "float32 for 32 bits"):
        assert word in " ".join(shown.split()), word
    told = json.loads(ask(capsys, *words, "--json"))
    assert told["plan"] == {"num_prompt": 9, "num_written": 3, "turns": 2, "threads": torch.get_num_threads()}
    (only,) = told["comparisons"]
    assert (only["model"], only["bits"], only["kind"], only["void"]) == (SMALL, 32, "float32", None)
    assert len(only["decode"]["ratio"]["values"]) == 2


@pytest.mark.usefixtures("replaced")
def test_a_void_comparison_ends_with_code_2(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versus, "difference_of", lambda _: 0.7)
    assert main(["bench", SMALL, "--vs", "transformers", "--quick", "--prompt", "9", "--tokens", "3"]) == 2
    assert "computes something else" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((SMALL, "--vs", "transformers", "--bits", "8"), "transformers is compared at 32, 16 bits; --bits is 8."),
        (("translate-de-en", "--vs", "transformers"), "A model of two stacks is not compared"),
        ((SMALL, "--vs", "transformers", "--prompt", "2048"), "the model has positions for 2,048"),
        (("--vs", "transformers", "--bits", "8"), "The table of goals has no such --bits for transformers"),
    ],
)
@pytest.mark.usefixtures("replaced")
def test_what_is_refused(words: tuple[str, ...], message: str, capsys: Capture) -> None:
    assert main(["bench", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_peer_that_is_missing_names_its_installation(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr("cutaway.apps.bench.peers.find_spec", lambda _: None)
    assert main(["bench", SMALL, "--vs", "llama.cpp"]) == 2
    assert "pip install llama-cpp-python gguf" in capsys.readouterr().err
    with pytest.raises(CutawayError, match="--vs transformers needs transformers, which is not installed here"):
        find_peer("transformers")


def test_memory_and_disk_are_checked_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of("llama-1.1b")
    monkeypatch.setattr(versus, "bytes_left", lambda: 10**9)
    with pytest.raises(CutawayError, match=r"takes 8\.8 GB of memory, and 1\.0 GB are available"):
        versus.check_room(config, {16, 8}, tmp_path)
    monkeypatch.setattr(versus, "bytes_left", lambda: None)
    monkeypatch.setattr(versus.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10**9}))
    with pytest.raises(CutawayError, match=r"takes 3\.6 GB of the disk of"):
        versus.check_room(config, {16, 8}, tmp_path)


def test_a_start_has_stages(match: Match, log: list[tuple[str, str]]) -> None:
    found = start.measure_start(SMALL, 8, 1, starts=2, open_side=match.open_side)
    assert list(found.stages) == ["load", "first_token"]
    assert min(found.stages.values()) > 0
    assert len(found.seconds) == 2
    assert [name for name, method in log if method == "start"] == ["Start"] * 3, "one to warm up"


def test_a_worker_answers_and_hands_on_what_went_wrong() -> None:
    with Worker(Counting, 3) as worker:
        assert [worker.ask("more", 1), worker.ask("more", 2)] == [4, 6]
        with pytest.raises(CutawayError, match="It is too much"):
            worker.ask("wrong", "mine")
        with pytest.raises(RuntimeError, match="KeyError: 'other'"):
            worker.ask("wrong", "other")
        assert worker.ask("more", 0) == 6, "it goes on"
        assert 0 <= worker.idle < 1
        with pytest.raises(CutawayError, match="ended by itself"):
            worker.ask("leave")
    with Worker(Counting, 3) as worker, pytest.raises(CutawayError, match="an instruction that this machine refuses"):
        worker.ask("stumble")


def test_a_worker_that_cannot_begin_says_why() -> None:
    with pytest.raises(CutawayError, match="start is below 0"):
        Worker(Counting, -1)


def test_turns_say_what_a_token_took() -> None:
    assert Turn(prefill=1.0, tokens=(0.1, 0.3), ids=(1, 2, 3)).token == pytest.approx(0.2)


def test_a_peer_reads_our_numbers_in_its_own_kind(match: Match, tmp_path: Path) -> None:
    ours = Ours(SMALL, 1)
    ours.write_checkpoint(str(tmp_path / "m"), "bfloat16")
    theirs = Transformers(str(tmp_path / "m"), 1, 0, "bfloat16")
    ids = prompt_of(match.config, 8)
    wanted, found = torch.tensor(ours.logits(ids)), torch.tensor(theirs.logits(ids))
    assert (found - wanted).abs().max() < 0.05 * wanted.abs().max()
