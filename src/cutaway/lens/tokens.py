"""A text as tokens, with the joins that made each. In: a tokenizer and a text. Out: its tokens in order.

`text.explain` tells the merges of a piece (Sennrich et al. 2016); a piece may end as several tokens, so every merge is given
here to the token that it became part of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..text import Tokenizer, explain
from ..text.explain import ExplainedMerge, ExplainedPiece


@dataclass(frozen=True, kw_only=True)
class Join:
    """Two neighbours became one. rank: when training learned this join, the first is 0."""

    rank: int
    left: str
    right: str
    result: str


@dataclass(frozen=True, kw_only=True)
class WayToken:
    """One token of the prompt.

    text: what a person sees; bytes: what it stands for; start, end: the characters of the prompt that it covers. symbols:
    what its joins start from, in order, empty where nothing was joined; piece: the number of the piece that it is part of.
    """

    index: int
    id: int
    text: str
    bytes: bytes
    start: int
    end: int
    piece: int
    symbols: tuple[str, ...]
    joins: tuple[Join, ...]


def tokens_of(tokenizer: Tokenizer, prompt: str) -> tuple[str, tuple[WayToken, ...]]:
    """The rule of the tokenizer's kind in one sentence, and the tokens that the model reads. Raises as `text.explain` does.

    What the tokenizer begins every text with (bos, say) comes first, and covers no character of the prompt.
    """
    explained = explain(tokenizer, prompt)
    found = [_beginning(tokenizer, index, token_id) for index, token_id in enumerate(tokenizer.frame[0])]
    for number, piece in enumerate(explained.pieces, start=len(found)):
        for token, (symbols, joins) in zip(piece.tokens, _shared_out(piece), strict=True):
            found.append(
                WayToken(
                    index=len(found),
                    id=token.id,
                    text=token.text,
                    bytes=token.bytes,
                    start=token.start,
                    end=token.end,
                    piece=number,
                    symbols=symbols,
                    joins=joins,
                )
            )
    return explained.rule, tuple(found)


def _beginning(tokenizer: Tokenizer, index: int, token_id: int) -> WayToken:
    return WayToken(
        index=index,
        id=token_id,
        text=tokenizer.token_text(token_id),
        bytes=b"",
        start=0,
        end=0,
        piece=index,
        symbols=(),
        joins=(),
    )


def _shared_out(piece: ExplainedPiece) -> list[tuple[tuple[str, ...], tuple[Join, ...]]]:
    """The first symbols and the joins of each token of the piece."""
    if not piece.symbols:
        return [((), ()) for _ in piece.tokens]
    spans: list[tuple[int, int]] = [(i, i + 1) for i in range(len(piece.symbols))]
    joins: list[tuple[int, Join]] = []
    for at, merge in _places(piece.symbols, piece.merges):
        spans[at : at + 2] = [(spans[at][0], spans[at + 1][1])]
        joins.append(
            (spans[at][0], Join(rank=merge.rank, left=merge.pair[0], right=merge.pair[1], result=merge.result))
        )
    assert len(spans) == len(piece.tokens), "what is left when no merge applies is the tokens"
    return [
        (piece.symbols[start:end], tuple(join for first, join in joins if start <= first < end)) for start, end in spans
    ]


def _places(symbols: Sequence[str], merges: Sequence[ExplainedMerge]) -> Iterator[tuple[int, ExplainedMerge]]:
    """Each merge with the index of its left neighbour: the first place where the symbols before and after it differ."""
    before = tuple(symbols)
    for merge in merges:
        yield next(i for i, pair in enumerate(zip(before, merge.symbols, strict=False)) if pair[0] != pair[1]), merge
        before = merge.symbols
