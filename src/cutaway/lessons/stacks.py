"""Encoder, decoder, encoder-decoder. In: a source text. Out: who sees whom, measured by changing one token after the other.

An encoder reads a whole text, so each of its outputs depends on every token. A decoder writes, so an output depends on the
tokens up to its own. An encoder-decoder has both: its decoder sees what it has written, and all that the encoder read (Vaswani
et al. 2017 §3.2.3). Nothing of this is taken from a mask here: a token is changed, and the outputs that move are those that
see it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..decode import Beam
from ..errors import CutawayError
from ..lens.numerals import count, small
from ..lens.words import Words
from ..lm import LM
from ..model import Call, Transformer
from ..model.call import Memory
from ..model.visibility import causal, full
from ..runtime.attend import fused
from ..tasks.translate import translate
from .figures import Matrix, Table
from .lesson import Check, Entry, Finding, Shown
from .live import need_words, words_of
from .settings import Setting, Settings, text

MOVED = 1e-10  # in double precision; what an output does not see moves it by 0, and what it hardly sees by 1e-7
MOST_TOKENS = 24


@dataclass(frozen=True, slots=True)
class Sights:
    """How far each output moved when each token was changed: output by token.

    encoder, decoder: of a text by itself; cross: source.
    """

    encoder: Tensor
    decoder: Tensor
    cross: Tensor

    def breaches(self) -> int:
        """How many outputs see what they should not, or do not see what they should."""
        length = len(self.decoder)
        may_see = torch.ones(length, length).tril() > 0
        wrong = (self.encoder <= MOVED).sum() + ((self.decoder > MOVED) != may_see).sum() + (self.cross <= MOVED).sum()
        return int(wrong)


def settings(lm: LM) -> tuple[Setting, ...]:  # noqa: ARG001 (the same for every model)
    """What is read, and what takes the place of each token in turn."""
    return (
        text("source", "Text to read", "Guten Morgen, mein Freund.", most=120),
        text("by", "Put in place of a token", "Haus", most=30),
    )


def check(lm: LM) -> None:
    """Raises CutawayError for a model that is not an encoder and a decoder, or has no tokenizer."""
    if not lm.config.has_cross:
        stack = "an encoder" if lm.config.decoder is None else "a decoder"
        raise CutawayError(
            f"This lesson compares an encoder and a decoder, and '{lm.name}' has {stack} only. Take --model translate-de-en."
        )
    need_words(lm)


def show(lm: LM, given: Settings) -> Shown:
    """Translate the text, then change every token of both sides."""
    source = lm.ids(given.text("source"))
    if len(source) > MOST_TOKENS:
        raise CutawayError(
            f"The text is {len(source)} tokens. This lesson takes {MOST_TOKENS} at most: give a shorter one."
        )
    target = written(lm, given.text("source"))
    by = lm.tokenizer.encode(" " + given.text("by").strip())[0]
    found, words = sights(copy.deepcopy(lm.model).double(), source, target, by), words_of(lm)
    breaches = found.breaches()
    return Shown(
        text=_text(given.text("source"), lm.tokenizer.decode(target[1:]), words.text(by)),
        figures=(
            _matrix("The encoder: its outputs, its tokens", found.encoder, source, source, words),
            _matrix("The decoder: its outputs, its tokens", found.decoder, target, target, words),
            _matrix("The decoder's outputs, the encoder's tokens", found.cross, target, source, words),
            _kinds(found),
        ),
        findings=(
            Finding(label="Changes made", value=count(len(source) + len(target), "token")),
            Finding(
                label="Most that an output moved",
                value=small(float(max(m.max() for m in (found.encoder, found.decoder, found.cross)))),
            ),
            Finding(label="Most that an output moved by a later token of the decoder", value=small(_later(found))),
        ),
        wrong=Check(
            claim="An encoder output that ignores a token; a decoder output that ignores an earlier one or the "
            "source, or moves with a later one.",
            threshold=f"a single such output; it has moved if by more than {small(MOVED)}",
            found=count(breaches, "such output"),
            holds=breaches == 0,
        ),
        fair="Every token is changed into the same one, which none of them is (else into another); all else stays, "
        "positions too, and all is computed in double precision. The decoder alone is measured with one source, the "
        "cross-attention with one target.",
    )


def _text(source: str, target: str, by: str) -> tuple[str, ...]:
    """The text of the lesson."""
    return (
        "An encoder reads: each of its outputs may use the whole text, what follows too. A decoder writes: an output "
        "may use only what stands there already, or guessing the next token would be no guess. An encoder-decoder is "
        "one of each: the decoder sees its own text up to the present token, and all of what the encoder read.",
        f"Here “{source}” was read and “{target}” written. Then each token was changed into {by}, one at a time, and "
        "every output was compared. An output that moves sees the token.",
    )


def written(lm: LM, source: str) -> list[int]:
    """What the decoder reads when it says the model's own translation: its start, and all but the last token."""
    found = translate(lm, [source], beam=Beam(num_beams=1))[0].ids
    start = lm.config.tokens.decoder_start
    if start is None:
        raise CutawayError(
            f"'{lm.name}' does not say with which token its decoder starts. Take --model translate-de-en."
        )
    return [start, *found[:-1]][:MOST_TOKENS]


def sights(model: Transformer, source: Sequence[int], target: Sequence[int], by: int) -> Sights:
    """Every token changed once. source, target: what encoder and decoder read; by: the id that takes each token's place."""
    memory = encoded(model, [source])
    changed = encoded(model, [source, *_changes(source, by, model.config.vocab_size)])

    def decode(rows: Sequence[Sequence[int]], memory: Memory) -> Tensor:
        call = Call(causal(len(rows[0])), attend=fused, memory=memory)
        return model.states(torch.tensor([list(row) for row in rows]), call)

    rows = [target, *_changes(target, by, model.config.vocab_size)]
    return Sights(
        encoder=moved(changed.states),
        decoder=moved(decode(rows, memory.select(torch.zeros(len(rows), dtype=torch.long)))),
        cross=moved(decode([target] * len(changed.states), changed)),
    )


def encoded(model: Transformer, rows: Sequence[Sequence[int]]) -> Memory:
    """What the encoder makes of some texts of one length."""
    return model.encode(torch.tensor([list(row) for row in rows]), Call(full(len(rows[0])), attend=fused))


def moved(states: Tensor) -> Tensor:
    """How far each output moved.

    states: [batch, position, d_model], the first unchanged -> [position, position], output by token, the most of a vector.
    """
    return (states[1:] - states[:1]).abs().amax(-1).T


def _changes(ids: Sequence[int], by: int, vocab_size: int) -> list[list[int]]:
    """The text with one token changed, for each of them."""
    other: Callable[[int], int] = lambda token: by if token != by else (by + 1) % vocab_size  # noqa: E731
    return [[other(token) if place == at else token for place, token in enumerate(ids)] for at in range(len(ids))]


def _matrix(title: str, found: Tensor, rows: Sequence[int], columns: Sequence[int], words: Words) -> Matrix:
    values = tuple(tuple(value if value > MOVED else None for value in row) for row in found.tolist())
    return Matrix(
        title=title,
        caption="A row is an output, a column the token that was changed: how far the output moved. A point: not at all.",
        source="output.norm, with the token and without",
        rows=tuple(words.text(i) for i in rows),
        columns=tuple(words.text(i) for i in columns),
        values=values,
        scale=float(found.max()) or 1.0,
        digits=3,
    )


def _kinds(found: Sights) -> Table:
    def seen(matrix: Tensor) -> str:
        return f"{int((matrix > MOVED).sum())} of {matrix.numel()}"

    return Table(
        title="Three ways to build one",
        caption="Pairs of an output and a token that it sees, as measured.",
        source="output.norm",
        heads=("", ">pairs that see", "made for"),
        rows=(
            ("encoder", seen(found.encoder), "reading: classify, mark, embed"),
            ("decoder", seen(found.decoder), "writing: continue a text"),
            ("decoder on encoder", seen(found.cross), "reading, then writing: translate, summarise"),
        ),
    )


def _later(found: Sights) -> float:
    return float(found.decoder.triu(1).max())


ENTRY = Entry(
    name="stacks",
    title="Encoder, decoder, or both?",
    line="who sees whom, measured by changing one token after the other",
    model="translate-de-en",
    check=check,
    settings=settings,
    show=show,
)
