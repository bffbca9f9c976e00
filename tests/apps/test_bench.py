"""`cutaway bench`: figures that fit together, a roofline, and what is refused before anything is measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from cutaway.apps.bench import measure as measuring
from cutaway.apps.bench.measure import measure
from cutaway.apps.bench.shapes import SHAPES, config_of, random_model
from cutaway.apps.bench.show import as_dict, limit_of, roofline
from cutaway.apps.bench.stopwatch import Stopwatch
from cutaway.apps.cli import main
from cutaway.cost import bytes_per_generated_token, flops_per_token, num_parameters
from cutaway.decode import Session
from cutaway.runtime.roofline import Machine
from tests.apps.test_cli import Capture, ask

SMALL = "2,16,2,1,24,31"
MACHINE = Machine(read=1e10, peak=1e11, cache=2**20, cores=2, threads=1)


def test_figures_fit_together() -> None:
    model = random_model(config_of(SMALL))
    found = measure(model, MACHINE, num_prompt=12, num_written=8)
    told = as_dict("small", found)
    assert told["parameters"] == num_parameters(model.config)
    assert told["weight_bytes"] == 4 * told["parameters"]
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
    assert limit_of(found, found.prefill) == (
        "arithmetic" if found.prefill.flops / found.prefill.num_bytes > 10 else "memory"
    )


def test_the_flops_of_a_prompt_leave_out_the_head_of_all_but_one() -> None:
    config = config_of(SMALL)
    head = 2 * 31 * 16
    assert measuring._flops_of_prompt(config, 10) == 10 * flops_per_token(config, 5) - 9 * head


def test_a_stopwatch_counts_each_matrix_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven in a layer of two, and the head; a clock that ticks at every look gives each one tick."""
    ticks = iter(range(10**6))
    monkeypatch.setattr("cutaway.apps.bench.stopwatch.time.perf_counter", lambda: float(next(ticks)))
    model, watch = random_model(config_of(SMALL)), Stopwatch()
    session = Session(model, attend=watch.attend)
    with watch.watching(model):
        session.extend([1, 2])
    assert watch.seconds == {"weights": 2 * 7 + 1, "attention": 2}
    session.extend([3])
    assert watch.seconds["weights"] == 2 * 7 + 1, "nobody watches any more"


def test_shapes_are_what_they_are_called() -> None:
    sizes = {name: num_parameters(config_of(name)) / 1e6 for name in SHAPES}
    assert sizes == pytest.approx(
        {"llama-15m": 24.4, "llama-135m": 162.8, "llama-1.1b": 1100.0}, rel=0.01
    )  # heads apart
    model = random_model(config_of(SMALL))
    assert all(0 < float(weight.abs().max()) <= 1 for weight in model.parameters())


def test_the_roofline_is_drawn(tmp_path: Path) -> None:
    found = measure(random_model(config_of(SMALL)), MACHINE, num_prompt=12, num_written=4)
    drawn = roofline("small", found)
    assert [point.rate for point in drawn.points] == [found.prefill.rate, found.decode.rate]
    assert [point.intensity for point in drawn.points] == [
        found.prefill.flops / found.prefill.num_bytes,
        found.decode.flops / found.decode.num_bytes,
    ]
    text = drawn.save(tmp_path / "roof.svg").read_text("utf-8")
    assert "<svg" in text


def test_it_runs_as_a_command(tmp_path: Path, capsys: Capture) -> None:
    words = ("bench", SMALL, "--prompt", "9", "--tokens", "3", "--plot", str(tmp_path / "roof.png"))
    told = json.loads(ask(capsys, *words, "--json"))
    assert told["prefill"]["tokens"] == 9
    assert told["read_gbps"] > 0
    assert (tmp_path / "roof.png").stat().st_size > 1000
    shown = ask(capsys, *words)
    for word in ("read 9 tokens", "write, 11 before", "weights", "attention", "sampling", "dispatch", "GFLOP/s"):
        assert word in shown


def test_models_of_two_stacks_are_measured(capsys: Capture) -> None:
    told = json.loads(ask(capsys, "bench", "translate-de-en", "--prompt", "9", "--tokens", "3", "--json"))
    assert told["decode"]["context"] == 2


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
        (("999999,99998,1,1,99999,99999999",), "GB of memory"),
    ],
)
def test_what_is_refused(words: tuple[str, ...], message: str, capsys: Capture) -> None:
    threads = torch.get_num_threads()
    assert main(["bench", *words]) == 2
    assert message in capsys.readouterr().err
    assert torch.get_num_threads() == threads
