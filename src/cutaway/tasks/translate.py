"""Texts -> texts of another language. In: an encoder-decoder and texts. Out: translations, with scores, others, and alignments.

Beam search (decode/batch.py) over many texts at once; an alignment says which source token each target token looked at most
(lens/pair.py). Lines that are empty stay empty.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..data import PairSource, read_pairs
from ..decode import Beam, hypotheses_of_sources
from ..decode.beam import Hypothesis
from ..errors import CutawayError
from ..lens.pair import cross_attention
from ..lm import LM
from .metrics import find_families
from .report import Report, make_report

BEAM = Beam(num_beams=4)
METRICS = ("bleu", "chrf")
PER_SOURCE_TOKEN, EXTRA = 2, 10  # the most target tokens: twice the source's, and ten
PIECE = 1024  # texts that are read, translated and handed on at a time
BATCH = 256  # beams that are decoded together: 64 are a third slower


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """One text. score: see `Beam`; others: of an n-best list, the best of them first, each with its score; ids: of text."""

    source: str
    text: str
    score: float = 0.0
    others: tuple[tuple[str, float], ...] = ()
    ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Alignment:
    """Which source token each target token looked at most. links: [target] of places among source_tokens."""

    source_tokens: tuple[str, ...]
    target_tokens: tuple[str, ...]
    links: tuple[int, ...]

    def pharaoh(self) -> str:
        """As word aligners write it: "0-0 1-2", the source's place first."""
        return " ".join(f"{source}-{target}" for target, source in enumerate(self.links))


def translate(
    lm: LM, texts: Sequence[str], *, beam: Beam = BEAM, max_tokens: int | None = None, batch_size: int = BATCH
) -> list[Translation]:
    """The translation of every text, in their order.

    beam: how to search; num_beams=1 is greedy and the fastest. max_tokens: of a translation; None: ten, and twice its source's
    number rounded up to a power of two, so that it does not depend on the texts beside it.
    batch_size: beams of all texts that are decoded together, and one text at least. Raises CutawayError for a model that is no
    encoder-decoder, and for a text that is longer than its encoder reads, with its number.
    """
    check(lm)
    sources = {index: _source_ids(lm, text, index + 1) for index, text in enumerate(texts) if text.strip()}
    found = [Translation(source=text, text="") for text in texts]
    together = batch_size if batch_size < 1 else max(1, batch_size // beam.num_beams)
    limits = {index: _limit(lm, len(ids)) if max_tokens is None else max_tokens for index, ids in sources.items()}
    for limit in sorted(set(limits.values())):
        part = [index for index in sources if limits[index] == limit]
        ids = [sources[index] for index in part]
        best = hypotheses_of_sources(lm.model, ids, beam, max_tokens=limit, batch_size=together)
        for index, hypotheses in zip(part, best, strict=True):
            found[index] = _translation(lm, texts[index], hypotheses)
    return found


def translate_lines(
    lm: LM,
    lines: Sequence[str],
    *,
    beam: Beam = BEAM,
    batch_size: int = BATCH,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Translation]:
    """As `translate`, a piece at a time, so that what is finished can be kept. progress: is told how many lines are done."""
    check_lines(lm, lines)
    for start in range(0, len(lines), PIECE):
        piece = lines[start : start + PIECE]
        yield from translate(lm, piece, beam=beam, batch_size=batch_size)
        if progress is not None:
            progress(start + len(piece))


def check_lines(lm: LM, lines: Sequence[str]) -> None:
    """Raises CutawayError, before any work, for a model that does not translate and for a line that its encoder cannot read."""
    check(lm)
    for number, line in enumerate(lines, start=1):
        _source_ids(lm, line, number)


def align(lm: LM, translation: Translation, layer: int | None = None) -> Alignment:
    """Where the model looked while it said each token of a translation. layer: of the decoder; None: the last."""
    source_ids, start = lm.ids(translation.source), lm.config.tokens.decoder_start
    assert start is not None, "a translation began with it"
    ends = {lm.config.tokens.eos}
    ids = [token for token in translation.ids if token not in ends]
    if not ids:
        return Alignment((), (), ())
    weights = cross_attention(lm.model, source_ids, [start, *ids[:-1]], layer)
    words = len(source_ids) - sum(
        token in ends for token in source_ids[-1:]
    )  # nothing is translated from the end token
    links = weights[:, : max(1, words)].argmax(-1).tolist()
    token_text = lm.tokenizer.token_text
    return Alignment(tuple(map(token_text, source_ids[:words])), tuple(map(token_text, ids)), tuple(links))


def evaluate_translations(
    lm: LM,
    source: PairSource,
    *,
    beam: Beam = BEAM,
    batch_size: int = BATCH,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """BLEU and chrF of a model's translations of a file of pairs. Raises CutawayError where sacrebleu is missing."""
    find_families(METRICS)  # what is missing is said before the work
    pairs = list(read_pairs(source))
    began = time.perf_counter()
    texts = [pair.source for pair in pairs]
    said = [found.text for found in translate_lines(lm, texts, beam=beam, batch_size=batch_size, progress=progress)]
    return make_report(
        task="translate",
        model=lm.name,
        data=source.paths(),
        examples=[(pair.source, text, [pair.target]) for pair, text in zip(pairs, said, strict=True)],
        metric=METRICS,
        seconds=time.perf_counter() - began,
    )


def check(lm: LM) -> None:
    """Raises CutawayError for a model that does not translate."""
    if not lm.config.has_cross or not lm.config.has_head:
        raise CutawayError(
            f"'{lm.name}' has no encoder with a decoder, so it does not translate. Name a model that has both."
        )


def _source_ids(lm: LM, text: str, number: int) -> list[int]:
    ids, stack = lm.ids(text), lm.config.encoder
    assert stack is not None, "checked"
    if stack.position.is_table and len(ids) > lm.config.context:
        raise CutawayError(
            f"Line {number:,} has {len(ids):,} tokens, and the encoder reads at most {lm.config.context:,}. Cut it into "
            "sentences, one a line."
        )
    return ids


def _limit(lm: LM, num_source: int) -> int:
    limit = PER_SOURCE_TOKEN * (1 << (num_source - 1).bit_length()) + EXTRA
    return min(limit, lm.config.context) if lm.config.main.position.is_table else limit


def _translation(lm: LM, source: str, hypotheses: Sequence[Hypothesis]) -> Translation:
    texts = [lm.tokenizer.decode(best.ids, skip_special=True).strip() for best in hypotheses]
    first, others = hypotheses[0], list(zip(texts, (best.score for best in hypotheses), strict=True))[1:]
    return Translation(source=source, text=texts[0], score=first.score, others=tuple(others), ids=tuple(first.ids))
