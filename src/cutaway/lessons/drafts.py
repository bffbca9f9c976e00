"""Diffusion in words: drafts at hidden places, and who has the say. In: a hybrid model, a prompt. Out: what every pass did.

A token is hidden or it is not: between two tokens there is nothing, so noise in a text is holes. A hybrid model fills several
holes in one pass, and verifies them in the next by its autoregressive half (Liu et al. 2025; `decode.hybrid`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ..decode import Drafting, Event, Sampling, Way
from ..lens.numerals import chance, count, number
from ..lens.words import Words
from ..lm import LM, load
from .figures import Bar, Bars, Figure, Table
from .lesson import Finding

BUNDLED = "stories-hybrid"
NUM_SHOWN = 8  # passes


@dataclass(slots=True)
class Pass:
    """drafts: what was put into the holes. stood: how many, from the first on. said: the token behind, None at the end."""

    drafts: list[int] = field(default_factory=list)
    stood: int = 0
    said: int | None = None

    @property
    def num_tokens(self) -> int:
        """What the text grew by."""
        return self.stood + (self.said is not None)


@dataclass(frozen=True, kw_only=True)
class Drafted:
    """A text that was written in drafts. ids: of it; plain: of the one that is written token by token."""

    lm: LM
    prompt: str
    passes: tuple[Pass, ...]
    ids: tuple[int, ...]
    plain: tuple[int, ...]

    @property
    def tokens_per_pass(self) -> float:
        """Of the text with its end."""
        return len(self.ids) / len(self.passes)

    def stood_at(self, distance: int) -> float:
        """How often a draft stood, of those made so many places ahead."""
        made = [each for each in self.passes if len(each.drafts) > distance]
        return sum(each.stood > distance for each in made) / max(1, len(made))


def drafter(lm: LM) -> LM:
    """The model itself where it drafts, else the bundled one that does."""
    return lm if lm.config.says_masked and lm.config.says_next else load(BUNDLED)


def drafted(lm: LM, prompt: str, max_tokens: int) -> Drafted:
    """Write greedily, in drafts and token by token."""
    hasty = list(_events(lm, prompt, max_tokens, Way(decoder="hybrid", drafting=Drafting(passes="one"))))
    plain = list(_events(lm, prompt, max_tokens, Way(decoder="autoregressive")))
    ids, wanted = (tuple(e.new for e in events if e.is_final and e.new is not None) for events in (hasty, plain))
    return Drafted(lm=lm, prompt=prompt, passes=tuple(_passes(hasty)), ids=ids, plain=wanted)


def said(found: Drafted) -> str:
    """The paragraph of the lesson."""
    same = "the same text as" if found.ids == found.plain else "another text than"
    return (
        "In a text there is nothing between two tokens, so its noise is holes: a token is hidden, or it is not. A model that "
        "learned to fill holes guesses many in one pass, but tokens that are filled together do not know of each other. "
        f"{found.lm.name} drafts that way and lets its autoregressive half decide which drafts stand: "
        f"{count(len(found.ids), 'token')} in {count(len(found.passes), 'pass', 'passes')}, {same} token by token."
    )


def figures(found: Drafted) -> tuple[Figure, ...]:
    """The first passes, and how far ahead drafts stand."""
    words = Words(found.lm.tokenizer, found.lm.config.vocab_size)
    return _passes_of(found, words), _far(found)


def findings(found: Drafted) -> tuple[Finding, ...]:
    """Tokens a pass."""
    return (
        Finding(label="Tokens of a text in a pass, drafted", value=f"{number(found.tokens_per_pass)}, one by one 1"),
    )


def _events(lm: LM, prompt: str, max_tokens: int, way: Way) -> Iterator[Event]:
    pieces = lm.stream(prompt, max_tokens=max_tokens, sampling=Sampling(temperature=0), way=way)
    return (piece.event for piece in pieces if piece.event is not None)


def _passes(events: Sequence[Event]) -> Iterator[Pass]:
    """Drafts, verdicts on them, and the token behind: each is one pass."""
    now = Pass()
    for event in events:
        if event.kind == "draft" and event.new is not None:
            now.drafts.append(event.new)
        elif event.kind == "accept":
            now.stood += 1
        elif event.kind == "commit":
            now.said = event.new
            yield now
            now = Pass()
    if now.stood:
        yield now


def _passes_of(found: Drafted, words: Words) -> Table:
    def text(ids: Sequence[int]) -> str:
        return " ".join(map(words.text, ids)) or "–"

    rows = [
        (
            str(place),
            text(each.drafts[: each.stood]),
            text(each.drafts[each.stood :]),
            "–" if each.said is None else text([each.said]),
        )
        for place, each in enumerate(found.passes[:NUM_SHOWN], start=1)
    ]
    return Table(
        title="Written in drafts",
        caption=f"“{found.prompt}”, continued by {found.lm.name}. Each pass reads the drafts of the one before: those that the "
        "autoregressive half would have said stand, up to the first that it would not, and it says the next itself.",
        source="draft, accept, reject and commit events",
        heads=("pass", "drafts that stand", "drafts that fall", "said then"),
        rows=tuple(rows),
    )


def _far(found: Drafted) -> Bars:
    shares = [found.stood_at(distance) for distance in range(max(len(each.drafts) for each in found.passes))]
    return Bars(
        title="How far ahead a draft stands",
        caption="Of the drafts made so many places ahead, those that stood with all before them.",
        source="accept and reject events",
        rows=tuple(
            Bar(label=f"{distance} ahead", value=share, text=chance(share))
            for distance, share in enumerate(shares, start=1)
        ),
        scale=max([*shares, 0.01]),
    )
