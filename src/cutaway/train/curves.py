"""Loss curves. In: the events of a run. Out: `loss.png` and TensorBoard events beside them. It only reads events.

The picture is drawn anew at every evaluation and at the end; TensorBoard's file grows meanwhile, so that `tensorboard --logdir
RUN` follows a run that is under way. No thread writes: SummaryWriter's, when the disk is full, lets the whole run hang.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path
from typing import Any

from ..errors import CutawayError
from ..weights.atomic import write_file
from .events import TrainEvent

LEARNED, COMPUTED, INK, FAINT, PAGE = "#1e339b", "#61b990", "#191b1d", "#6b7176", "#fbfbf9"
PARADIGMS = (LEARNED, COMPUTED, "#b4532a", "#7d4aa5", "#b98a1e", "#2a8c9a", INK, FAINT)
STYLES = ("-", "--", ":", "-.")
STROKES = tuple((colour, style) for style in STYLES[:3] for colour in (LEARNED, COMPUTED, INK, FAINT))
APART = 0.045  # of the height of a picture: numbers at the ends of curves
SCALARS = {
    "step": ("train", ("loss", "bits_per_byte", "learning_rate", "muon_learning_rate", "gradient_norm")),
    "evaluate": ("held_out", ("loss", "bits_per_byte")),
}


End = tuple[int, float]  # the last step and loss of a curve


class Curves:
    """The curves of a run that is under way. Show it every event."""

    def __init__(self, directory: Path, before: Iterable[TrainEvent] = ()) -> None:
        """directory: of the run. before: the events of this run so far. Raises CutawayError if the disk is full."""
        self.picture = directory / "loss.png"
        self.events = [event for event in before if event.kind in SCALARS]
        self.board = Board(directory / "tensorboard")
        self.is_drawn = False
        for event in self.events:
            self.board.write(event)

    def show(self, event: TrainEvent) -> None:
        """Take one event in. Raises CutawayError if the disk is full."""
        self.board.write(event)
        if event.kind in SCALARS:
            self.events.append(event)
            self.is_drawn = False
        if event.kind in ("evaluate", "stop", "end") and self.events and not self.is_drawn:
            self.board.flush()
            draw(self.events, self.picture)
            self.is_drawn = True

    def close(self) -> None:
        """Close TensorBoard's file."""
        self.board.close()


def draw(events: Iterable[TrainEvent], path: Path) -> None:
    """Training loss (faint, and its running mean) and held-out loss over steps, in nats a token, as a PNG.

    The picture is there whole or not at all. Raises CutawayError if it cannot be written.
    """
    with _picture(path) as axes:
        _plot(axes, list(events))


def draw_runs(runs: Mapping[str, Iterable[TrainEvent]], path: Path, *, groups: Mapping[str, str] | None = None) -> None:
    """The curves of several runs by name in one picture: held-out losses strong, training losses faint. Errors as in `draw`.

    Where they were taught different things, each objective has its colour, and only losses that are of the text are drawn. A
    bound is marked by hollow triangles that point to where the loss lies, with its standard error. groups: the group of each run,
    of which all have one stroke and one entry; None: each run is its own.
    """
    read = {name: list(events) for name, events in runs.items()}
    group_of = groups or {name: name for name in read}
    strokes = _strokes({group_of[name]: _objective(events) for name, events in read.items()})
    is_mixed = len({_objective(events) for events in read.values()}) > 1
    with _picture(path) as axes:
        ends: dict[str, list[End]] = {}
        for name, events in read.items():
            group = group_of[name]
            end = _plot_run(axes, "" if group in ends else group, events, strokes[group], is_mixed=is_mixed)
            ends.setdefault(group, []).extend(filter(None, [end]))
        _write_ends(axes, [(strokes[group][0], own) for group, own in ends.items() if own])


@contextmanager
def _picture(path: Path) -> Iterator[Any]:
    """Empty axes of steps and losses; what was drawn on them is written at the end."""
    # Before the import, which tells about its fonts on the first run of an account and about a home without room.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=150, facecolor=PAGE)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(facecolor=PAGE)
    yield axes
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.set_xlabel("step", color=FAINT)
    axes.set_ylabel("loss, nats a token", color=FAINT)
    axes.tick_params(colors=FAINT)
    axes.legend(loc="upper right", frameon=False, labelcolor=INK)  # where falling curves leave room
    figure.tight_layout()
    write_file(path, lambda temporary: figure.savefig(temporary, format="png"))


def write_tensorboard(events: Iterable[TrainEvent], directory: Path) -> None:
    """The numbers as TensorBoard scalars and the samples as texts, written afresh: `tensorboard --logdir RUN`."""
    board = Board(directory)
    for event in events:
        board.write(event)
    board.close()


class Board:
    """TensorBoard's file of a run: records of protocol buffers, appended one by one."""

    def __init__(self, directory: Path) -> None:
        """Begin afresh; what an earlier part of the run wrote there goes. Raises CutawayError where it cannot be made."""
        from tensorboardX import RecordWriter
        from tensorboardX.proto.event_pb2 import Event

        self.directory = directory
        try:
            directory.mkdir(parents=True, exist_ok=True)
            for old in directory.glob("events.out.tfevents.*"):
                old.unlink()
            self._writer = RecordWriter(str(directory / f"events.out.tfevents.{time.time_ns()}.cutaway"))
        except OSError as error:
            raise self._refused(error) from error
        self._record(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def write(self, event: TrainEvent) -> None:
        """Append the numbers or the sample of an event. Raises CutawayError if the disk is full."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar, text

        summaries = []
        if event.kind in SCALARS:
            group, names = SCALARS[event.kind]
            summaries = [scalar(f"{group}/{name}", event.values[name]) for name in names if name in event.values]
        elif event.kind == "sample":
            summaries = [text("sample", event.values["text"])]
        for summary in summaries:
            self._record(Event(wall_time=time.time(), step=event.step, summary=summary))

    def flush(self) -> None:
        """Let readers see everything so far, on the disk. Raises CutawayError if it is full."""
        with self._reporting():
            self._writer.flush()

    def close(self) -> None:
        """Close the file. Raises CutawayError if the disk is full."""
        with self._reporting():
            self._writer.close()

    def _record(self, event: Any) -> None:
        with self._reporting():
            self._writer.write(event.SerializeToString())

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            with suppress(OSError):  # what is still held back cannot be written either
                self._writer.close()
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> CutawayError:
        return CutawayError(
            f"Cannot write to {self.directory}: {error.strerror}. Free some space and run the same command again."
        )


def running_mean(values: list[float], share: float = 0.02) -> list[float]:
    """An exponential mean over about `share` of the series, started without bias."""
    keep = 1.0 - 1.0 / max(1.0, len(values) * share)
    mean, weight, out = 0.0, 0.0, []
    for value in values:
        mean, weight = keep * mean + (1 - keep) * value, keep * weight + (1 - keep)
        out.append(mean / weight)
    return out


def _plot(axes: Any, events: list[TrainEvent]) -> None:
    steps, losses = _series(events, "step")
    held_steps, held = _series(events, "evaluate")
    axes.plot(steps, losses, color=COMPUTED, linewidth=0.6, alpha=0.5)
    axes.plot(steps, running_mean(losses), color=COMPUTED, linewidth=1.6, label="training, running mean")
    if held:
        axes.plot(held_steps, held, color=LEARNED, linewidth=1.6, marker="o", markersize=3, label="held out")
        last = (held_steps[-1], held[-1])
        axes.annotate(f"{held[-1]:.3f}", last, (6, 0), textcoords="offset points", va="center", color=INK)


def _strokes(objectives: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Colour and style of each group by its objective: the colour tells objectives apart where there are several."""
    kinds = list(dict.fromkeys(objectives.values()))
    if len(kinds) < 2:
        return dict(zip(objectives, cycle(STROKES), strict=False))
    strokes = {}
    for kind, colour in zip(kinds, cycle(PARADIGMS), strict=False):
        names = [name for name, objective in objectives.items() if objective == kind]
        strokes.update({name: (colour, style) for name, style in zip(names, cycle(STYLES), strict=False)})
    return strokes


def _objective(events: Iterable[TrainEvent]) -> str:
    """What a run was taught; logs from before there was a choice do not say."""
    return (
        next((str(event.values.get("objective", "")) for event in events if event.kind == "start"), "") or "next token"
    )


def _plot_run(axes: Any, name: str, events: list[TrainEvent], stroke: tuple[str, str], *, is_mixed: bool) -> End | None:
    """name: for the legend; "": it is there already. is_mixed: whether runs of other objectives are drawn beside it.

    Returns the last held-out loss and its step.
    """
    colour, style = stroke
    held = [event for event in events if event.kind == "evaluate"]
    is_bound = any(event.values.get("estimate") == "bound" for event in held)
    label = f"{name} (bound)" if name and is_bound else name or None
    steps, losses = _series([event for event in events if not is_mixed or "bits_per_byte" in event.values], "step")
    thin = {"color": colour, "linestyle": style, "linewidth": 0.8, "alpha": 0.45}
    axes.plot(steps, running_mean(losses), label=None if held else label, **thin)
    if not held:
        return None
    held_steps, held_losses = _series(held, "evaluate")
    marks = {"marker": "v", "markersize": 5, "markerfacecolor": PAGE} if is_bound else {"marker": "o", "markersize": 3}
    errors = [event.values.get("standard_error", 0.0) for event in held]
    axes.errorbar(
        held_steps, held_losses, errors, color=colour, linestyle=style, linewidth=1.8, label=label, capsize=2, **marks
    )
    return held_steps[-1], held_losses[-1]


def _write_ends(axes: Any, ends: Iterable[tuple[str, list[End]]]) -> None:
    """Beside curves of one colour, their last loss: of several runs the mean. From below, so that none is over another."""
    low, high = axes.get_ylim()
    place = low
    means = [(sum(loss for _, loss in own) / len(own), colour, own) for colour, own in ends]
    for mean, colour, own in sorted(means):
        place = max(mean, place + APART * (high - low))
        at = (max(step for step, _ in own), place)
        axes.annotate(f"{mean:.3f}", at, (6, 0), textcoords="offset points", va="center", color=colour)


def _series(events: list[TrainEvent], kind: str) -> tuple[list[int], list[float]]:
    chosen = [event for event in events if event.kind == kind]
    return [event.step for event in chosen], [event.values["loss"] for event in chosen]
