"""Curves: a picture and TensorBoard's records, from events alone, as the run goes and after it was resumed."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from cutaway.errors import CutawayError
from cutaway.train.curves import Board, Curves, draw, draw_runs, running_mean, write_tensorboard
from cutaway.train.events import TrainEvent

NUMBERS = {"loss": 3.5, "bits_per_byte": 2.0, "learning_rate": 0.5, "muon_learning_rate": 0.25, "gradient_norm": 1.0}
STEPS = [TrainEvent("step", step, {**NUMBERS, "loss": 4.0 - step, "seconds": 1.0}) for step in (1, 2, 3)]
HELD = TrainEvent("evaluate", 3, {"loss": 1.5, "bits_per_byte": 2.5})
PNG = b"\x89PNG\r\n\x1a\n"


def records(directory: Path) -> list[Event]:
    """What TensorBoard reads: length, checksum, protocol buffer, checksum, again and again."""
    (file,) = directory.glob("events.out.tfevents.*")
    content, found = file.read_bytes(), []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        found.append(Event.FromString(content[12 : 12 + length]))
        content = content[16 + length :]
    return found


def scalars(directory: Path) -> dict[tuple[str, int], float]:
    return {
        (value.tag, event.step): value.simple_value for event in records(directory) for value in event.summary.value
    }


def test_tensorboard_has_every_number(tmp_path: Path) -> None:
    write_tensorboard([TrainEvent("start", 0, {}), *STEPS, HELD], tmp_path)
    assert records(tmp_path)[0].file_version == "brain.Event:2"
    expected = {(f"train/{name}", step): value for step in (1, 2, 3) for name, value in NUMBERS.items()}
    losses = {("train/loss", step): 4.0 - step for step in (1, 2, 3)}
    assert scalars(tmp_path) == {
        **expected, **losses, ("held_out/loss", 3): 1.5, ("held_out/bits_per_byte", 3): 2.5
    }  # fmt: skip


def test_tensorboard_has_the_samples(tmp_path: Path) -> None:
    write_tensorboard([TrainEvent("sample", 7, {"text": "Once é"})], tmp_path)
    event = records(tmp_path)[1]
    assert event.step == 7
    assert event.summary.value[0].tensor.string_val[0].decode() == "Once é"


def test_the_picture_is_there_at_the_first_evaluation(tmp_path: Path) -> None:
    curves = Curves(tmp_path)
    for event in STEPS:
        curves.show(event)
    assert not (tmp_path / "loss.png").exists()
    curves.show(HELD)
    assert (tmp_path / "loss.png").read_bytes().startswith(PNG)
    assert len(scalars(tmp_path / "tensorboard")) == 17, "a run that is under way can be followed"
    first = (tmp_path / "loss.png").stat().st_mtime_ns
    curves.show(TrainEvent("end", 3, {}))
    assert (tmp_path / "loss.png").stat().st_mtime_ns == first, "nothing new is not drawn again"
    curves.close()


def test_a_resumed_run_begins_its_curves_with_what_came_before(tmp_path: Path) -> None:
    first = Curves(tmp_path)
    for event in STEPS:
        first.show(event)
    first.close()
    second = Curves(tmp_path, STEPS[:2])
    second.show(HELD)
    second.close()
    assert {step for name, step in scalars(tmp_path / "tensorboard") if name == "train/loss"} == {1, 2}


@pytest.mark.parametrize("events", [[], STEPS[:1], STEPS, [HELD], [*STEPS, HELD]], ids=len)
def test_any_run_can_be_drawn(events: list[TrainEvent], tmp_path: Path) -> None:
    draw(events, tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize("num_runs", [1, 2, 13])
def test_any_runs_can_be_drawn_in_one_picture(num_runs: int, tmp_path: Path) -> None:
    runs = {f"run_{number}": [*STEPS, HELD] if number % 2 else STEPS for number in range(num_runs)}
    draw_runs(runs, tmp_path / "losses.png")
    assert (tmp_path / "losses.png").read_bytes().startswith(PNG)


def test_a_stop_without_a_step_draws_nothing(tmp_path: Path) -> None:
    curves = Curves(tmp_path)
    curves.show(TrainEvent("stop", 0, {}))
    curves.close()
    assert not (tmp_path / "loss.png").exists()


def test_a_full_disk_is_one_message(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board._writer._writer = Path("/dev/full").open("wb")  # noqa: SIM115
    board.write(STEPS[0])  # held back by the system's buffer
    with pytest.raises(CutawayError, match="No space left on device"):
        board.flush()


def test_the_first_picture_of_an_account_says_nothing_about_fonts(tmp_path: Path) -> None:
    code = "import sys, logging; from pathlib import Path; from cutaway.train.curves import draw; draw([], Path(sys.argv[1]))"
    (tmp_path / "file").touch()
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "loss.png")],
        capture_output=True,
        text=True,
        check=True,
        env={"HOME": str(tmp_path / "file"), "MPLCONFIGDIR": str(tmp_path / "file" / "none"), "OMP_NUM_THREADS": "1"},
    )
    assert done.stderr == done.stdout == ""


def test_the_running_mean_is_unbiased() -> None:
    assert running_mean([2.0] * 100) == pytest.approx([2.0] * 100)
    assert running_mean([1.0, 3.0]) == [1.0, 3.0]
    values = [float(i % 2) for i in range(400)]
    assert running_mean(values)[-1] == pytest.approx(0.5, abs=0.1)
    assert running_mean([]) == []
