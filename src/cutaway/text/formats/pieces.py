"""A SentencePiece model -> library tokenizer. In: a `.model` file. Out: an `Opened` that gives the ids of SentencePiece.

Where the `tokenizers` library has SentencePiece's rule it is used; where it has not, normalizers say it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Library

from ..merges import Pair
from ..reading import fault
from .composed import nfkc
from .declared import Added, Declared, read_declared
from .parts import Opened, finished, frame_of, merged_roles, place
from .renumber import LANGUAGE, MAX_GAPS, PLACEHOLDER, renumbered
from .sentencepiece import BPE, BYTE, CONTROL, NORMAL, UNIGRAM, UNKNOWN, UNUSED, USER_DEFINED, Model, Piece, read_model

FILES: Final = ("tokenizer.model", "spiece.model", "source.spm")
SUFFIXES: Final = (".model", ".spm")
_IDS_FILE: Final = "vocab.json"
_SPACE: Final = "▁"
# SentencePiece's maps that follow Unicode's NFKC, by the names that its trainer writes.
_NFKC: Final = ("nfkc", "nmt_nfkc", "nfkc_cf", "nmt_nfkc_cf")


def read_pieces(file: Path) -> Opened:
    """The tokenizer of a SentencePiece model and what stands beside it. Raises CutawayError where that fails."""
    model = read_model(file)
    is_translation = file.suffix == ".spm" and (file.parent / _IDS_FILE).is_file()
    if is_translation:
        model = renumbered(model, file.parent / _IDS_FILE)
    return open_pieces(model, read_declared(file.parent), file, ends=is_translation)


def open_pieces(model: Model, declared: Declared, file: Path, *, ends: bool = False) -> Opened:
    """The tokenizer of a model that was checked. file: where it was, for messages. ends: whether eos ends every text."""
    roles = merged_roles(declared, model.roles)
    make = _unigram if model.kind == UNIGRAM else _bpe
    library = Library(make(model, declared, file))
    if steps := normalizers_of(model):
        library.normalizer = normalizers.Sequence(steps)
    if model.kind == BPE and (users := model.texts(USER_DEFINED)):
        # Cut out of the normalised text, so that no ▁ comes before what follows; the longest first, as in SentencePiece.
        pattern = "|".join(map(_escaped, sorted(users, key=len, reverse=True)))
        library.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "isolated")
    library.decoder = decoders.Sequence(_decoders(model))
    controls = {text: Added(content=text) for text in model.texts(UNKNOWN, CONTROL, UNUSED)}
    languages = {text: Added(content=text, special=False) for text in model.texts(LANGUAGE)}
    added = {**controls, **languages, **declared.added}
    frame = frame_of(declared, roles, bos=False, eos=ends)
    return Opened(finished(library, list(added.values()), frame), model.roles)


def _unigram(model: Model, declared: Declared, file: Path) -> models.Unigram:
    """The pieces in the order of their ids. Ids that nothing holds get a piece that no text can come to."""
    scores = [piece.score for piece in model.pieces if piece.kind in (NORMAL, USER_DEFINED)] or [0.0]
    lowest, highest = float(f"{min(scores):.9g}"), max(scores)
    listed = [(piece.text, _score(piece, lowest, highest)) for piece in model.pieces]
    placed = place({text: number for number, (text, _) in enumerate(listed)}, declared, file)
    beyond = {token_id: text for text, token_id in placed.items() if token_id >= len(listed)}
    places = range(len(listed), max(placed.values()) + 1)
    if len(places) > len(beyond) + MAX_GAPS:
        raise fault(file, f"it has {len(listed):,} pieces, and a token beside it has the id {places[-1]:,}")
    listed.extend([(beyond.get(token_id, PLACEHOLDER.format(token_id)), lowest) for token_id in places])
    unknown = next(number for number, piece in enumerate(model.pieces) if piece.kind == UNKNOWN)
    return models.Unigram(listed, unk_id=unknown, byte_fallback=model.has_byte_fallback)


def _score(piece: Piece, lowest: float, highest: float) -> float:
    """A user-defined piece is preferred to whatever else covers its bytes: SentencePiece's own rule.

    A text that spells a byte or unk is neither: as a piece of a text it is worse than its characters one by one.
    """
    score = piece.score
    if piece.kind in (BYTE, UNKNOWN):
        score = min(len(piece.text) * lowest, lowest) - 1
    elif piece.kind == USER_DEFINED:
        score = len(piece.text.encode()) * highest - 0.1
    return float(f"{score:.9g}")  # all of its 32 bits; more digits the library would read back inexactly


def _bpe(model: Model, declared: Declared, file: Path) -> models.BPE:
    vocabulary = {piece.text: number for number, piece in enumerate(model.pieces)}
    return models.BPE(
        place(vocabulary, declared, file),
        _merges(model),
        unk_token=model.roles["unk"],
        fuse_unk=True,
        ignore_merges=bool(model.texts(USER_DEFINED)),  # a piece that was cut out is one token, whatever merges
        byte_fallback=model.has_byte_fallback,
    )


def _escaped(text: str) -> str:
    """A pattern for exactly this text, in the syntax of the library's expressions."""
    return "".join(character if character.isalnum() else f"\\x{{{ord(character):X}}}" for character in text)


def _merges(model: Model) -> list[Pair]:
    """Every pair whose join is a piece, the highest score of the join first. Its parts may be any text that is a piece."""
    mergeable = {piece.text: piece.score for piece in model.pieces if piece.kind == NORMAL}
    found = [
        (-score, (text[:index], text[index:]))
        for text, score in mergeable.items()
        for index in range(1, len(text))
        if text[:index] in mergeable and text[index:] in mergeable
    ]
    return [pair for _, pair in sorted(found, key=lambda ranked: ranked[0])]


def normalizers_of(model: Model) -> list[Any]:
    """What becomes of a text before pieces are taken, in order."""
    steps: list[Any] = []
    if model.charsmap and model.normalization in _NFKC:
        steps += nfkc(model.charsmap)
    elif model.charsmap:
        steps.append(normalizers.Precompiled(model.charsmap))
    return [*steps, *_spaces(model)]


def _spaces(model: Model) -> list[Any]:
    """What becomes of white space: one space for several and none at the ends, one before (or behind) the text, ▁ for each."""
    space = _SPACE if model.escapes_spaces else " "
    steps: list[Any] = []
    if model.removes_extra_spaces:
        steps += [normalizers.Replace(Regex(r"\A +"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    if model.adds_dummy_prefix and not model.space_is_suffix:
        steps.append(normalizers.Prepend(space))
    if model.escapes_spaces:
        steps.append(normalizers.Replace(" ", _SPACE))
    if model.removes_extra_spaces:
        steps.append(normalizers.Replace(Regex(rf"{space}+\z"), ""))
    if model.adds_dummy_prefix and model.space_is_suffix:
        steps.append(normalizers.Replace(Regex(r"(?<=[\s\S])\z"), space))
    return steps


def _decoders(model: Model) -> list[Any]:
    steps: list[Any] = [decoders.Replace(_SPACE, " ")]
    if model.has_byte_fallback:
        steps.append(decoders.ByteFallback())
    steps.append(decoders.Fuse())
    if model.adds_dummy_prefix and not model.space_is_suffix:
        steps.append(decoders.Strip(" ", 1, 0))
    return steps
