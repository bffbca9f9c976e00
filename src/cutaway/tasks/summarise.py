"""Documents -> summaries. In: a model and a document of any length. Out: its summary, and what each part of it gave.

A document that is longer than what the model reads at once is cut into chunks (tasks/chunks.py). What becomes of their summaries
is the strategy: `join` puts them one after another; `again` summarises what was joined until one chunk holds it (Wu et al. 2021,
"Recursively summarizing books"); `first` reads the first chunk alone, as most programs do. A model with encoder and decoder reads
a chunk behind its prefix; a decoder alone goes on with the chunk and "TL;DR:" (Radford et al. 2019 §3.6), up to its first line
break.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Final, Literal, get_args

from ..decode import Beam, Constraints, Hypothesis, Session, hypotheses, hypotheses_of_sources
from ..errors import CutawayError, near
from ..lm import LM
from ..weights.generation import read_asking
from .chunks import Span, spans

Strategy = Literal["join", "again", "first"]
Progress = Callable[[int, int], None]
BEAM: Final = Beam(num_beams=4, constraints=Constraints(no_repeat=3))
MAX_TOKENS: Final = 128
QUESTION: Final = "\nTL;DR:"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """chunk: tokens that the model reads at once, what stands around the text included; None: as many as it can. overlap: the
    most tokens that a chunk repeats of the one before. strategy: see above. beam: how to search. max_tokens: of each chunk's
    summary. prefix, suffix: what stands before and after every chunk. Raises CutawayError for impossible values.
    """

    chunk: int | None = None
    overlap: int = 0
    strategy: Strategy = "join"
    beam: Beam = BEAM
    max_tokens: int = MAX_TOKENS
    prefix: str = ""
    suffix: str = ""

    def __post_init__(self) -> None:
        if self.strategy not in get_args(Strategy):
            raise CutawayError(
                f"'{self.strategy}' is not a strategy for several chunks.{near(self.strategy, get_args(Strategy))}"
            )
        if self.chunk is not None and self.chunk < 1:
            raise CutawayError(f"chunk is {self.chunk}. It must be at least 1: it counts tokens.")
        if self.overlap < 0:
            raise CutawayError(f"overlap is {self.overlap}. It must be 0 or more tokens.")
        if self.max_tokens < 1:
            raise CutawayError(f"max_tokens is {self.max_tokens}. It must be at least 1.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One chunk. start, end: its characters. num_tokens: what the model read. summary: what it said."""

    start: int
    end: int
    num_tokens: int
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """A text, its chunks, and their summaries."""

    text: str
    parts: tuple[Part, ...]

    @property
    def joined(self) -> str:
        """The summaries, one after another."""
        return " ".join(part.summary for part in self.parts if part.summary)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """rounds: the document's own, and with the strategy `again` one for every time that summaries were summarised."""

    rounds: tuple[Round, ...]

    @property
    def text(self) -> str:
        """The summary."""
        return self.rounds[-1].joined

    @property
    def parts(self) -> tuple[Part, ...]:
        """The chunks of the document."""
        return self.rounds[0].parts

    @property
    def num_unread(self) -> int:
        """Characters at the end of the document that were not read: the strategy was `first`."""
        return len(self.rounds[0].text) - self.parts[-1].end


def settings_of(lm: LM) -> Settings:
    """How a model wants to be asked for a summary: by its checkpoint where that says so, by our own defaults where not.

    Raises CutawayError for a model that cannot summarise, and a checkpoint that asks for what is impossible.
    """
    check(lm)
    asking = read_asking(lm.place, "summarization")
    has_encoder = lm.config.encoder is not None
    lengths = (asking.min_length, asking.max_length) if has_encoder else (None, None)  # theirs hold the prompt too
    constraints = Constraints(
        no_repeat=BEAM.constraints.no_repeat if asking.no_repeat is None else asking.no_repeat or None,
        min_tokens=0 if lengths[0] is None else max(0, lengths[0] - 1),
        first_id=asking.first_id if has_encoder else None,
        last_id=asking.last_id if has_encoder else None,
    )
    usual = MAX_TOKENS if has_encoder else min(MAX_TOKENS, lm.config.context // 2)
    names = ("num_beams", "length_penalty", "early_stopping", "repetition_penalty")
    said: dict[str, Any] = {name: value for name in names if (value := vars(asking)[name]) is not None}
    return Settings(
        beam=Beam(**said, constraints=constraints),
        max_tokens=usual if lengths[1] is None else lengths[1] - 1,
        prefix=asking.prefix or "",
        suffix="" if has_encoder else QUESTION,
    )


def summarise(
    lm: LM, document: str, settings: Settings | None = None, *, batch_size: int = 16, progress: Progress | None = None
) -> Summary:
    """The summary of a document.

    settings: None: `settings_of(lm)`, of which `dataclasses.replace` changes any. batch_size: chunks that are decoded together.
    progress: is told how many chunks of how many are done. Raises CutawayError for an empty document, a model that cannot
    summarise, chunks that it cannot read or that hold nothing, and what `Beam` refuses.
    """
    return summarise_all(lm, [document], settings, batch_size=batch_size, progress=progress)[0]


def summarise_all(
    lm: LM,
    documents: Sequence[str],
    settings: Settings | None = None,
    *,
    batch_size: int = 16,
    progress: Progress | None = None,
) -> list[Summary]:
    """The summary of each document, their chunks decoded together; arguments and errors as `summarise`."""
    check(lm)
    settings = settings_of(lm) if settings is None else settings
    for number, document in enumerate(documents, start=1):
        if not document.strip():
            which = "" if len(documents) == 1 else f" {number:,}"
            raise CutawayError(f"The document{which} is empty: there is nothing to summarise. Give a text.")
    run = partial(_round, lm, settings=settings, batch_size=batch_size, progress=progress)
    rounds = [[found] for found in run(documents)]
    while left := [each for each in rounds if settings.strategy == "again" and _goes_on(lm, each[-1])]:
        for each, found in zip(left, run([each[-1].joined for each in left]), strict=True):
            each.append(found)
    return [Summary(rounds=tuple(each)) for each in rounds]


def check(lm: LM) -> None:
    """Raises CutawayError for a model that writes no text."""
    if not lm.config.says_next or not lm.config.has_head:
        raise CutawayError(
            f"'{lm.name}' does not write text from left to right, so it cannot summarise. Name a model with an encoder and a "
            "decoder that was trained on summaries, or one that continues texts."
        )
    assert lm.tokenizer is not None, "a model without one says so"


def _goes_on(lm: LM, last: Round) -> bool:
    """Whether summaries are to be summarised again: there are several, and they are shorter than what they are of."""
    text = last.joined
    return len(last.parts) > 1 and bool(text) and _num_tokens(lm, text) < _num_tokens(lm, last.text)


def _round(
    lm: LM, texts: Sequence[str], *, settings: Settings, batch_size: int, progress: Progress | None
) -> list[Round]:
    limit = _limit(lm, settings)
    cut = [_cut(lm, text, settings, limit) for text in texts]
    sources = [
        _ids(lm, text[start:end], settings) for text, found in zip(texts, cut, strict=True) for start, end in found
    ]
    said = iter(zip(sources, _answers(lm, sources, settings, batch_size, progress), strict=True))
    rounds = []
    for text, found in zip(texts, cut, strict=True):
        parts = [
            Part(start=start, end=end, num_tokens=len(ids), summary=summary)
            for (start, end), (ids, summary) in zip(found, islice(said, len(found)), strict=True)
        ]
        rounds.append(Round(text=text, parts=tuple(parts)))
    return rounds


def _cut(lm: LM, text: str, settings: Settings, limit: int) -> list[Span]:
    cuts = spans(
        text,
        fits=lambda part: len(_ids(lm, part, settings)) <= limit,
        repeats=lambda part: _num_tokens(lm, part) <= settings.overlap,
    )
    return list(islice(cuts, 1 if settings.strategy == "first" else None))


def _limit(lm: LM, settings: Settings) -> int:
    """How many tokens a chunk may have, what stands around it included."""
    context, stack = lm.config.context, lm.config.encoder or lm.config.main
    most = context if lm.config.encoder is not None else context - settings.max_tokens
    if most < 1:
        raise CutawayError(
            f"max_tokens is {settings.max_tokens}, and '{lm.name}' has {context:,} places for a document and its summary "
            "together. Ask for a shorter summary."
        )
    limit = most if settings.chunk is None else settings.chunk
    if limit > most and stack.position.is_table:
        raise CutawayError(
            f"chunk is {limit:,}. It is at most {most:,}: so many tokens '{lm.name}' reads at once here."
        )
    if settings.overlap >= limit:
        raise CutawayError(
            f"overlap is {settings.overlap:,} and chunk is {limit:,}. An overlap is smaller: chunks must go on."
        )
    around = len(_ids(lm, "", settings))
    if limit <= around:
        raise CutawayError(
            f"A chunk of {limit} token(s) holds nothing: what stands around its text takes {around}. Allow more."
        )
    return limit


def _ids(lm: LM, part: str, settings: Settings) -> list[int]:
    return lm.ids(f"{settings.prefix}{part.strip()}{settings.suffix}")


def _num_tokens(lm: LM, text: str) -> int:
    return len(lm.tokenizer.encode(text.strip()))


def _answers(
    lm: LM, sources: Sequence[list[int]], settings: Settings, batch_size: int, progress: Progress | None
) -> list[str]:
    """What the model says to each source; those of like lengths come together."""
    if batch_size < 1:
        raise CutawayError(f"batch_size is {batch_size}. It must be at least 1: it counts chunks.")
    order = sorted(range(len(sources)), key=lambda index: len(sources[index]))
    answers = [""] * len(sources)
    for start in range(0, len(order), batch_size):
        if progress is not None:
            progress(start, len(sources))
        part = order[start : start + batch_size]
        for index, best in zip(part, _best(lm, [sources[index] for index in part], settings), strict=True):
            answers[index] = _text(lm, best)
    if progress is not None:
        progress(len(sources), len(sources))
    return answers


def _best(lm: LM, sources: Sequence[list[int]], settings: Settings) -> list[Hypothesis]:
    beam, max_tokens = settings.beam, settings.max_tokens
    if lm.config.has_cross:
        found = hypotheses_of_sources(lm.model, sources, beam, max_tokens=max_tokens, batch_size=len(sources))
    else:
        found = [hypotheses(Session(lm.model), source, beam, max_tokens=max_tokens) for source in sources]
    return [best[0] for best in found]


def _text(lm: LM, best: Hypothesis) -> str:
    text = lm.tokenizer.decode(best.ids, skip_special=True).strip()
    return text if lm.config.has_cross else text.partition("\n")[0].rstrip()
