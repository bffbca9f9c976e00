"""The event log: every event comes back, half-written lines do not, a resumed log is cut where its checkpoint was saved."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutaway.errors import CutawayError
from cutaway.train.events import EventLog, Kind, TrainEvent, read_events

RUN = (
    TrainEvent("start", 0, {"name": "a"}),
    TrainEvent("step", 1, {"loss": 3.0}),
    TrainEvent("step", 2, {"loss": 2.5}),
    TrainEvent("evaluate", 2, {"loss": 2.6}),
    TrainEvent("save", 2, {}),
    TrainEvent("step", 3, {"loss": 2.4}),
    TrainEvent("stop", 3, {}),
)


def log_of(path: Path, *events: TrainEvent, resume_at: int = 0) -> list[TrainEvent]:
    log = EventLog(path, resume_at=resume_at)
    for event in events:
        assert log.write(event) is event
    log.close()
    return list(read_events(path))


@given(st.text(), st.floats(allow_nan=False))
def test_every_text_and_number_comes_back(text: str, number: float) -> None:
    event = TrainEvent("sample", 3, {"text": text.encode("utf-8", "replace").decode(), "number": number})
    line = event.to_line()
    assert line.count("\n") == 1
    assert TrainEvent.from_line(line) == event


def test_texts_with_odd_line_breaks_stay_one_event(tmp_path: Path) -> None:
    odd = TrainEvent("sample", 1, {"text": "a\u2028b\u2029c\x85d\x1ce\rf\ng"})
    assert log_of(tmp_path / "events.jsonl", odd, RUN[1]) == [odd, RUN[1]]


def test_events_are_there_at_once(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl", resume_at=0)
    log.write(RUN[0])
    assert list(read_events(tmp_path / "events.jsonl")) == [RUN[0]]


@pytest.mark.parametrize("tail", ['{"kind": "step", "st', '{"kind": "step"}\n', "5\n", "\x00\x00", "[[1]]\n", "null"])
def test_a_line_that_is_no_event_is_passed_over(tail: str, tmp_path: Path) -> None:
    log_of(tmp_path / "events.jsonl", *RUN)
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write(tail)
    assert list(read_events(tmp_path / "events.jsonl")) == list(RUN)


def test_a_character_that_was_cut_is_passed_over(tmp_path: Path) -> None:
    log_of(tmp_path / "events.jsonl", *RUN)
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(TrainEvent("sample", 4, {"text": "é"}).to_line().encode()[:-4])
    assert list(read_events(tmp_path / "events.jsonl")) == list(RUN)


def test_no_log_has_no_events(tmp_path: Path) -> None:
    assert list(read_events(tmp_path / "none")) == []


@pytest.mark.parametrize(
    ("resume_at", "kept"), [(0, RUN[:0]), (1, RUN[:2]), (2, RUN[:4]), (3, RUN[:6])], ids=["begin", "1", "2", "3"]
)
def test_a_resumed_log_is_cut_before_its_checkpoint_was_saved(
    resume_at: int, kept: tuple[TrainEvent, ...], tmp_path: Path
) -> None:
    path = tmp_path / "events.jsonl"
    log_of(path, *RUN)
    log = EventLog(path, resume_at=resume_at)
    assert log.kept == list(kept) == list(read_events(path))
    assert log_of(path, RUN[4], resume_at=resume_at) == [*kept, RUN[4]]


@pytest.mark.parametrize("kind", ["stop", "end"])
def test_the_end_of_an_earlier_part_goes(kind: Kind, tmp_path: Path) -> None:
    log_of(tmp_path / "events.jsonl", RUN[0], RUN[1], TrainEvent(kind, 1, {}))
    assert log_of(tmp_path / "events.jsonl", resume_at=5) == [RUN[0], RUN[1]]


def test_a_full_disk_is_one_message(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl", resume_at=0)
    log._file.close()
    log._file = Path("/dev/full").open("ab", buffering=0)  # noqa: SIM115
    with pytest.raises(CutawayError, match=r"Cannot write to .*events\.jsonl: No space left on device"):
        log.write(RUN[0])
    log.close()
