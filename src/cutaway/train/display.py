"""What a person sees while training. In: events. Out: a live bar, a line for each evaluation, samples. It only reads events."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from .events import TrainEvent

LOOK = "#c2410c"
QUIET = "dim"


class Display:
    """A progress bar on a terminal, plain lines elsewhere. Use as a context manager and show it every event."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self.progress = Progress(
            TextColumn("[bold]{task.fields[name]}"),
            BarColumn(bar_width=24, complete_style="#4a6fd0", finished_style="#4a6fd0"),
            _Figures(),
            console=self.console,
            transient=True,
        )
        self.task = self.progress.add_task("", total=None, name="", figures="")
        self.speed = 0.0
        self.steps = 0

    def __enter__(self) -> Display:
        self.progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.progress.stop()

    def show(self, event: TrainEvent) -> None:
        """Draw one event."""
        getattr(self, f"_{event.kind}")(event)

    def _start(self, event: TrainEvent) -> None:
        values = event.values
        self.steps = values["steps"]
        self.progress.update(self.task, total=self.steps, completed=event.step, name=values["name"])
        begin = f"resumes at step {event.step:,}" if event.step else "starts"
        self.console.print(
            f"[bold]{escape(values['name'])}[/] {begin}: {values['parameters']:,} parameters, "
            f"{values['train_tokens']:,} tokens to train on, {values['validation_tokens']:,} held out."
        )
        self.console.print(f"Written to {escape(values['directory'])}", style=QUIET)

    def _step(self, event: TrainEvent) -> None:
        values = event.values
        rate = values["tokens"] / values["seconds"]
        self.speed = rate if not self.speed else 0.95 * self.speed + 0.05 * rate
        left = (self.steps - event.step) * values["tokens"] / self.speed
        figures = (
            f"{event.step:,}/{self.steps:,}  loss {values['loss']:.3f}  {values['bits_per_byte']:.2f} bits/byte  "
            f"{self.speed:,.0f} tokens/s  {values['peak_share']:.0%} of peak  {clock(left)} left"
        )
        self.progress.update(self.task, completed=event.step, figures=figures)

    def _evaluate(self, event: TrainEvent) -> None:
        values = event.values
        self.console.print(
            f"step {event.step:>6,}  held-out loss [bold]{values['loss']:.4f}[/] nats a token  "
            f"{values['bits_per_byte']:.3f} bits/byte  [{QUIET}]{clock(values['elapsed'])}[/]"
        )

    def _sample(self, event: TrainEvent) -> None:
        shown = escape(event.values["text"].strip("\n")).replace("\n", "\n             ")
        self.console.print(f"[{QUIET}]     sample[/]  {shown}")

    def _save(self, event: TrainEvent) -> None:
        """Saving is silent: the directory was named at the start."""

    def _stop(self, event: TrainEvent) -> None:
        self.console.print(f"Stopped. Saved at step {event.step:,}; the same command goes on from there.")

    def _end(self, event: TrainEvent) -> None:
        values = event.values
        self.console.print(f"Done in {clock(values['elapsed'])}: {escape(values['checkpoint'])}")


class _Figures(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(task.fields["figures"])


def clock(seconds: float) -> str:
    """Seconds as a person says them: 42 s, 3 min 05 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
