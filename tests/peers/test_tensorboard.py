"""TensorBoard shows the numbers of a run as they were."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cutaway.train.curves import write_tensorboard
from cutaway.train.events import TrainEvent


def test_tensorboard_reads_the_curves(tmp_path: Path) -> None:
    names = ("loss", "bits_per_byte", "learning_rate", "gradient_norm")
    steps = [TrainEvent("step", step, {name: step + 0.25 * i for i, name in enumerate(names)}) for step in (1, 2, 3)]
    held = TrainEvent("evaluate", 3, {"loss": 1.5, "bits_per_byte": 2.5})
    write_tensorboard([*steps, held], tmp_path)
    seen = EventAccumulator(str(tmp_path)).Reload()
    for i, name in enumerate(names):
        scalars = seen.Scalars(f"train/{name}")
        assert [(scalar.step, scalar.value) for scalar in scalars] == [(step, step + 0.25 * i) for step in (1, 2, 3)]
    assert seen.Scalars("held_out/bits_per_byte")[0].value == pytest.approx(2.5)
