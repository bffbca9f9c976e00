"""How a text became tokens. In: a tokenizer and a text. Out: its pieces, their merges in order, the tokens of each.

For byte-level BPE (Sennrich et al. 2016): the text is cut into pieces, each piece into the bytes of its UTF-8, and merges
join neighbours, the lowest rank first. The other kinds have one rule each, which is named. Everything shown is in the form
of `visible`; offsets count characters of the text, and a token that is part of a character spans that character.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from ..errors import CutawayError
from .alphabet import unspelled
from .merges import MergeStep, merge_steps
from .tokenizer import Tokenizer
from .visible import visible

_RULES: Final = {
    "character": "Every character is one token.",
    "word": "Every word is one token, and so is every character between words: white space and punctuation.",
    "byte": "Every byte of the text's UTF-8 is one token; its id is the byte.",
    "bpe": "The text is cut into pieces, each piece into bytes; then neighbours merge, the pair of the lowest rank (the one "
    "that was learned earliest) first.",
}
_ADDED_RULE: Final = "This token is found in the text before the rest is cut into pieces."
_UNKNOWN_RULE: Final = "The vocabulary does not hold the piece: it becomes the unk token."
_WHOLE_RULE: Final = "The vocabulary holds the whole piece."
# Merging is shown step by step with all symbols, which takes memory by the square of a piece's length.
_MAX_PIECE_LENGTH: Final = 2048


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExplainedMerge:
    """One merge: its rank, the two neighbours, what they became, and all symbols of the piece after it."""

    rank: int
    pair: tuple[str, str]
    result: str
    symbols: tuple[str, ...]


Merging = tuple[tuple[str, ...], tuple[ExplainedMerge, ...]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExplainedToken:
    """One token: its id, what a person sees, its bytes, and the characters [start, end) of the text that it covers."""

    id: int
    text: str
    bytes: bytes
    start: int
    end: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExplainedPiece:
    """One piece: the characters [start, end) of the text, the rule that made its tokens, and every step of the rule.

    symbols: what the merges start from, empty where nothing merges.
    """

    text: str
    start: int
    end: int
    rule: str
    symbols: tuple[str, ...]
    merges: tuple[ExplainedMerge, ...]
    tokens: tuple[ExplainedToken, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Explanation:
    """How `text` became tokens with a tokenizer of `kind`: the rule of the kind and the pieces in order."""

    text: str
    kind: str
    rule: str
    pieces: tuple[ExplainedPiece, ...]

    @property
    def tokens(self) -> tuple[ExplainedToken, ...]:
        """The tokens of all pieces, in order."""
        return tuple(token for piece in self.pieces for token in piece.tokens)

    def as_dict(self) -> dict[str, Any]:
        """The same as nested mappings and lists for JSON; bytes as hexadecimal."""
        return dataclasses.asdict(self, dict_factory=_jsonable)


def explain(tokenizer: Tokenizer, text: str, specials: bool = False) -> Explanation:
    """Say how `tokenizer.encode(text, specials)` comes to its ids.

    Raises CutawayError as `encode` does, and for a piece of more than 2048 bytes without a border (BPE only).
    """
    encoding = tokenizer.encoding(text, specials)
    seen = {token_id: tokenizer.token_bytes(token_id) for token_id in set(encoding.ids)}
    texts = {token_id: visible(data) for token_id, data in seen.items()}
    tokens = [
        ExplainedToken(id=token_id, text=texts[token_id], bytes=seen[token_id], start=start, end=end)
        for token_id, (start, end) in zip(encoding.ids, encoding.offsets, strict=True)
    ]
    rule = _RULES.get(
        tokenizer.kind, f"The rule of the library's {tokenizer.kind} model, which is not taken apart here."
    )
    of_pieces = groupby(zip(encoding.word_ids, tokens, encoding.tokens, strict=True), key=itemgetter(0))
    merging = cache(partial(_merging, tokenizer))  # most pieces of a long text come again and again
    pieces = tuple(_piece(tokenizer, merging, text, rule, list(members)) for _, members in of_pieces)
    return Explanation(text=text, kind=tokenizer.kind, rule=rule, pieces=pieces)


def _piece(
    tokenizer: Tokenizer,
    merging: Callable[[tuple[str, ...]], Merging],
    text: str,
    rule: str,
    members: Sequence[tuple[int | None, ExplainedToken, str]],
) -> ExplainedPiece:
    """merging: `_merging` of the tokenizer. members: the piece's number, a token and its spelling, for each token of it."""
    tokens = tuple(token for _, token, _ in members)
    start, end = min(token.start for token in tokens), max(token.end for token in tokens)
    symbols: tuple[str, ...] = ()
    merges: tuple[ExplainedMerge, ...] = ()
    if len(tokens) == 1 and tokenizer.is_added(tokens[0].id):
        is_unknown = tokens[0].id == tokenizer.roles.unk and tokens[0].bytes != text[start:end].encode()
        rule = _UNKNOWN_RULE if is_unknown else _ADDED_RULE
    elif tokenizer.kind == "bpe":
        symbols, merges = merging(tuple(spelling for _, _, spelling in members))
        rule = rule if symbols else _WHOLE_RULE
    return ExplainedPiece(
        text=text[start:end], start=start, end=end, rule=rule, symbols=symbols, merges=merges, tokens=tokens
    )


def _merging(tokenizer: Tokenizer, spellings: tuple[str, ...]) -> Merging:
    """The starting symbols of a piece and its merges; neither where the model takes a known piece whole (Llama 3)."""
    symbols = "".join(spellings)
    if len(symbols) > _MAX_PIECE_LENGTH:
        raise CutawayError(
            f"A piece of the text has {len(symbols):,} bytes without a border; its merges are explained up to "
            f"{_MAX_PIECE_LENGTH:,}. Explain a shorter part of the text."
        )
    steps = list(merge_steps(symbols, tokenizer.merge_ranks))
    if (steps[-1].symbols if steps else tuple(symbols)) != spellings:
        assert len(spellings) == 1, f"the merges explained and the library's disagree about {symbols!r}"
        return (), ()
    return _seen(symbols), tuple(_merge(step) for step in steps)


def _merge(step: MergeStep) -> ExplainedMerge:
    left, right, result = _seen([*step.pair, "".join(step.pair)])
    return ExplainedMerge(rank=step.rank, pair=(left, right), result=result, symbols=_seen(step.symbols))


def _seen(spellings: Iterable[str]) -> tuple[str, ...]:
    return tuple(visible(unspelled(spelling)) for spelling in spellings)


def _jsonable(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in items}
