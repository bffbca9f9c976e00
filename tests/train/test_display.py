"""What is shown: every kind of event, on a terminal and without one, from events alone."""

from __future__ import annotations

import io
from typing import get_args

import pytest
from rich.console import Console

from cutaway.train.display import Display, clock
from cutaway.train.events import Kind, TrainEvent

BEGIN = {
    "name": "to[bold]y",
    "directory": "/a/b",
    "steps": 40,
    "parameters": 1234,
    "train_tokens": 5,
    "validation_tokens": 6,
}
STEP = {"loss": 2.5, "bits_per_byte": 3.25, "tokens": 64, "seconds": 0.5, "peak_share": 0.25}
RUN = (
    TrainEvent("start", 0, BEGIN),
    *(TrainEvent("step", step, STEP) for step in range(1, 41)),
    TrainEvent("evaluate", 40, {"loss": 2.123456, "bits_per_byte": 3.0, "elapsed": 65.0}),
    TrainEvent("sample", 40, {"text": "\nThe [red]cat[/]\nsat\x1b[31m"}),
    TrainEvent("save", 40, {"checkpoint": "/a/b/c"}),
    TrainEvent("end", 40, {"checkpoint": "/a/b/c", "elapsed": 7300.0}),
)


def show(*events: TrainEvent, is_terminal: bool = False, width: int = 80) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=is_terminal, width=width, highlight=False, color_system=None)
    with Display(console) as display:
        for event in events:
            display.show(event)
    return out.getvalue()


def test_plain_lines_tell_the_whole_run() -> None:
    shown = show(*RUN)
    assert "to[bold]y starts: 1,234 parameters, 5 tokens to train on, 6 held out.\nWritten to /a/b\n" in shown
    assert "step     40  held-out loss 2.1235 nats a token  3.000 bits/byte  1 min 05 s\n" in shown
    assert "     sample  The [red]cat[/]\n             sat\ufffd[31m\n" in shown
    assert shown.endswith("Done in 2 h 01 min: /a/b/c\n")
    assert "\x1b" not in shown


def test_without_a_terminal_there_are_ten_progress_lines() -> None:
    lines = [line for line in show(*RUN).splitlines() if line.startswith("step") and " of 40" in line]
    assert [int(line.split()[1]) for line in lines] == list(range(4, 41, 4))
    assert lines[0] == ("step      4 of 40  loss 2.500  3.25 bits/byte  128 tokens/s  25% of peak  18 s left")


def test_a_bound_is_called_one() -> None:
    held = {"loss": 2.0, "bits_per_byte": 3.0, "elapsed": 65.0, "estimate": "bound", "standard_error": 0.0125}
    begin = TrainEvent("start", 0, {**BEGIN, "objective": "diffusion", "estimate": "bound"})
    shown = show(begin, *RUN[1:41], TrainEvent("evaluate", 40, held))
    assert "step     40  held-out loss 2.0000 ± 0.0125 nats a token  3.000 bits/byte (bound)  1 min 05 s\n" in shown
    assert "step      4 of 40  loss 2.500  3.25 bits/byte (bound)  128 tokens/s" in shown
    single = show(begin, TrainEvent("evaluate", 40, {name: held[name] for name in held if name != "standard_error"}))
    assert "held-out loss 2.0000 nats a token  3.000 bits/byte (bound)" in single
    exact = show(RUN[0], TrainEvent("evaluate", 40, {**held, "estimate": "exact"}))
    assert "bound" not in exact


@pytest.mark.parametrize("steps", [1, 3, 7, 10, 11, 99, 1000])
def test_a_tenth_of_any_run_is_told(steps: int) -> None:
    begin = TrainEvent("start", 0, {**BEGIN, "steps": steps})
    shown = show(begin, *(TrainEvent("step", step, STEP) for step in range(1, steps + 1)))
    told = [int(line.split()[1].replace(",", "")) for line in shown.splitlines() if line.startswith("step")]
    assert len(told) == min(10, steps)
    assert told[-1] == steps
    assert max(b - a for a, b in zip([0, *told], told, strict=False)) <= -(-steps // 10)


def test_a_terminal_has_a_bar_with_every_figure() -> None:
    shown = show(*RUN[:3], is_terminal=True, width=80)
    assert "2/40" in shown
    assert "loss 2.500  3.25 bits/byte  128 tokens/s  25% of peak  19 s left" in shown
    assert "━" in shown


def test_a_narrow_terminal_is_not_overrun() -> None:
    shown = show(*RUN[:3], is_terminal=True, width=40)
    bar = [line for line in shown.split("\n") if "loss" in line]
    assert all(len(line.split("\x1b")[0]) <= 40 for line in bar)


@pytest.mark.parametrize("is_terminal", [False, True])
def test_every_kind_of_event_is_shown(is_terminal: bool) -> None:
    values = {**BEGIN, **STEP, "text": "a", "checkpoint": "c", "elapsed": 1.0, "damaged": []}
    for kind in get_args(Kind):
        show(TrainEvent("start", 0, BEGIN), TrainEvent(kind, 1, values), is_terminal=is_terminal)


def test_a_resumed_run_says_where_and_what_was_passed_over() -> None:
    shown = show(TrainEvent("resume", 1200, {**BEGIN, "damaged": ["step-00001600"]}))
    assert "to[bold]y resumes at step 1,200" in shown
    assert "step-00001600 is cut short or incomplete" in shown


@pytest.mark.parametrize(("checkpoint", "said"), [("c", "Saved at step 7"), ("", "No step was done yet")])
def test_a_stop_is_one_line(checkpoint: str, said: str) -> None:
    shown = show(TrainEvent("stop", 7, {"checkpoint": checkpoint, "elapsed": 1.0}))
    assert shown == f"Stopped. {said}; the same command goes on from there.\n"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3600, "1 h 00 min"),
        (7800, "2 h 10 min"),
    ],
)
def test_times_are_as_people_say_them(seconds: float, said: str) -> None:
    assert clock(seconds) == said
