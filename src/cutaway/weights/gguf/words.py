"""A WordPiece vocabulary in a GGUF file <-> a tokenizer. In: tokens and types, or a tokenizer. Out: the other one.

llama.cpp puts ▁ before every word and takes the longest token, again and again; what continues a word has no mark of its own
(src/llama-vocab.cpp, llm_tokenizer_wpm). It always cleans the text, cuts at Chinese characters, and puts cls and sep around it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as Library

from ...errors import CutawayError
from ...text import SpecialRoles
from ...text.formats.wordpiece import CONTINUES, library_of_words
from ...text.frame import set_frame
from .values import Value

BEGINS = "▁"
CONTROL = 3
LOWERCASES, STRIPS = "tokenizer.ggml.normalizer.lowercase", "tokenizer.ggml.normalizer.strip_accents"
PLAIN = {"clean_text": True, "handle_chinese_chars": True}
USUAL = {"cls": 101, "unk": 100, "sep": 102, "pad": 0, "mask": 103}  # where a file is silent, as in llama.cpp
State = Mapping[str, Any]


def library_of_vocabulary(
    tokens: Sequence[str], types: Sequence[int], roles: SpecialRoles, metadata: Mapping[str, Value], place: Path
) -> Library:
    """The tokenizer. roles: of its ids. Raises CutawayError for a vocabulary of which none can be made."""
    vocabulary = {
        unmarked(token, kind): token_id for token_id, (token, kind) in enumerate(zip(tokens, types, strict=True))
    }
    if len(vocabulary) != len(tokens):
        raise CutawayError(f"{place}: its tokenizer has two tokens of one spelling.")
    if roles.unk is None:
        raise CutawayError(f"{place}: its tokenizer has no token for unknown words.")
    lowercases = metadata.get(LOWERCASES, True) is True
    strips = metadata.get(STRIPS, lowercases) is True
    library = library_of_words(
        vocabulary,
        unmarked(tokens[roles.unk], types[roles.unk]),
        lowercases=lowercases,
        strips_accents=None if strips == lowercases else strips,
    )
    specials = (token for token, kind in zip(tokens, types, strict=True) if kind == CONTROL)
    library.add_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    around = (None if token_id is None else tokens[token_id] for token_id in (roles.cls, roles.sep))
    set_frame(library, *around)
    return library


def roles_of_words(roles: SpecialRoles, first: Value | None, types: Sequence[int]) -> SpecialRoles:
    """The roles, with those that llama.cpp has where a file is silent. first: the id that begins a text, where it is said."""
    said = {**({"cls": first} if type(first) is int and first < len(types) else {}), **roles.named()}
    usual = {role: i for role, i in USUAL.items() if i < len(types) and types[i] == CONTROL}
    found = {**usual, **said}
    if found.get("bos") == found.get("cls"):  # the same key
        found.pop("bos", None)
    return SpecialRoles(**found, spares=roles.spares)


def is_known(state: State) -> bool:
    """Whether llama.cpp reads the ids of this tokenizer.json."""
    model, normalizer, cuts = state["model"], state["normalizer"] or {}, state["pre_tokenizer"] or {}
    added = {token["content"] for token in state["added_tokens"]}
    return (
        model["type"] == "WordPiece"
        and model["continuing_subword_prefix"] == CONTINUES
        and normalizer.get("type") == "BertNormalizer"
        and normalizer.items() >= PLAIN.items()
        and cuts.get("type") == "BertPreTokenizer"
        and all(token["special"] for token in state["added_tokens"])
        and model["unk_token"] in added
    )


def keys_of_words(state: State, roles: SpecialRoles) -> dict[str, Any]:
    """What a file says of such a tokenizer, beside its tokens."""
    normalizer = state["normalizer"]
    lowercases, strips = normalizer["lowercase"], normalizer["strip_accents"]
    return {
        LOWERCASES: lowercases,
        STRIPS: lowercases if strips is None else strips,
        "tokenizer.ggml.bos_token_id": roles.cls,
    }


def marked(token: str) -> str:
    """A token of a vocabulary as a file spells it; what would be nothing, or look as if it began a word, is no text's token."""
    rest = token.removeprefix(CONTINUES)
    return rest if rest != token and rest and not rest.startswith(BEGINS) else BEGINS + token


def unmarked(token: str, kind: int) -> str:
    """And back."""
    if kind == CONTROL:
        return token
    return token[len(BEGINS) :] if token.startswith(BEGINS) else CONTINUES + token
