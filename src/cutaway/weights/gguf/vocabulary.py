"""The tokenizer inside a file <-> ours. In: metadata, or a tokenizer. Out: the tokenizer, or the keys to write.

Byte-level BPE (`tokenizer.ggml.model` "gpt2": tokens, types, merges, and the name of a rule by which text is cut) and
SentencePiece's BPE ("llama": tokens with scores; see pieces). What llama.cpp would turn into other ids is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer as Library

from ...config import ModelConfig
from ...errors import CutawayError
from ...text import SpecialPlan, SpecialRoles, Tokenizer
from ...text.frame import has_frame, set_frame
from .cuts import CUTS, cut_of, find_cut
from .pieces import has_space_prefix, library_of_pieces, scored
from .values import SHOWN, Value

PREFIX = "tokenizer.ggml."
BYTE_LEVEL, PIECES, NOTHING = "gpt2", "llama", ("none", "no_vocab")
NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)  # llama.h, llama_token_type
ROLES = {
    "bos": "bos_token_id",
    "eos": "eos_token_id",
    "pad": "padding_token_id",
    "mask": "mask_token_id",
    "unk": "unknown_token_id",
    "cls": "cls_token_id",
    "sep": "seperator_token_id",  # so spelt in the format
    "end": "eot_token_id",
}
State = dict[str, Any]


def read_tokenizer(metadata: Mapping[str, Value], place: Path) -> Tokenizer | None:
    """The tokenizer in the metadata; None where there is none. Raises CutawayError for one that is broken or of another kind."""
    model = metadata.get(f"{PREFIX}model", NOTHING[0])
    if model in NOTHING:
        return None
    if model not in (BYTE_LEVEL, PIECES):
        raise CutawayError(
            f"{place} has a tokenizer of the kind {str(model)[:SHOWN]!r}, which Cutaway does not read. "
            f"Known: {BYTE_LEVEL}, {PIECES}."
        )
    tokens = _texts(metadata, "tokens", place)
    types = _types(metadata, len(tokens))
    try:
        if model == PIECES:
            scores, unknown = (metadata.get(f"{PREFIX}{key}") for key in ("scores", "unknown_token_id"))
            has_prefix = metadata.get(f"{PREFIX}add_space_prefix", True) is True
            library = library_of_pieces(tokens, types, scores, unknown, has_prefix=has_prefix, place=place)
        else:
            library = Library.from_str(json.dumps(_byte_level(metadata, tokens, types, place)))
        set_frame(library, *_frame(metadata, tokens, model))
    except (CutawayError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library raises nothing narrower, and its panics are no Exception
        raise CutawayError(f"{place}: its tokenizer is broken ({str(error)[:SHOWN]}).") from error
    if library.get_vocab_size() == 0 or any(
        kind == CONTROL and not token for token, kind in zip(tokens, types, strict=True)
    ):
        raise CutawayError(f"{place}: its tokenizer is broken (a token is empty, or there is none).")
    return Tokenizer(library, _roles(metadata, tokens, types))


def tokenizer_metadata(tokenizer: Tokenizer | None, config: ModelConfig) -> dict[str, Any]:
    """The keys that say what a tokenizer does. Raises CutawayError for one that llama.cpp cannot follow.

    Ids of the model for which the tokenizer has no token get unused ones: llama.cpp wants a token for every id.
    """
    if tokenizer is None:
        return {f"{PREFIX}model": NOTHING[0], **_role_keys(config, SpecialRoles())}
    if tokenizer.vocab_size > config.vocab_size:
        raise CutawayError(
            f"The tokenizer has {tokenizer.vocab_size:,} ids and the model {config.vocab_size:,}: they do not belong together."
        )
    state = json.loads(tokenizer.to_json())
    begins, ends = has_frame(state)
    model, added = state["model"], state["added_tokens"]
    vocabulary_keys = _written_bytes(tokenizer, state) if tokenizer.is_byte_level else _written_pieces(tokenizer, state)
    tokens = [f"[PAD{token_id}]" for token_id in range(config.vocab_size)]
    types, scores = [UNUSED] * config.vocab_size, [0.0] * config.vocab_size
    of_model, of_scores = vocabulary_keys.types, vocabulary_keys.scores
    named = [(token, token_id, of_model.get(token, NORMAL)) for token, token_id in model["vocab"].items()]
    beside = [(each["content"], each["id"], CONTROL if each["special"] else USER) for each in added]
    for token, token_id, kind in [*named, *beside]:
        if types[token_id] != UNKNOWN:
            tokens[token_id], types[token_id], scores[token_id] = token, kind, of_scores.get(token, 0.0)
    return {
        **vocabulary_keys.keys,
        f"{PREFIX}tokens": tokens,
        f"{PREFIX}token_type": types,
        **({f"{PREFIX}scores": scores} if of_scores else {}),
        **_role_keys(config, tokenizer.roles),
        f"{PREFIX}add_bos_token": begins,
        f"{PREFIX}add_eos_token": ends,
    }


@dataclass(frozen=True)
class _Written:
    """The keys of a kind of tokenizer, and type and score of those of its tokens that are not usual ones."""

    keys: dict[str, Any]
    types: Mapping[str, int] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)


def _written_bytes(tokenizer: Tokenizer, state: State) -> _Written:
    """Of byte-level BPE: the merges, and the name of the rule by which text is cut."""
    model = state["model"]
    if tokenizer.kind != "bpe" or not model["merges"]:
        raise _refusal(tokenizer)
    cut = cut_of(state["pre_tokenizer"], state["normalizer"], ignores_merges=bool(model.get("ignore_merges")))
    if cut is None:
        raise CutawayError(
            "llama.cpp has no rule that cuts text as this tokenizer does, so it would read other ids. Save the model as a "
            "checkpoint directory."
        )
    merges = [" ".join(pair) for pair in model["merges"]]
    return _Written({f"{PREFIX}model": BYTE_LEVEL, f"{PREFIX}pre": cut.names[0], f"{PREFIX}merges": merges})


def _written_pieces(tokenizer: Tokenizer, state: State) -> _Written:
    """Of a SentencePiece vocabulary whose pieces merge: their scores."""
    model = state["model"]
    is_alike = model["type"] == "BPE" and model["byte_fallback"] and model["unk_token"] is not None
    has_prefix = has_space_prefix(state) if is_alike else None
    found = scored(state) if has_prefix is not None else None
    if found is None:
        raise _refusal(tokenizer)
    keys = {f"{PREFIX}model": PIECES, f"{PREFIX}pre": "default", f"{PREFIX}add_space_prefix": has_prefix}
    return _Written(keys, *found)


def _refusal(tokenizer: Tokenizer) -> CutawayError:
    return CutawayError(
        f"A tokenizer of the kind '{tokenizer.kind}' like this cannot be written into a .gguf file: llama.cpp has none like it. "
        "Byte-level BPE can, and SentencePiece's BPE; save the model as a checkpoint directory."
    )


def _role_keys(config: ModelConfig, roles: SpecialRoles) -> dict[str, int]:
    """The ids with a role: where the model has one, its own."""
    of_model = {role: getattr(config.tokens, role) for role in ("bos", "eos", "pad", "mask")}
    ids = {**roles.named(), **{role: token_id for role, token_id in of_model.items() if token_id is not None}}
    return {f"{PREFIX}{key}": ids[role] for role, key in ROLES.items() if role in ids}


def _byte_level(metadata: Mapping[str, Value], tokens: Sequence[str], types: Sequence[int], place: Path) -> State:
    name = metadata.get(f"{PREFIX}pre", "default")
    cut = find_cut(name) if isinstance(name, str) else None
    if cut is None:
        known = ", ".join(name for cut in CUTS for name in cut.names)
        raise CutawayError(
            f"{place}: its tokenizer cuts text by the rule {str(name)[:SHOWN]!r}, which Cutaway does not have. Known: {known}."
        )
    merges = [_pair(merge, place) for merge in _texts(metadata, "merges", place)]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added_tokens(tokens, types),
        "normalizer": cut.normalizer(),
        "pre_tokenizer": cut.pre_tokenizer(),
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": cut.ignores_merges,
            "vocab": vocabulary(tokens, types, place),
            "merges": merges,
        },
    }


def vocabulary(tokens: Sequence[str], types: Sequence[int], place: Path) -> dict[str, int]:
    """Token -> id, of the model itself: without what only fills a gap, and without the added tokens at the end."""
    last = len(tokens)
    kept = [token_id for token_id, kind in enumerate(types) if not _is_filler(tokens[token_id], token_id, kind)]
    while kept and types[kept[-1]] in (CONTROL, USER) and kept[-1] == len(kept) - 1:
        last = kept.pop()
    found = {tokens[token_id]: token_id for token_id in kept if token_id < last}
    if len(found) != len(kept):
        raise CutawayError(f"{place}: its tokenizer has two tokens of one spelling.")
    return found


def added_tokens(tokens: Sequence[str], types: Sequence[int]) -> list[State]:
    """The tokens that are found in a text before anything is cut: control tokens, and the vocabulary's own."""
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return [
        {"id": token_id, "content": tokens[token_id], **plain, "special": kind != USER}
        for token_id, kind in enumerate(types)
        if kind in (CONTROL, USER, UNKNOWN)
    ]


def _is_filler(token: str, token_id: int, kind: int) -> bool:
    return kind == UNUSED and token == f"[PAD{token_id}]"


def _frame(metadata: Mapping[str, Value], tokens: Sequence[str], model: Value) -> tuple[str | None, str | None]:
    """The tokens before and after every text. Where no key says it, as llama.cpp does by the kind and rule of the tokenizer."""
    cut = find_cut(str(metadata.get(f"{PREFIX}pre")))
    usual = {"bos": model == PIECES or (cut is not None and cut.adds_bos), "eos": False}
    found: list[str | None] = []
    for role, is_usual in usual.items():
        token_id = metadata.get(f"{PREFIX}{ROLES[role]}")
        is_there = type(token_id) is int and 0 <= token_id < len(tokens)
        is_asked = metadata.get(f"{PREFIX}add_{role}_token", is_usual) is True
        found.append(tokens[token_id] if type(token_id) is int and is_there and is_asked else None)
    return found[0], found[1]


def _texts(metadata: Mapping[str, Value], key: str, place: Path) -> list[str]:
    found = metadata.get(f"{PREFIX}{key}")
    if not isinstance(found, list):
        raise CutawayError(f"{place}: its tokenizer has no list of {key} ({PREFIX}{key}).")
    return found


def _types(metadata: Mapping[str, Value], count: int) -> list[int]:
    """The type of every token; all are normal where the file does not say it."""
    found = metadata.get(f"{PREFIX}token_type")
    is_sound = isinstance(found, np.ndarray) and found.dtype.kind in "iu" and len(found) == count
    return found.tolist() if isinstance(found, np.ndarray) and is_sound else [NORMAL] * count


def _pair(merge: str, place: Path) -> tuple[str, str]:
    """A merge, written with a space between its halves; the first half may itself be a space in foreign vocabularies."""
    border = merge.find(" ", 1)
    if border < 0:
        raise CutawayError(f"{place}: its tokenizer has a merge {merge[:SHOWN]!r}, which is no pair.")
    return merge[:border], merge[border + 1 :]


def _roles(metadata: Mapping[str, Value], tokens: Sequence[str], types: Sequence[int]) -> SpecialRoles:
    """The roles that keys name, and of our own control tokens those that their spelling names."""
    control = {tokens[token_id]: token_id for token_id, kind in enumerate(types) if kind == CONTROL}
    planned = SpecialPlan(num_spares=len(control))
    spelled = {role: control.get(token) for role, token in planned.spellings().items() if f"{role}" not in ROLES}
    keyed = {role: metadata.get(f"{PREFIX}{key}") for role, key in ROLES.items()}
    known = {role: value for role, value in keyed.items() if type(value) is int and 0 <= value < len(tokens)}
    spares = tuple(control[token] for token in planned.spares() if token in control)
    return SpecialRoles(**spelled, **known, spares=spares)
