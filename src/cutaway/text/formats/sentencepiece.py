"""SentencePiece's `.model` -> what it says. In: a file of that form, unigram or bpe. Out: its pieces and rules, or one error.

Kudo and Richardson 2018; the fields are those of `sentencepiece_model.proto`. The file is read here and not by the library that
wrote it: its Python interface shows neither the character map nor the kind of model, and it is native code that would meet
files from strangers.

The text is normalised, a space becomes ▁ and one stands before the text; then a unigram model takes the most probable
pieces (Kudo 2018), a bpe model merges the pair whose result has the highest score.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from ..reading import fault, read_bytes
from .charsmap import CharsmapError, check_charsmap
from .wire import Value, WireError, fields

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
UNIGRAM, BPE = 1, 2
_MAX_PIECES: Final = 2**22
_OTHER_MODELS: Final = {3: "word", 4: "char"}


class Piece(NamedTuple):
    """One token: its id is its place."""

    text: str
    score: float
    kind: int


@dataclass(frozen=True)
class Model:
    """What a `.model` file says. roles: role -> spelling, for those that it holds."""

    pieces: tuple[Piece, ...]
    kind: int
    roles: dict[str, str]
    has_byte_fallback: bool
    space_is_suffix: bool
    normalization: str
    charsmap: bytes
    adds_dummy_prefix: bool
    removes_extra_spaces: bool
    escapes_spaces: bool

    def texts(self, *kinds: int) -> list[str]:
        """The pieces of these kinds, in the order of their ids."""
        return [piece.text for piece in self.pieces if piece.kind in kinds]


def read_model(file: Path) -> Model:
    """Read and check a model. Raises CutawayError for a file that is none, and for a kind that is not opened here."""
    try:
        message = list(fields(memoryview(read_bytes(file, "SentencePiece model"))))
        pieces = tuple(_pieces(message, file))
        trainer, normalizer = _last(message, 2), _last(message, 3)
        model = _model(pieces, dict(fields(trainer)), dict(fields(normalizer)))
        if model.charsmap:
            check_charsmap(model.charsmap)
    except WireError as error:
        raise fault(file, f"it is no SentencePiece model, or cut short: {error}") from error
    except CharsmapError as error:
        raise fault(file, f"its character map is damaged: {error}") from error
    except (UnicodeDecodeError, TypeError) as error:
        raise fault(file, "it is no SentencePiece model: a field is not of its type") from error
    check_model(model, file)
    return model


def check_model(model: Model, file: Path) -> None:
    """Raises CutawayError for pieces that no tokenizer can be made of. file: where they were, for messages."""
    if not model.pieces:
        raise fault(file, "it holds no pieces", "Is it a SentencePiece model?")
    if model.kind not in (UNIGRAM, BPE):
        named = _OTHER_MODELS.get(model.kind, str(model.kind))
        raise fault(file, f"it is a model of the kind {named}; unigram and bpe are opened", "Take another checkpoint.")
    if sum(piece.kind == UNKNOWN for piece in model.pieces) != 1:
        raise fault(file, "it needs exactly one piece for unknown text")
    seen: set[str] = set()
    for number, piece in enumerate(model.pieces):
        if not piece.text or piece.text in seen:
            raise fault(file, f"piece {number} is {'held twice' if piece.text else 'empty'}: {piece.text!r:.60}")
        if not math.isfinite(piece.score) or not NORMAL <= piece.kind <= BYTE:
            raise fault(file, f"piece {number} has the score {piece.score} and the kind {piece.kind}")
        seen.add(piece.text)
    missing = [byte for byte in range(256) if f"<0x{byte:02X}>" not in seen]
    if model.has_byte_fallback and missing:
        raise fault(file, f"{len(missing)} of the 256 bytes have no piece, the first <0x{missing[0]:02X}>")


def _pieces(message: list[tuple[int, Value]], file: Path) -> Iterator[Piece]:
    number = 0
    for field, value in message:
        if field == 1:
            number += 1
            if number > _MAX_PIECES:
                raise fault(file, f"it holds more than {_MAX_PIECES:,} pieces")
            content = dict(fields(_view(value)))
            yield Piece(
                _text(content.get(1, memoryview(b""))), _float(content.get(2, 0.0)), _int(content.get(3, NORMAL))
            )


def _model(pieces: tuple[Piece, ...], trainer: dict[int, Value], normalizer: dict[int, Value]) -> Model:
    kinds = {piece.text: piece.kind for piece in pieces}
    spelled = {
        role: _text(trainer.get(field, memoryview(custom)))
        for role, field, custom in (("bos", 46, b"<s>"), ("eos", 47, b"</s>"), ("pad", 48, b"<pad>"))
    }
    unknown = [("unk", piece.text) for piece in pieces if piece.kind == UNKNOWN]
    return Model(
        pieces=pieces,
        kind=_int(trainer.get(3, UNIGRAM)),
        roles={**{role: text for role, text in spelled.items() if kinds.get(text) == CONTROL}, **dict(unknown)},
        has_byte_fallback=bool(trainer.get(35, 0)) or BYTE in kinds.values(),
        space_is_suffix=bool(trainer.get(24, 0)),
        normalization=_text(normalizer.get(1, memoryview(b""))),
        charsmap=bytes(_view(normalizer.get(2, memoryview(b"")))),
        adds_dummy_prefix=bool(normalizer.get(3, 1)),
        removes_extra_spaces=bool(normalizer.get(4, 1)),
        escapes_spaces=bool(normalizer.get(5, 1)),
    )


def _last(message: list[tuple[int, Value]], number: int) -> memoryview:
    """A message within the message, the last of several; empty where there is none."""
    found = [value for field, value in message if field == number]
    return _view(found[-1]) if found else memoryview(b"")


def _view(value: Value) -> memoryview:
    if not isinstance(value, memoryview):
        raise TypeError
    return value


def _text(value: Value) -> str:
    return bytes(_view(value)).decode("utf-8")


def _float(value: Value) -> float:
    if not isinstance(value, float):
        raise TypeError
    return value


def _int(value: Value) -> int:
    if not isinstance(value, int):
        raise TypeError
    return value
