"""What a person sees while training. In: events. Out: a live bar, a line for each evaluation, samples. It only reads events."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from ..text.visible import printable
from .events import TrainEvent

COLOUR = "#4a6fd0"
NUM_LINES = 10  # of progress in a whole run where there is no terminal


class Display:
    """A progress bar on a terminal, plain lines elsewhere. Use as a context manager and show it every event."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self.progress = _Bar(self.console)
        self.task = self.progress.add_task("", total=None, name="")
        self.speed = 0.0
        self.steps = 0
        self.estimate = "exact"

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self.progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.console.is_terminal:
            self.progress.stop()

    def show(self, event: TrainEvent) -> None:
        """Draw one event."""
        match event.kind:
            case "start" | "resume":
                self._begin(event)
            case "step":
                self._step(event)
            case "evaluate":
                self._evaluate(event)
            case "sample":
                self._sample(event)
            case "stop":
                self._stop(event)
            case "end":
                self._end(event)
            case "save":
                pass  # the directory was named at the start

    def _begin(self, event: TrainEvent) -> None:
        values = event.values
        self.steps, self.estimate = values["steps"], values.get("estimate", "exact")
        self.progress.update(self.task, total=self.steps, completed=event.step, name=values["name"])
        begin = f"resumes at step {event.step:,}" if event.kind == "resume" else "starts"
        whole, trained = values["parameters"], values.get("trained", values["parameters"])
        share = "" if trained == whole else f" ({trained:,} of them trained)"
        sizes = (
            f" {begin}: {whole:,} parameters{share}, {values['train_tokens']:,} tokens to train on, "
            f"{values['validation_tokens']:,} held out."
        )
        self._print(Text.assemble((values["name"], "bold"), sizes))
        self._print(Text(f"Written to {values['directory']}", "dim"))
        for name in values.get("damaged", ()):
            self._print(
                f"The checkpoint {name} is cut short or incomplete: it was set aside, and an older one is used."
            )

    def _step(self, event: TrainEvent) -> None:
        values = event.values
        rate = values["tokens"] / values["seconds"]
        self.speed = rate if not self.speed else 0.95 * self.speed + 0.05 * rate
        left = (self.steps - event.step) * values["tokens"] / self.speed
        figures = (
            f"loss {values['loss']:.3f}  {_bits(values, '.2f', self.estimate)}"
            f"{self.speed:,.0f} tokens/s  {values['peak_share']:.0%} of peak  {clock(left)} left"
        )
        self.progress.figures = figures
        self.progress.update(self.task, completed=event.step)
        if not self.console.is_terminal and self._is_milestone(event.step):
            self._print(f"step {event.step:>6,} of {self.steps:,}  {figures}")

    def _is_milestone(self, step: int) -> bool:
        """Whether a tenth of the run was completed with this step."""
        return step * NUM_LINES // self.steps > (step - 1) * NUM_LINES // self.steps

    def _evaluate(self, event: TrainEvent) -> None:
        values = event.values
        start, loss = f"step {event.step:>6,}  held-out loss ", (f"{values['loss']:.4f}", "bold")
        rest = f"{_error(values)} nats a token  {_bits(values, '.3f', values.get('estimate', 'exact'))}"
        self._print(Text.assemble(start, loss, rest, (clock(values["elapsed"]), "dim")))

    def _sample(self, event: TrainEvent) -> None:
        # A young model of bytes says anything, and a terminal would obey some of it.
        shown = printable(event.values["text"]).strip("\n").replace("\n", "\n             ")
        self._print(Text.assemble(("     sample", "dim"), "  ", shown))

    def _end(self, event: TrainEvent) -> None:
        if (averaged := event.values.get("averaged")) is not None:
            number, loss = len(averaged["checkpoints"]), (f"{averaged['loss']:.4f}", "bold")
            self._print(Text.assemble(f"Mean of the last {number} checkpoints: held-out loss ", loss, " nats a token"))
        self._print(f"Done in {clock(event.values['elapsed'])}: {event.values['checkpoint']}")

    def _stop(self, event: TrainEvent) -> None:
        where = f"Saved at step {event.step:,}" if event.values["checkpoint"] else "No step was done yet"
        self._print(f"Stopped. {where}; the same command goes on from there.")

    def _print(self, line: str | Text) -> None:
        """One line as it is: no markup is looked for in it, and paths are not broken where a window ends."""
        self.console.print(line, markup=False, soft_wrap=True)


class _Bar(Progress):
    """The bar on one line and the figures below it, so that both fit into a window of 80 columns."""

    def __init__(self, console: Console) -> None:
        self.figures = ""
        columns = (
            TextColumn("[bold]{task.fields[name]}"),
            BarColumn(bar_width=None, complete_style=COLOUR, finished_style=COLOUR),
            MofNCompleteColumn(),
        )
        super().__init__(*columns, console=console, transient=True)

    def get_renderables(self) -> Iterable[RenderableType]:
        """The lines of the live display."""
        yield self.make_tasks_table(self.tasks)
        yield Text(self.figures, no_wrap=True, overflow="ellipsis")


def _bits(values: Mapping[str, Any], form: str, estimate: str) -> str:
    """Bits a byte, where text is predicted, and that they are a bound where they are one."""
    said = " (bound)" if estimate == "bound" else ""
    return f"{values['bits_per_byte']:{form}} bits/byte{said}  " if "bits_per_byte" in values else ""


def _error(values: Mapping[str, Any]) -> str:
    """The standard error of a loss that was estimated by several draws."""
    error = values.get("standard_error", math.nan)
    return f" ± {error:.4f}" if math.isfinite(error) else ""


def clock(seconds: float) -> str:
    """Seconds as a person says them: 42 s, 3 min 05 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
