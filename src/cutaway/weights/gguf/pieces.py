"""A SentencePiece vocabulary in a GGUF file <-> a tokenizer. In: tokens, types and scores, or a tokenizer. Out: the other one.

llama.cpp merges, again and again, the two neighbours whose join has the highest score (Kudo and Richardson 2018, bpe); nothing
is normalised but spaces. The `tokenizers` library has an order of merges instead; where scores can say that order, it is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer as Library

from ...errors import CutawayError
from ...text.formats.declared import Declared
from ...text.formats.pieces import open_pieces
from ...text.formats.sentencepiece import BPE, BYTE, CONTROL, NORMAL, UNKNOWN, Model, Piece, check_model

SPACE = "▁"
State = Mapping[str, Any]


def library_of_pieces(
    tokens: Sequence[str], types: Sequence[int], scores: object, unknown: object, *, has_prefix: bool, place: Path
) -> Library:
    """The tokenizer. unknown: the id of the token for unknown text, where no type says it. has_prefix: a space comes first.

    Raises CutawayError for a vocabulary of which none can be made.
    """
    model = replace(read_model(tokens, types, scores, unknown, place), adds_dummy_prefix=has_prefix)
    return open_pieces(model, Declared(place, {}, {}, {}), place).made


def read_model(tokens: Sequence[str], types: Sequence[int], scores: object, unknown: object, place: Path) -> Model:
    """The pieces as a model of the kind bpe that changes nothing of a text but its spaces. Raises as `library_of_pieces`."""
    if not isinstance(scores, np.ndarray) or scores.dtype.kind != "f" or len(scores) != len(tokens):
        raise CutawayError(f"{place}: its tokenizer has no score for each token.")
    kinds = list(types)
    if kinds and UNKNOWN not in kinds:
        kinds[unknown if type(unknown) is int and 0 <= unknown < len(kinds) else 0] = UNKNOWN
    unknowns = [token for token, kind in zip(tokens, kinds, strict=True) if kind == UNKNOWN]
    model = Model(
        pieces=tuple(map(Piece, tokens, scores.tolist(), kinds)),
        kind=BPE,
        roles={"unk": unknowns[0]} if unknowns else {},
        has_byte_fallback=BYTE in kinds,
        space_is_suffix=False,
        normalization="identity",
        charsmap=b"",
        adds_dummy_prefix=False,
        removes_extra_spaces=False,
        escapes_spaces=True,
    )
    check_model(model, place)
    return model


def has_space_prefix(state: State) -> bool | None:
    """Whether a tokenizer.json puts a space before a text and ▁ for each space; None where it does something else too."""
    steps = _steps(state["normalizer"], "normalizers")
    cuts = _steps(state["pre_tokenizer"], "pretokenizers")
    escapes = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    by_prefix = {True: [{"type": "Prepend", "prepend": SPACE}, escapes], False: [escapes]}
    # A cut at spaces, of which none is left: so Gemma's.
    if not cuts or (len(cuts) == 1 and cuts[0]["type"] == "Split" and cuts[0]["pattern"] == {"String": " "}):
        return next((has_prefix for has_prefix, wanted in by_prefix.items() if steps == wanted), None)
    if len(cuts) == 1 and cuts[0]["type"] == "Metaspace" and not steps:
        is_whole = cuts[0]["replacement"] == SPACE and not cuts[0].get("split", True)
        return cuts[0]["prepend_scheme"] != "never" if is_whole else None
    return None


def scored(state: State) -> tuple[dict[str, int], dict[str, float]] | None:
    """Type and score of every token of the model; None where scores cannot say its order of merges."""
    model = state["model"]
    added = {token["content"] for token in state["added_tokens"]}
    types = {token: _type(token, model, added) for token in model["vocab"]}
    ranks: dict[str, int] = {}
    for left, right in model["merges"]:
        joined = left + right
        if joined in ranks and ranks[joined] != len(ranks) - 1:
            return None  # with another join's merges between its own
        ranks.setdefault(joined, len(ranks))
    merged = Counter(left + right for left, right in model["merges"])
    usual = {token for token, kind in types.items() if kind == NORMAL}
    for joined in usual:
        pairs = sum(joined[:index] in usual and joined[index:] in usual for index in range(1, len(joined)))
        if pairs != merged[joined]:
            return None  # llama.cpp would merge every pair whose join is a token
    lowest = len(ranks) + 1
    return types, {token: float(-ranks.get(token, lowest)) for token in model["vocab"]}


def _type(token: str, model: State, added: set[str]) -> int:
    if token == model["unk_token"]:
        return UNKNOWN
    if model["byte_fallback"] and len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        return BYTE
    return CONTROL if token in added else NORMAL


def _steps(state: State | None, inner: str) -> list[State]:
    if state is None:
        return []
    return list(state[inner]) if state["type"] == "Sequence" else [state]
