"""What a figure is. In: measured values. Out: rows with ours, the peer's, how they compare, the goal, and whether it is met.

A row compares medians: of both sides where there is a peer, of ours with a limit where there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median


class BenchmarkError(Exception):
    """A figure that could not be measured, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to measure. quick: once and tiny, to see that all works. model: what `generate` and `startup` open."""

    is_quick: bool
    model: str

    def repeat(self, usual: int) -> int:
        """How often to measure: once when quick."""
        return 1 if self.is_quick else usual


@dataclass(frozen=True, slots=True)
class Sample:
    """Values of one quantity, measured several times. form: how one value is printed, for example "{:.2f} s"."""

    values: tuple[float, ...]
    form: str

    @property
    def median(self) -> float:
        """The middle value."""
        return median(self.values)

    def __str__(self) -> str:
        """The median, and the range of all values where there are several."""
        shown = self.form.format(self.median)
        if len(set(self.values)) == 1:
            return shown
        number = self.form.split("}")[0] + "}"
        return f"{shown} ({number.format(min(self.values))}–{number.format(max(self.values))})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table. ratio: how ours compares, as printed; is_met: None where there is no goal."""

    name: str
    ours: Sample
    peer: Sample | None = None
    ratio: str = ""
    goal: str = ""
    is_met: bool | None = None


def sample(values: Sequence[float], form: str) -> Sample:
    """Several measurements of one quantity."""
    return Sample(tuple(values), form)


def at_least(name: str, ours: Sample, peer: Sample, times: float | None) -> Row:
    """More is better: ours over the peer's must reach `times`; without it there is no goal."""
    ratio = ours.median / peer.median
    if times is None:
        return Row(name=name, ours=ours, peer=peer, ratio=f"{ratio:.2f}×")
    return Row(name=name, ours=ours, peer=peer, ratio=f"{ratio:.2f}×", goal=f"≥ {times:g}×", is_met=ratio >= times)


def no_higher(name: str, ours: Sample, peer: Sample) -> Row:
    """Less is better: ours must not exceed the peer's."""
    ratio = ours.median / peer.median
    return Row(name=name, ours=ours, peer=peer, ratio=f"{ratio:.2f}×", goal="≤ 1×", is_met=ratio <= 1.0)


def within(name: str, ours: Sample, most: float, *, peer: Sample | None = None, is_strict: bool = False) -> Row:
    """Less is better: ours must stay within a limit, whatever a peer printed beside it does."""
    is_met = ours.median < most if is_strict else ours.median <= most
    goal = f"{'<' if is_strict else '≤'} {ours.form.format(most)}"
    return Row(name=name, ours=ours, peer=peer, goal=goal, is_met=is_met)


def reaches(name: str, ours: Sample, least: float) -> Row:
    """More is better: ours must reach a limit."""
    return Row(name=name, ours=ours, goal=f"≥ {ours.form.format(least)}", is_met=ours.median >= least)


def at_most_more(name: str, ours: Sample, peer: Sample, most: float) -> Row:
    """Less is better: ours may exceed the peer's by `most`, in the same unit."""
    extra = ours.median - peer.median
    goal = f"≤ +{ours.form.format(most)}"
    return Row(name=name, ours=ours, peer=peer, ratio=signed(ours.form, extra), goal=goal, is_met=extra <= most)


def at_most_share(name: str, ours: Sample, peer: Sample, most: float | None) -> Row:
    """Less is better: ours may exceed the peer's by this share of it; without one there is no goal."""
    extra = ours.median / peer.median - 1.0
    if most is None:
        return Row(name=name, ours=ours, peer=peer, ratio=signed("{:.2%}", extra))
    goal = f"≤ +{most:.0%}"
    return Row(name=name, ours=ours, peer=peer, ratio=signed("{:.2%}", extra), goal=goal, is_met=extra <= most)


def signed(form: str, value: float) -> str:
    """A difference, with its sign."""
    return ("−" if value < 0 else "+") + form.format(abs(value))


def alternate(times: int, *sides: Callable[[], None]) -> None:
    """Run the sides in turn, every other time in reverse, so that what drifts in the machine meets all alike."""
    for index in range(times):
        for side in sides if index % 2 == 0 else sides[::-1]:
            side()
