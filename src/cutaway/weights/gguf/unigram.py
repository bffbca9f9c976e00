"""A SentencePiece unigram vocabulary in a GGUF file <-> a tokenizer. In: tokens and scores, or a tokenizer. Out: the other one.

llama.cpp maps characters by SentencePiece's own table, which a file holds, and takes the most probable pieces (Kudo 2018). It has
no bytes for unknown characters, and puts no space behind a text (src/llama-vocab.cpp, llm_tokenizer_ugm).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Tokenizer as Library
from tokenizers import models, normalizers

from ...errors import CutawayError
from ...text.formats.charsmap import CharsmapError, check_charsmap
from ...text.formats.declared import Declared
from ...text.formats.pieces import normalizers_of, open_pieces
from ...text.formats.sentencepiece import NORMAL, UNIGRAM, UNKNOWN, Model
from .pieces import SPACE, read_model
from .values import Value

MAP, PREFIX, EXTRA = (
    f"tokenizer.ggml.{key}" for key in ("precompiled_charsmap", "add_space_prefix", "remove_extra_whitespaces")
)
UNLIKELY = -10_000.0  # the score of what only fills a gap
NFKC, OTHER = "nmt_nfkc", "other"
SPLIT = {"type": "WhitespaceSplit"}
ENDS = [
    {"type": "Strip", "strip_left": False, "strip_right": True},
    {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": SPACE},
]
State = Mapping[str, Any]


class Rules(NamedTuple):
    """What becomes of a text before pieces are taken: its character map, a space before it, one space for several."""

    charsmap: bytes
    has_prefix: bool
    removes_extra: bool


def library_of_unigram(
    tokens: Sequence[str], types: Sequence[int], scores: object, metadata: Mapping[str, Value], place: Path
) -> Library:
    """The tokenizer. Raises CutawayError for a vocabulary of which none can be made."""
    model = read_model(tokens, types, scores, metadata.get("tokenizer.ggml.unknown_token_id"), place)
    rules = Rules(_charsmap(metadata.get(MAP), place), metadata.get(PREFIX) is True, metadata.get(EXTRA) is True)
    return open_pieces(_ruled(replace(model, kind=UNIGRAM), rules), Declared(place, {}, {}, {}), place).made


def rules_of(state: State) -> Rules | None:
    """The rules of a tokenizer.json that llama.cpp reads alike; None where it would read other ids."""
    model = state["model"]
    if model["type"] != "Unigram" or model["byte_fallback"] or model["unk_id"] is None:
        return None
    found = next((rules for rules, wanted in _known(state) if wanted == _shape(state)), None)
    is_parted = state["pre_tokenizer"] is not None
    if found is None or (found.removes_extra and not found.has_prefix):  # llama.cpp would put one there
        return None
    across = any(SPACE in piece[1:].lstrip(SPACE) for piece, _ in model["vocab"])
    return None if is_parted and across else found


def keys_of_unigram(rules: Rules, state: State) -> dict[str, Any]:
    """What a file says of such a tokenizer, beside its tokens and their scores."""
    return {
        PREFIX: rules.has_prefix,
        EXTRA: rules.removes_extra,
        "tokenizer.ggml.unknown_token_id": state["model"]["unk_id"],
        **({MAP: rules.charsmap} if rules.charsmap else {}),
    }


def scored_pieces(state: State) -> tuple[dict[str, int], dict[str, float]]:
    """Type and score of every token of the model."""
    vocabulary: list[tuple[str, float]] = state["model"]["vocab"]
    types = dict.fromkeys((piece for piece, _ in vocabulary), NORMAL)
    types[vocabulary[state["model"]["unk_id"]][0]] = UNKNOWN
    return types, dict(vocabulary)


def _charsmap(found: Value | None, place: Path) -> bytes:
    if found is None:
        return b""
    if not isinstance(found, np.ndarray) or found.dtype.itemsize != 1:
        raise CutawayError(f"{place}: its tokenizer's character map ({MAP}) is no list of bytes.")
    raw = found.tobytes()
    try:
        check_charsmap(raw)
    except CharsmapError as error:
        raise CutawayError(f"{place}: its tokenizer's character map is damaged: {error}.") from error
    return raw


def _ruled(model: Model, rules: Rules) -> Model:
    return replace(
        model,
        normalization=NFKC if rules.charsmap and _composes(rules.charsmap) else OTHER,
        charsmap=rules.charsmap,
        adds_dummy_prefix=rules.has_prefix,
        removes_extra_spaces=rules.removes_extra,
    )


def _composes(charsmap: bytes) -> bool:
    """Whether a map follows Unicode's NFKC, which it does not say: it then composes, and takes ligatures and circles away."""
    table = normalizers.Precompiled(charsmap)
    return [table.normalize_str(text) for text in ("e\u0301", "\ufb01", "\u2460")] == ["\u00e9", "fi", "1"]


def _parts_lines(charsmap: bytes) -> bool:
    """Whether lines and tabs are spaces to a map."""
    return bool(charsmap) and normalizers.Precompiled(charsmap).normalize_str("a\n\tb") == "a  b"


def _known(state: State) -> Iterator[tuple[Rules, object]]:
    """The forms that a tokenizer.json of these rules may have: those that we write, and those of transformers."""
    charsmap = _stored_map(state["normalizer"])
    for has_prefix, removes_extra in product((True, False), repeat=2):
        rules = Rules(charsmap, has_prefix, removes_extra)
        empty = Model((), UNIGRAM, {}, False, False, OTHER, b"", False, False, True)
        library = Library(models.Unigram())
        if steps := normalizers_of(_ruled(empty, rules)):
            library.normalizer = normalizers.Sequence(steps)
        yield rules, (_steps(json.loads(library.to_str())["normalizer"], "normalizers"), [])
    mapped = [{"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap).decode()}] if charsmap else []
    for scheme in ("always", "first"):
        cut = {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": True}
        if _parts_lines(charsmap):
            yield Rules(charsmap, True, True), (mapped, [SPLIT, cut])
        yield Rules(charsmap, True, True), ([*mapped, *ENDS], [cut])


def _shape(state: State) -> object:
    return _steps(state["normalizer"], "normalizers"), _steps(state["pre_tokenizer"], "pretokenizers")


def _stored_map(normalizer: State | None) -> bytes:
    maps = [step for step in _steps(normalizer, "normalizers") if step["type"] == "Precompiled"]
    return base64.b64decode(maps[0]["precompiled_charsmap"]) if maps else b""


def _steps(state: State | None, inner: str) -> list[State]:
    if state is None:
        return []
    if state["type"] == "Sequence":
        return [step for each in state[inner] for step in _steps(each, inner)]
    return [state]
