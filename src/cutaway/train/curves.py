"""Loss curves. In: the events of a run. Out: `loss.png` and TensorBoard events beside them. It only reads events."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from .events import TrainEvent

LEARNED, COMPUTED, INK, FAINT, PAGE = "#1e339b", "#61b990", "#191b1d", "#6b7176", "#fbfbf9"


def draw(events: Iterable[TrainEvent], path: Path) -> None:
    """Training loss (faint, and its running mean) and held-out loss over steps, in nats a token, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    steps, losses, held_steps, held = _series(events)
    figure = Figure(figsize=(8, 4.5), dpi=150, facecolor=PAGE)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(facecolor=PAGE)
    axes.plot(steps, losses, color=COMPUTED, linewidth=0.6, alpha=0.5)
    axes.plot(steps, running_mean(losses), color=COMPUTED, linewidth=1.6, label="training, running mean")
    if held:
        axes.plot(held_steps, held, color=LEARNED, linewidth=1.6, marker="o", markersize=3, label="held out")
        axes.annotate(
            f"{held[-1]:.3f}", (held_steps[-1], held[-1]), (6, 0), textcoords="offset points", va="center", color=INK
        )
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.set_xlabel("step", color=FAINT)
    axes.set_ylabel("loss, nats a token", color=FAINT)
    axes.tick_params(colors=FAINT)
    axes.legend(frameon=False, labelcolor=INK)
    figure.tight_layout()
    figure.savefig(path)


def write_tensorboard(events: Iterable[TrainEvent], directory: Path) -> None:
    """The same numbers as TensorBoard scalars, written afresh: `tensorboard --logdir RUN/tensorboard`."""
    from tensorboardX import SummaryWriter

    for old in directory.glob("events.out.tfevents.*"):
        old.unlink()
    with SummaryWriter(str(directory)) as writer:
        for event in events:
            if event.kind == "step":
                for name in ("loss", "bits_per_byte", "learning_rate", "gradient_norm"):
                    writer.add_scalar(f"train/{name}", event.values[name], event.step)
            elif event.kind == "evaluate":
                for name in ("loss", "bits_per_byte"):
                    writer.add_scalar(f"held_out/{name}", event.values[name], event.step)
            elif event.kind == "sample":
                writer.add_text("sample", event.values["text"], event.step)


def running_mean(values: list[float], share: float = 0.02) -> list[float]:
    """An exponential mean over about `share` of the series, started without bias."""
    keep = 1.0 - 1.0 / max(1.0, len(values) * share)
    mean, weight, out = 0.0, 0.0, []
    for value in values:
        mean, weight = keep * mean + (1 - keep) * value, keep * weight + (1 - keep)
        out.append(mean / weight)
    return out


def _series(events: Iterable[TrainEvent]) -> tuple[list[int], list[float], list[int], list[float]]:
    steps, losses, held_steps, held = [], [], [], []
    for event in events:
        if event.kind == "step":
            steps.append(event.step)
            losses.append(event.values["loss"])
        elif event.kind == "evaluate":
            held_steps.append(event.step)
            held.append(event.values["loss"])
    return steps, losses, held_steps, held
