"""The tokenizer inside a file <-> ours. In: metadata, or a tokenizer. Out: the tokenizer, or the keys to write.

Byte-level BPE (`tokenizer.ggml.model` "gpt2": tokens, types, merges, and the name of a rule by which text is cut),
SentencePiece's BPE ("llama": tokens with scores; see pieces) and unigram model ("t5"; see unigram), and WordPiece ("bert"; see
words). What llama.cpp would turn into other ids is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
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
from .unigram import UNLIKELY, keys_of_unigram, library_of_unigram, rules_of, scored_pieces
from .values import SHOWN, Value
from .words import is_known, keys_of_words, library_of_vocabulary, marked, roles_of_words

PREFIX = "tokenizer.ggml."
BYTE_LEVEL, PIECES, UNIGRAM, WORDS = KINDS = ("gpt2", "llama", "t5", "bert")
NOTHING = ("none", "no_vocab")
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
    if model not in KINDS:
        raise CutawayError(
            f"{place} has a tokenizer of the kind {str(model)[:SHOWN]!r}, which Cutaway does not read. "
            f"Known: {', '.join(KINDS)}."
        )
    held = _held(metadata, place)
    roles = _roles(metadata, held.tokens, held.types)
    if model == WORDS:
        roles = roles_of_words(roles, metadata.get(f"{PREFIX}{ROLES['bos']}"), held.types)
    try:
        library = _library(str(model), held, roles, metadata, place)
    except (CutawayError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library raises nothing narrower, and its panics are no Exception
        raise CutawayError(f"{place}: its tokenizer is broken ({str(error)[:SHOWN]}).") from error
    if library.get_vocab_size() == 0 or any(
        kind == CONTROL and not token for token, kind in zip(held.tokens, held.types, strict=True)
    ):
        raise CutawayError(f"{place}: its tokenizer is broken (a token is empty, or there is none).")
    return Tokenizer(library, roles)


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
    written = _written(tokenizer, state)
    tokens = [f"[PAD{token_id}]" for token_id in range(config.vocab_size)]
    types, scores = [UNUSED] * config.vocab_size, [written.unlikely] * config.vocab_size
    named = [
        (written.spell(token), token_id, written.types.get(token, NORMAL), written.scores.get(token, 0.0))
        for token, token_id in _vocabulary_of(state)
    ]
    beside = [
        (each["content"], each["id"], CONTROL if each["special"] else USER, written.scores.get(each["content"], 0.0))
        for each in state["added_tokens"]
    ]
    for token, token_id, kind, score in [*named, *beside]:
        if types[token_id] != UNKNOWN:
            tokens[token_id], types[token_id], scores[token_id] = token, kind, score
    return {
        f"{PREFIX}tokens": tokens,
        f"{PREFIX}token_type": types,
        **({f"{PREFIX}scores": scores} if written.scores else {}),
        **(_around(tokenizer, begins=begins, ends=ends) if written.is_framed_by_roles else {}),
        **_role_keys(config, tokenizer.roles),
        f"{PREFIX}add_bos_token": begins,
        f"{PREFIX}add_eos_token": ends,
        **written.keys,
    }


@dataclass(frozen=True)
class _Written:
    """The keys of a kind of tokenizer, and type and score of those of its tokens that are not usual ones.

    unlikely: the score of an id without a token. spell: what a file calls a token of the model. is_framed_by_roles: whether what
    llama.cpp puts around a text is bos and eos.
    """

    keys: dict[str, Any]
    types: Mapping[str, int] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    unlikely: float = 0.0
    spell: Callable[[str], str] = str
    is_framed_by_roles: bool = True


def _written(tokenizer: Tokenizer, state: State) -> _Written:
    kinds = {"WordPiece": _written_words, "Unigram": _written_unigram}
    usual = _written_bytes if tokenizer.is_byte_level else _written_pieces
    return kinds.get(state["model"]["type"], usual)(tokenizer, state)


def _vocabulary_of(state: State) -> list[tuple[str, int]]:
    """Token and id of all that the model holds; a unigram model holds a list of pieces."""
    vocab = state["model"]["vocab"]
    return [(piece, i) for i, (piece, _) in enumerate(vocab)] if isinstance(vocab, list) else list(vocab.items())


def _written_words(tokenizer: Tokenizer, state: State) -> _Written:
    """Of WordPiece: how a text is cleaned."""
    roles = tokenizer.roles
    if not is_known(state):
        raise _refusal(tokenizer)
    if roles.cls is None or roles.sep is None:
        raise CutawayError(
            "llama.cpp puts cls and sep around every text that WordPiece reads, and this tokenizer has no token for them. Save "
            "the model as a checkpoint directory."
        )
    unknown = {f"{PREFIX}{ROLES['unk']}": state["model"]["vocab"][state["model"]["unk_token"]]}
    keys = {f"{PREFIX}model": WORDS, **keys_of_words(state, roles), **unknown}
    return _Written(keys, spell=marked, is_framed_by_roles=False)


def _written_unigram(tokenizer: Tokenizer, state: State) -> _Written:
    """Of SentencePiece's unigram model: its scores, and what becomes of a text beforehand."""
    rules = rules_of(state)
    if rules is None:
        raise _refusal(tokenizer)
    keys = {f"{PREFIX}model": UNIGRAM, f"{PREFIX}pre": "default", **keys_of_unigram(rules, state)}
    return _Written(keys, *scored_pieces(state), unlikely=UNLIKELY)


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
        "Byte-level BPE, SentencePiece and WordPiece can, as most models have them; save the model as a checkpoint directory."
    )


def _role_keys(config: ModelConfig, roles: SpecialRoles) -> dict[str, int]:
    """The ids with a role: where the model has one, its own."""
    of_model = {role: getattr(config.tokens, role) for role in ("bos", "eos", "pad", "mask")}
    ids = {**roles.named(), **{role: token_id for role, token_id in of_model.items() if token_id is not None}}
    return {f"{PREFIX}{key}": ids[role] for role, key in ROLES.items() if role in ids}


def _around(tokenizer: Tokenizer, *, begins: bool, ends: bool) -> dict[str, int]:
    """What stands around a text, under the roles that llama.cpp takes it for."""
    before, after = tokenizer.frame if begins or ends else ((), ())
    found = {"bos": before[:1] if begins else (), "eos": after[-1:] if ends else ()}
    return {f"{PREFIX}{ROLES[role]}": ids[0] for role, ids in found.items() if ids}


@dataclass(frozen=True)
class _Held:
    """Tokens, types and scores of a file, without those at the end that only fill it."""

    tokens: list[str]
    types: list[int]
    scores: object


def _held(metadata: Mapping[str, Value], place: Path) -> _Held:
    tokens, scores = _texts(metadata, "tokens", place), metadata.get(f"{PREFIX}scores")
    types, count = _types(metadata, len(tokens)), len(tokens)
    while count and _is_filler(tokens[count - 1], count - 1, types[count - 1]):
        count -= 1
    is_whole = isinstance(scores, np.ndarray) and len(scores) == len(tokens)
    return _Held(
        tokens[:count], types[:count], scores[:count] if isinstance(scores, np.ndarray) and is_whole else scores
    )


def _library(model: str, held: _Held, roles: SpecialRoles, metadata: Mapping[str, Value], place: Path) -> Library:
    """The tokenizer of this kind, with what it puts around a text."""
    tokens, types = held.tokens, held.types
    if model == WORDS:
        return library_of_vocabulary(tokens, types, roles, metadata, place)
    if model == UNIGRAM:
        library = library_of_unigram(tokens, types, held.scores, metadata, place)
    elif model == PIECES:
        unknown, has_prefix = (metadata.get(f"{PREFIX}{key}") for key in ("unknown_token_id", "add_space_prefix"))
        has_prefix = has_prefix is None or has_prefix is True
        library = library_of_pieces(tokens, types, held.scores, unknown, has_prefix=has_prefix, place=place)
    else:
        library = Library.from_str(json.dumps(_byte_level(metadata, tokens, types, place)))
    set_frame(library, *_frame(metadata, tokens, model))
    return library


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
    usual = {"bos": model == PIECES or (cut is not None and cut.adds_bos), "eos": model == UNIGRAM}
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
