"""Plain text -> pairs: a text with parts hidden, and what to say to it. In: a `DenoiseSource`. Out: `Denoised`, as `Pairs` are.

    spans   source: the cat <1> on <2> mat      target: <1> sat <2> the <3>        (T5; Raffel et al. 2020 §3.1.4)
    infill  source: the cat <mask> on <mask>    target: the cat sat on the mat     (BART; Lewis et al. 2020 §2.2)

How many tokens are hidden, in how many spans, follows from the length of a piece of text alone, so that its lengths are known
before anything is drawn. Every way to place the spans is as likely as any other; spans never touch. Their lengths: for spans all
ways to part the hidden tokens are equally likely; for infill they are Poisson, given their sum, and may be 0: a mask for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import CutawayError, near
from .corpus import Corpus, Encoding, build_corpus
from .loader import generator_of
from .packing import Ids
from .sources import Format, Source

DenoiseKind = Literal["spans", "infill"]
KINDS: tuple[DenoiseKind, ...] = ("spans", "infill")


@dataclass(frozen=True, kw_only=True)
class DenoiseSource:
    """Texts of which parts are hidden, anew in every epoch.

    denoise: how, see above. share: of the tokens, how many are hidden. mean_span: tokens in a span, on average. length: the
    most tokens of a piece; a longer document is cut into pieces of like lengths. files, folder, format, field, separator: see
    `Source`. weight: see `PairSource`. Raises `CutawayError`.
    """

    files: str | tuple[str, ...]
    denoise: DenoiseKind
    share: float = 0.15
    mean_span: float = 3.0
    length: int = 128
    folder: Path = Path()
    format: Format | None = None
    field: str = "text"
    separator: str | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.denoise not in KINDS:
            raise CutawayError(f"'{self.denoise}' is no way to hide parts of a text.{near(self.denoise, KINDS)}")
        for name, value, is_allowed, allowed in (
            ("share", self.share, 0 < self.share < 1, "between 0 and 1"),
            ("mean_span", self.mean_span, 1 <= self.mean_span < float("inf"), "1 or more tokens"),
            ("length", self.length, self.length >= 2, "2 or more tokens: one to hide and one to keep"),
        ):
            if not is_allowed:
                raise CutawayError(f"A source's {name} is {value}; it must be {allowed}.")
        assert self.texts.files, "a source checks the rest"

    @property
    def texts(self) -> Source:
        """Where the texts come from."""
        return Source(
            files=self.files,
            folder=self.folder,
            format=self.format,
            field=self.field,
            separator=self.separator,
            weight=self.weight,
        )

    @property
    def name(self) -> str:
        """What messages call this source."""
        return self.texts.name

    def paths(self) -> list[Path]:
        """Every file; see `Source.paths`."""
        return self.texts.paths()


@dataclass(frozen=True, kw_only=True)
class Marks:
    """Ids that no text holds. end: of both sides; mask: for a hidden span; sentinels: one for each span, and one to end them."""

    end: int
    mask: int | None
    sentinels: tuple[int, ...]


@dataclass(frozen=True)
class Denoised:
    """Pieces of a corpus. pieces: [piece, 2], the first token of each and the first behind it."""

    source: DenoiseSource
    corpus: Corpus
    pieces: Ids
    marks: Marks

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.source.name

    @property
    def weight(self) -> float:
        """See `PairSource`."""
        return self.source.weight

    @property
    def says_all(self) -> bool:
        """Whether a target is the whole piece, and not what was hidden alone."""
        return self.source.denoise == "infill"

    @cached_property
    def counts(self) -> tuple[Ids, Ids, Ids]:
        """Tokens of each piece, how many of them are hidden, and in how many spans: [piece] each."""
        sizes = np.diff(self.pieces)[:, 0]
        return sizes, *hidden_in(sizes, self.source.share, self.source.mean_span)

    @cached_property
    def lengths(self) -> Ids:
        """Tokens of source and target of each piece, end tokens included: [piece, 2]."""
        sizes, hidden, num_spans = self.counts
        return np.stack(
            [sizes - hidden + num_spans + 1, sizes + 1 if self.says_all else hidden + num_spans + 2], axis=1
        )

    @cached_property
    def target_bytes(self) -> NDArray[np.float64]:
        """UTF-8 bytes of text that each target stands for, [piece]; of hidden tokens, in proportion."""
        sizes, hidden, _ = self.counts
        num_bytes: NDArray[np.float64] = np.diff(self.corpus.bytes_before(self.pieces))[:, 0]
        return num_bytes if self.says_all else num_bytes * hidden / sizes

    def sides(self, number: int, purpose: Sequence[int], /) -> tuple[Ids, Ids]:
        """Source and target of one piece. purpose: what chance is for: seed, epoch, and which piece it is."""
        start, end = self.pieces[number]
        ids = self.corpus.token_ids[start:end].astype(np.int64)
        size, hidden, num_spans = (int(each[number]) for each in self.counts)
        kept, spans = draw(size, hidden, num_spans, generator_of(*purpose), may_be_empty=self.says_all)
        return (infill if self.says_all else corrupt)(ids, kept, spans, self.marks)


def encode_denoised(source: DenoiseSource, encoding: Encoding, marks: Marks) -> Denoised:
    """The pieces of a source as token ids, kept on disk as `build_corpus` does.

    encoding: whose end id is not used: `marks` has it. Raises `CutawayError` as `read_documents` does, for a text without two
    tokens, and for marks that the tokenizer does not have.
    """
    corpus = build_corpus(
        source.texts,
        encoding.encode_batch,
        end_id=None,
        vocab_size=encoding.vocab_size,
        cache_dir=encoding.cache_dir,
        fingerprint=encoding.fingerprint,
    )
    denoised = Denoised(source, corpus, cut(corpus.document_starts, source.length), marks)
    _check(denoised)
    return denoised


def cut(starts: Ids, length: int) -> Ids:
    """Documents in as few pieces of at most `length` tokens as can be, of like lengths; those of one token are left out.

    starts: [document + 1] -> [piece, 2].
    """
    found = []
    for start, end in pairwise(starts.tolist()):
        num = -(-(end - start) // length)
        borders = start + (end - start) * np.arange(num + 1) // num
        found.append(np.stack([borders[:-1], borders[1:]], axis=1))
    pieces: Ids = np.concatenate(found)
    return pieces[np.diff(pieces)[:, 0] > 1]


def hidden_in(sizes: Ids, share: float, mean_span: float) -> tuple[Ids, Ids]:
    """How many tokens of a piece are hidden, and in how many spans. sizes: [piece], 2 and more; so are the two that come back."""
    hidden = np.clip(np.rint(sizes * share).astype(np.int64), 1, sizes - 1)
    num_spans = np.clip(np.rint(hidden / mean_span).astype(np.int64), 1, np.minimum(hidden, sizes - hidden + 1))
    return hidden, num_spans


def draw(
    size: int, hidden: int, num_spans: int, generator: np.random.Generator, *, may_be_empty: bool
) -> tuple[Ids, Ids]:
    """What is kept before each span and behind the last one, [num_spans + 1], and the length of each span, [num_spans]."""
    kept = parts(size - hidden + 2, num_spans + 1, generator)
    kept[[0, -1]] -= 1  # before the first and behind the last span there may be nothing
    if may_be_empty:
        return kept, generator.multinomial(hidden, np.full(num_spans, 1 / num_spans))
    return kept, parts(hidden, num_spans, generator)


def parts(total: int, num: int, generator: np.random.Generator) -> Ids:
    """A total in so many parts of at least 1: every way is equally likely. [num]"""
    borders = np.sort(generator.choice(total - 1, num - 1, replace=False)) + 1
    return np.diff(borders, prepend=0, append=total)


def corrupt(ids: Ids, kept: Ids, spans: Ids, marks: Marks) -> tuple[Ids, Ids]:
    """Sentinels for spans; and sentinels with what they stand for. kept, spans: see `draw`."""
    pieces, sentinels = _pieces(ids, kept, spans), marks.sentinels
    source: list[int] = [*pieces[0]]
    target: list[int] = []
    for sentinel, span, after in zip(sentinels, pieces[1::2], pieces[2::2], strict=False):
        source += [sentinel, *after]
        target += [sentinel, *span]
    return np.array([*source, marks.end]), np.array([*target, sentinels[len(spans)], marks.end])


def infill(ids: Ids, kept: Ids, spans: Ids, marks: Marks) -> tuple[Ids, Ids]:
    """One mask for each span, whatever its length; and the whole text."""
    assert marks.mask is not None, "checked with the marks"
    pieces = _pieces(ids, kept, spans)
    source: list[int] = [*pieces[0]]
    for after in pieces[2::2]:
        source += [marks.mask, *after]
    return np.array([*source, marks.end]), np.array([*ids, marks.end])


def _pieces(ids: Ids, kept: Ids, spans: Ids) -> list[list[int]]:
    """The ids, cut: kept, hidden, kept, …, kept."""
    sizes = np.zeros(len(kept) + len(spans), dtype=np.int64)
    sizes[::2], sizes[1::2] = kept, spans
    return [part.tolist() for part in np.split(ids, np.cumsum(sizes)[:-1])]


def _check(denoised: Denoised) -> None:
    source, marks = denoised.source, denoised.marks
    if not len(denoised.pieces):
        raise CutawayError(f"No text in {source.name} has two tokens: one to hide and one to keep.")
    if denoised.says_all and marks.mask is None:
        raise CutawayError(
            "denoise = 'infill' needs a mask token, and this tokenizer has none. Use another kind, say bpe."
        )
    needed, there = int(denoised.counts[2].max()) + 1, len(marks.sentinels)
    if not denoised.says_all and there < needed:
        raise CutawayError(
            f"denoise = 'spans' needs {needed} tokens that stand for spans, and this tokenizer has {there} spare ones. Set "
            f"tokenizer.num_spares = {needed}, hide a smaller share, or take a smaller length."
        )
