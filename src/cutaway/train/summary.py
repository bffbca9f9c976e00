"""A run in a few numbers. In: the events of its directory. Out: losses, speed and time, to set beside those of other runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import CutawayError
from .events import TrainEvent, read_events

LOG = "events.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One run. objective: what was taught, in words. held_out_loss and bits_per_byte: at the last evaluation; best: the lowest of
    all; None: never evaluated, or no text is predicted. estimate: whether they are exact or a bound; standard_error: of the last
    held-out loss, where it is a bound by draws.

    train_loss: of the objective, at the last step. tokens_per_second: of the steps alone. seconds: of everything, as far as the
    log says it. state: finished, stopped, or under way (which a killed run is too).
    """

    name: str
    objective: str
    seed: int | None
    state: str
    step: int
    steps: int
    parameters: int
    tokens: int
    train_loss: float
    held_out_loss: float | None
    best_held_out_loss: float | None
    best_step: int | None
    estimate: str
    standard_error: float | None
    bits_per_byte: float | None
    best_bits_per_byte: float | None
    tokens_per_second: float
    seconds: float


def is_run(path: Path) -> bool:
    """Whether a directory holds the log of a run."""
    return (path / LOG).is_file()


def run_events(directory: Path) -> list[TrainEvent]:
    """The events of a run. Raises CutawayError for no log, and for one without a step."""
    events = list(read_events(directory / LOG))
    if not any(event.kind == "step" for event in events):
        raise CutawayError(f"{directory / LOG} tells of no step. Name the directory of a run that has begun.")
    return events


def summarise(directory: Path, events: list[TrainEvent]) -> RunSummary:
    """The numbers of a run. events: what `run_events` gave. Raises CutawayError where one of them lacks its values."""
    try:
        return _summary(directory, events)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise CutawayError(
            f"{directory / LOG} is damaged: {type(error).__name__} {error}. Name another run, or train this one again."
        ) from error


def _summary(directory: Path, events: list[TrainEvent]) -> RunSummary:
    start = next((event for event in events if event.kind == "start"), TrainEvent("start", 0, {}))
    steps = [event for event in events if event.kind == "step"]
    held = [event for event in events if event.kind == "evaluate"]
    last = held[-1].values if held else start.values
    best = min(held, key=lambda event: float(event.values["loss"]), default=None)
    bits = [float(event.values["bits_per_byte"]) for event in held if "bits_per_byte" in event.values]
    tokens, seconds = (sum(event.values[name] for event in steps) for name in ("tokens", "seconds"))
    elapsed = [float(event.values["elapsed"]) for event in events if "elapsed" in event.values]
    return RunSummary(
        name=str(start.values.get("name", directory.name)),
        objective=str(start.values.get("objective", "next token")),
        seed=start.values.get("seed"),
        state={"end": "finished", "stop": "stopped"}.get(events[-1].kind, "under way"),
        step=steps[-1].step,
        steps=int(start.values.get("steps", steps[-1].step)),
        parameters=int(start.values.get("parameters", 0)),
        tokens=int(tokens),
        train_loss=float(steps[-1].values["loss"]),
        held_out_loss=float(held[-1].values["loss"]) if held else None,
        best_held_out_loss=None if best is None else float(best.values["loss"]),
        best_step=None if best is None else best.step,
        estimate=str(last.get("estimate", "exact")),
        standard_error=float(last["standard_error"]) if "standard_error" in last else None,
        bits_per_byte=bits[-1] if bits else None,
        best_bits_per_byte=min(bits, default=None),
        tokens_per_second=tokens / seconds,
        seconds=max([*elapsed, seconds]),
    )
