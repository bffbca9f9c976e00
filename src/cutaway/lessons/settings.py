"""What can be changed in a lesson. In: what it declares and what a person gave. Out: checked values, or one clear message."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..errors import CutawayError, near

Value = str | int | float


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One control. kind: what a page makes of it; value: now; choices: of a choice.

    least, most: of a number, or of a text's length. is_whole: whether a number has no fraction. step: between the values of a
    slider.
    """

    name: str
    label: str
    kind: Literal["text", "choice", "number"]
    value: Value
    choices: tuple[str, ...] = ()
    least: float = 0
    most: float = 0
    is_whole: bool = False
    step: float = 1


def text(name: str, label: str, value: str, most: int = 200) -> Setting:
    """A text of 1 to `most` characters."""
    return Setting(name=name, label=label, kind="text", value=value, least=1, most=most)


def choice(name: str, label: str, value: str, choices: Iterable[str]) -> Setting:
    """One of several words."""
    return Setting(name=name, label=label, kind="choice", value=value, choices=tuple(choices))


def whole(name: str, label: str, value: int, least: int, most: int) -> Setting:
    """A whole number from `least` to `most`."""
    return Setting(name=name, label=label, kind="number", value=value, least=least, most=most, is_whole=True)


def real(name: str, label: str, value: float, least: float, most: float, step: float = 0.05) -> Setting:
    """Any number from `least` to `most`."""
    return Setting(name=name, label=label, kind="number", value=value, least=least, most=most, step=step)


@dataclass(frozen=True, slots=True)
class Settings:
    """The controls of a lesson with the values that hold."""

    all: tuple[Setting, ...]

    def __getitem__(self, name: str) -> Value:
        return next(setting.value for setting in self.all if setting.name == name)

    def text(self, name: str) -> str:
        """The value of a text or of a choice."""
        return str(self[name])

    def whole(self, name: str) -> int:
        """The value of a whole number."""
        return int(self[name])

    def real(self, name: str) -> float:
        """The value of a number."""
        return float(self[name])


def settle(declared: Sequence[Setting], given: Mapping[str, object]) -> Settings:
    """The declared controls with what was given.

    Raises CutawayError for a name that there is not, or a value that is not allowed.
    """
    names = [setting.name for setting in declared]
    for name in given:
        if name not in names:
            raise CutawayError(f"This lesson has no setting '{name}'.{near(name, names)}")
    return Settings(
        tuple(
            replace(setting, value=checked(setting, given[setting.name])) if setting.name in given else setting
            for setting in declared
        )
    )


def checked(setting: Setting, value: object) -> Value:
    """The value as the setting keeps it. Raises CutawayError where it is not allowed."""
    if setting.kind == "number":
        return _number(setting, value)
    if not isinstance(value, str):
        raise CutawayError(f"{setting.name} is {value!r:.40}. It is a {setting.kind}: give a string.")
    if setting.kind == "choice" and value not in setting.choices:
        raise CutawayError(f"{setting.name} is '{value:.40}'. Allowed: {', '.join(setting.choices)}.")
    if setting.kind == "text" and not value.strip():
        raise CutawayError(f"{setting.name} is empty. Give a text of 1 to {setting.most:,.0f} characters.")
    if setting.kind == "text" and len(value) > setting.most:
        raise CutawayError(f"{setting.name} has {len(value):,} characters. Allowed: 1 to {setting.most:,.0f}.")
    return value


def _number(setting: Setting, value: object) -> int | float:
    what = "a whole number" if setting.is_whole else "a number"
    allowed = f"It must be {what} from {setting.least:g} to {setting.most:g}."
    try:
        number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not setting.least <= number <= setting.most or (setting.is_whole and number != int(number)):
        raise CutawayError(f"{setting.name} is {value!r:.40}. {allowed}")
    return int(number) if setting.is_whole else number
