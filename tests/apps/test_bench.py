"""`cutaway bench`: figures that fit together, a roofline, and what is refused before anything is measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cutaway.apps.bench import measure as measuring
from cutaway.apps.bench import replayed, show
from cutaway.apps.bench.measure import Work, measure
from cutaway.apps.bench.precision import BITS, in_bits, num_bytes, peak_of_products
from cutaway.apps.bench.shapes import SHAPES, config_of, random_model
from cutaway.apps.bench.show import as_dict, machine_says, roofline
from cutaway.apps.bench.stopwatch import Stopwatch
from cutaway.apps.cli import main
from cutaway.cost import bytes_per_generated_token, bytes_per_weight, flops_per_token, num_parameters
from cutaway.decode import Session
from cutaway.model import Transformer
from cutaway.runtime.plans import Pass, Plan
from cutaway.runtime.plans.planner import PLANS
from cutaway.runtime.plans.program import Kind
from cutaway.runtime.roofline import Machine
from cutaway.tasks.bits import usual_bits
from tests import tiny
from tests.apps.test_cli import Capture, ask

SMALL = "2,16,2,1,24,31"
MACHINE = Machine(read=1e10, peak=1e11, cache=2**20, cores=2, threads=1)


def test_figures_fit_together() -> None:
    model = random_model(config_of(SMALL))
    found = measure(model, MACHINE, num_prompt=12, num_written=8)
    told = as_dict("small", [found])
    assert told["parameters"] == num_parameters(model.config)
    assert 0 <= told["weight_bytes"] - 4 * told["parameters"] < 100, "the angles of positions are held, too"
    assert told["bytes_per_weight"] == 4
    assert told["fits_cache"] is True
    decode = told["decode"]
    assert decode["context"] == 12 + 4 + 1
    assert decode["tokens_per_second"] == pytest.approx(1 / decode["seconds"])
    assert decode["gbps"] * 1e9 == pytest.approx(bytes_per_generated_token(model.config, 17) / decode["seconds"])
    assert decode["gflops"] * 1e9 == pytest.approx(flops_per_token(model.config, 17) / decode["seconds"])
    assert decode["limit"] == "memory"
    assert decode["share"] == pytest.approx(decode["gbps"] * 1e9 / MACHINE.read)
    assert told["prefill"]["tokens_per_second"] == pytest.approx(12 / told["prefill"]["seconds"])
    assert sum(decode["parts"].values()) == pytest.approx(decode["seconds"])
    assert min(decode["parts"].values()) >= 0
    intensity = found.prefill.flops / found.prefill.num_bytes
    assert found.prefill.limit(MACHINE) == ("arithmetic" if intensity > 10 else "memory")


@pytest.mark.parametrize("bits", BITS)
def test_bytes_are_those_of_the_tensors(bits: int) -> None:
    """Counted again by hand: nine matrices of which a token reads every one, three norms, and the embedding, which stays."""
    config = config_of("1,64,2,1,96,32")
    model = random_model(config)
    found = in_bits(model, bits)
    matrices = 64 * 64 + 2 * 32 * 64 + 64 * 64 + 3 * 64 * 96 + 32 * 64
    groups = matrices // 32  # no row is filled up in these widths
    taken = {32: 4 * matrices, 16: 2 * matrices, 8: matrices + 2 * groups, 4: matrices // 2 + 2 * groups}[bits]
    inside, outside = 4 * 2 * 64, 4 * (64 + 32 * 64)  # the norms of the layer; the last one, and the embedding
    assert found.size == pytest.approx((taken + inside) / (matrices + 2 * 64))
    assert found.held - taken - inside - outside <= 4 * 64, "and the angles of the positions"
    assert found.held >= taken + inside + outside
    assert found.size == pytest.approx(bytes_per_weight(bits), rel=0.05), (
        "what is predicted of a model that is not there"
    )


def test_a_tied_head_is_read_and_held_once() -> None:
    config = replace(config_of(SMALL), is_tied=True)
    model = random_model(config)
    assert in_bits(model, 32).size == 4.0
    assert num_bytes([model]) < 4 * num_parameters(config) + 200


def test_what_limits_depends_on_the_numbers() -> None:
    machine = replace(MACHINE, narrow={8: 4e11, 16: 2e11})
    assert [machine.peak_of(bits) for bits in (32, 16, 8, 4)] == [1e11, 2e11, 4e11, 4e11]
    work = Work(num_tokens=1, seconds=1.0, flops=3e11, num_bytes=1e10, bits=8)
    assert work.limit(machine) == "memory"
    assert replace(work, bits=32).limit(machine) == "arithmetic"
    assert work.share(machine) == 1.0
    assert replace(work, bits=32).share(machine) == 3.0


def test_the_flops_of_a_prompt_leave_out_the_head_of_all_but_one() -> None:
    config = config_of(SMALL)
    head = 2 * 31 * 16
    assert measuring._flops_of_prompt(config, 10) == 10 * flops_per_token(config, 5) - 9 * head


def test_a_stopwatch_counts_each_matrix_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven in a layer of two, and the head; two norms in each, and the last; a clock that ticks at every look.

    The kernel looks twice, and twice within for what is written: one tick for that, and two are left.
    """
    ticks = iter(range(10**6))
    monkeypatch.setattr("cutaway.apps.bench.stopwatch.time.perf_counter", lambda: float(next(ticks)))
    model, watch = random_model(config_of(SMALL)), Stopwatch()
    session = Session(model, attend=watch.attend)
    with watch.watching(model):
        session.extend([1, 2])
    assert watch.seconds == {"weights": 2 * 7 + 1, "cache": 2, "attention": 4, "norms": 2 * 2 + 1}
    watch.forget()
    session.extend([3])
    assert watch.seconds == {"weights": 0, "cache": 2, "attention": 4, "norms": 0}, (
        "nobody watches the modules any more"
    )


def test_shapes_are_what_they_are_called() -> None:
    sizes = {name: num_parameters(config_of(name)) / 1e6 for name in SHAPES}
    assert sizes == pytest.approx(
        {"llama-15m": 24.4, "llama-135m": 162.8, "llama-1.1b": 1100.0}, rel=0.01
    )  # heads apart
    model = random_model(config_of(SMALL))
    assert all(0 < float(weight.abs().max()) <= 1 for weight in model.parameters())


def test_a_kernel_that_is_timed_computes_the_same() -> None:
    model, watch = random_model(config_of(SMALL)), Stopwatch()
    plain, timed = Session(model), Session(model, attend=watch.attend)
    for ids in ([1, 2, 3], [4], [5]):
        tiny.assert_close(timed.extend(ids), plain.extend(ids))


@pytest.mark.parametrize("is_planned", [True, False])
def test_parts_never_exceed_what_was_measured(is_planned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that alone would take longer than the whole are scaled, and nothing is left over."""
    if not is_planned:
        monkeypatch.setattr(measuring, "seconds_of_parts", lambda *_: None)
    model = random_model(config_of(SMALL))
    parts = measuring.parts_of(model, [1, 2, 3], 4, 1e-9)
    assert sum(parts.values()) == pytest.approx(1e-9)
    assert parts["dispatch"] == pytest.approx(0, abs=1e-15)
    parts = measuring.parts_of(model, [1, 2, 3], 4, 1e3)
    assert parts["dispatch"] > 999
    assert ("cache" in parts) == (not is_planned or has_no_plan(model))


def has_no_plan(model: Transformer) -> bool:
    """Without the native kernels there is none."""
    return model not in PLANS


def test_a_replay_without_some_operations_is_the_rest_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kind is left out in turn, each the same number of times, and what is saved is what a clock says."""
    model = random_model(config_of(SMALL))
    session = Session(model)
    session.extend([1, 2, 3])
    session.extend([4])
    plan = PLANS.get(model)
    if plan is None:
        pytest.skip("there are no native kernels here, and so no plans")
    left: list[tuple[Kind, ...]] = []

    def without(_: Plan, kinds: tuple[Kind, ...], __: object) -> Callable[[], None]:
        return lambda: left.append(kinds)

    seconds = {(): 10.0, **{kinds: 10.0 - index for index, kinds in enumerate(replayed.PARTS.values(), 1)}}
    monkeypatch.setattr(replayed, "_timed", lambda replay: (replay(), seconds[left[-1]])[1])
    whole = replayed.replay_without
    monkeypatch.setattr(replayed, "replay_without", without)
    assert replayed.seconds_of_parts(session, 4) == {"weights": 1.0, "attention": 2.0, "norms": 3.0}
    assert left == [(), *replayed.PARTS.values()] * replayed.TURNS
    asked, found = Pass([4]), torch.empty(1, 31)
    wanted = plan.run(asked, session.store, 3)
    whole(plan, (), asked.step(session.store, 3, plan.num_states, found))()
    assert torch.equal(found, wanted), "with nothing left out it is the plan itself"
    kinds = [op.kind for op in plan.program.ops]
    assert kinds.count(Kind.PRODUCT) == 2 * 7 + 1
    assert kinds.count(Kind.ATTEND) == 2
    assert kinds.count(Kind.RMS_NORM) == 2 * 2 + 1


def test_an_old_build_of_the_kernels_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(read=1e10, peak=1e11, cache=None, cores=2, threads=1)
    why = "they were built from other sources; run `python build.py`"
    monkeypatch.setattr(show, "library", lambda: why)
    assert f"Native kernels do not run here: {why}." in machine_says(machine)
    monkeypatch.setattr(show, "library", lambda: None)
    assert not any("Native" in sentence for sentence in machine_says(machine))


def test_the_roofline_is_drawn(tmp_path: Path) -> None:
    found = [measure(random_model(config_of(SMALL)), MACHINE, num_prompt=12, num_written=4, bits=b) for b in (32, 8)]
    drawn = roofline("small", found)
    passes = [work for each in found for work in (each.prefill, each.decode)]
    assert [point.rate for point in drawn.points] == [work.rate for work in passes]
    assert [point.intensity for point in drawn.points] == [work.flops / work.num_bytes for work in passes]
    text = drawn.save(tmp_path / "roof.svg").read_text("utf-8")
    for words in ("read, 32 bits: ", "write, 32 bits: ", "read, 8 bits: ", "write, 8 bits: "):
        assert words in text
    assert found[1].decode.num_bytes < found[0].decode.num_bytes


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine need not be measured."""
    monkeypatch.setattr("cutaway.runtime.roofline.measure_machine", lambda: MACHINE)
    monkeypatch.setattr("cutaway.apps.bench.precision.peak_of_products", lambda _: 3e11)


@pytest.mark.usefixtures("known")
def test_it_runs_as_a_command(tmp_path: Path, capsys: Capture) -> None:
    words = ("bench", SMALL, "--prompt", "9", "--tokens", "3", "--bits", "32,4", "--plot", str(tmp_path / "roof.png"))
    told = json.loads(ask(capsys, *words, "--json"))
    assert told["prefill"]["tokens"] == 9
    assert (told["read_gbps"], told["peak_gflops"]) == (10, 100)
    assert told["machine"]["peak_gflops_by_bits"] == {"32": 100, "4": 300}
    assert [each["bits"] for each in told["precisions"]] == [32, 4]
    assert told["precisions"][0]["decode"] == told["decode"]
    assert told["precisions"][1]["weight_bytes"] < told["weight_bytes"]
    assert (tmp_path / "roof.png").stat().st_size > 1000
    shown = ask(capsys, *words)
    for word in (
        "32 bits: read 9 tokens",
        "4 bits: write, 11 before",
        "weights",
        "cache",
        "sampling",
        "dispatch",
        "GFLOP/s",
    ):
        assert word in shown
    assert "In 32, 4 bits, all that a token reads fits into" in shown


@pytest.mark.usefixtures("known")
def test_models_of_two_stacks_are_measured(capsys: Capture) -> None:
    told = json.loads(ask(capsys, "bench", "translate-de-en", "--prompt", "9", "--tokens", "3", "--json"))
    assert told["decode"]["context"] == 2
    assert told["bits"] == usual_bits("translate-de-en")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((SMALL, "--threads", "0"), "--threads is 0. Allowed: 1 to 256."),
        ((SMALL, "--threads", "1000"), "--threads is 1000. Allowed: 1 to 256."),
        ((SMALL, "--prompt", "2048"), "the model has positions for 2,048. Lower --prompt or --tokens."),
        ((SMALL, "--prompt", "-3"), "--prompt is -3. It must be at least 1."),
        ((SMALL, "--tokens", "-3"), "--tokens is -3. It must be at least 1."),
        (("2,15,2,1,24,31",), "The shape '2,15,2,1,24,31' has 2 heads in 15 numbers"),
        (("llama-15n",), "There is no model 'llama-15n'"),
        ((), "No model was named. Name one, or a shape"),
        ((SMALL, "--bits", "5"), "--bits is 5. Allowed: 32, 16, 8, 4."),
        ((SMALL, "--vs", "llama.cpp", "--plot", "x.svg"), "Leave out --vs or --plot."),
        (("999999,99998,1,1,99999,99999999",), "GB of memory"),
    ],
)
def test_what_is_refused(words: tuple[str, ...], message: str, capsys: Capture) -> None:
    threads = torch.get_num_threads()
    assert main(["bench", *words]) == 2
    assert message in capsys.readouterr().err
    assert torch.get_num_threads() == threads


def test_products_in_few_bits_have_a_rate() -> None:
    assert 1e5 < peak_of_products(4, seconds=0.0, size=64) < 1e15
