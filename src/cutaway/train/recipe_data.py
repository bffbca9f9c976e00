"""What a run reads, as its recipe says it: texts, pairs, conversations, questions. In: tables of TOML. Out: checked sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from ..data.denoise import DenoiseSource
from ..data.pairs import PairSource
from ..data.questions import QuestionSource
from ..data.sources import Source
from ..errors import CutawayError

Data = TypeVar("Data", "DataRecipe | None", "PairsRecipe | None", "DialoguesRecipe | None", "QuestionsRecipe | None")


@dataclass(frozen=True, kw_only=True)
class DataRecipe:
    """What is read. validation: sources never trained on; without them the last `validation_share` of the text is held out.

    packing: `stream` joins documents end to end; `packed` keeps each to itself within a row. scored_after: of each document, what
    stands up to this text's token is read and not predicted (packed only); None: all of it is predicted.
    """

    train: tuple[Source, ...]
    validation: tuple[Source, ...] = ()
    validation_share: float = 0.1
    packing: Literal["stream", "packed"] = "stream"
    scored_after: str | None = None

    def __post_init__(self) -> None:
        if not self.train:
            raise CutawayError("data.train is empty. Name at least one source: [[data.train]] with files = 'file.txt'.")
        check("data.validation_share", self.validation_share, 0 < self.validation_share < 1, "between 0 and 1")
        if self.scored_after is not None and self.packing == "stream":
            raise CutawayError(
                f"data.scored_after is {self.scored_after!r} and data.packing is 'stream', whose rows begin anywhere in a "
                "document. Use data.packing = 'packed', which keeps what is read and what is predicted together."
            )


@dataclass(frozen=True, kw_only=True)
class PairsRecipe:
    """Sources and what to say having read them (translation, summaries); with the key `denoise`, texts of which parts are hidden.
    validation: pairs never trained on. task: the command that the model is for; nothing else depends on it.
    """

    train: tuple[PairSource | DenoiseSource, ...]
    validation: tuple[PairSource | DenoiseSource, ...]
    task: Literal["translate", "summarize"] = "translate"

    def __post_init__(self) -> None:
        _check_sources("pairs", self.train, self.validation, "a.tsv")


@dataclass(frozen=True, kw_only=True)
class QuestionsRecipe:
    """Questions on contexts (Rajpurkar et al. 2016). validation: questions never trained on.

    answers: `marked` by an encoder where they stand in the context, or `written` by a decoder after the question. To mark them:
    stride: tokens of a long context from the begin of a window to that of the next. max_question: the most tokens of a question.
    """

    train: tuple[QuestionSource, ...]
    validation: tuple[QuestionSource, ...]
    answers: Literal["marked", "written"] = "marked"
    stride: int = 128
    max_question: int = 64

    def __post_init__(self) -> None:
        _check_sources("questions", self.train, self.validation, "a.json")
        for name in ("stride", "max_question"):
            at_least(f"questions.{name}", getattr(self, name), 1)


@dataclass(frozen=True, kw_only=True)
class DialoguesRecipe:
    """Conversations, of which what the assistant says is learned. validation: dialogues never trained on."""

    train: tuple[Source, ...]
    validation: tuple[Source, ...]

    def __post_init__(self) -> None:
        _check_sources("dialogues", self.train, self.validation, "a.jsonl")


def resolved(data: Data, folder: Path) -> Data:
    """The same sources, their paths relative to the recipe's folder."""
    if data is None:
        return data
    sides: dict[str, Any] = {
        side: tuple(replace(source, folder=folder) for source in getattr(data, side))
        for side in ("train", "validation")
    }
    return replace(data, **sides)


def at_least(name: str, value: int, least: int) -> None:
    """Raises CutawayError for a value below `least`."""
    check(name, value, value >= least, f"at least {least}")


def check(name: str, value: object, is_allowed: bool, allowed: str) -> None:
    """Raises CutawayError for a value that is not allowed. allowed: in words."""
    if not is_allowed:
        raise CutawayError(f"{name} is {value}. It must be {allowed}.")


def _check_sources(table: str, train: Sequence[object], validation: Sequence[object], example: str) -> None:
    for name, sources in (("train", train), ("validation", validation)):
        if not sources:
            raise CutawayError(
                f"{table}.{name} is empty. Name at least one source: [[{table}.{name}]] with files = '{example}'."
            )
