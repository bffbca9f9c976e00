"""Text -> what the model reads of it. In: a text, a tokenizer and a limit. Out: tokens with their joins, and what was cut off.

A text of more tokens than the model reads keeps its last ones. Every token says which characters of the text it covers (code
points), so that a page can grey the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...errors import CutawayError
from ...lens.tokens import WayToken, tokens_of
from ...text import StreamDecoder, Tokenizer

LONGEST_PIECE = 2048  # tokens before the first that is read, in one piece with it; of longer ones no joins are told
MOST_TOKENS = 4096  # of any text, so that memory is bounded where positions go on without end
_MARKS = str.maketrans({"␣": " ", "↵": "\n", "⇥": "\t"})


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A text that was longer than the model reads. characters, tokens: of the whole text; kept: how many of its last tokens."""

    characters: int
    tokens: int
    kept: int


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """What is read. text: with what was added to it; rule: how this kind of tokenizer cuts text."""

    text: str
    rule: str
    tokens: tuple[WayToken, ...]
    cut: Cut | None = None

    @property
    def ids(self) -> list[int]:
        """The ids, in order."""
        return [token.id for token in self.tokens]


def read(
    tokenizer: Tokenizer,
    text: str,
    limit: int,
    *,
    before: Sequence[int] = (),
    after: Sequence[int] = (),
    more: Sequence[int] = (),
) -> Encoded:
    """The tokens of a text.

    limit: the most tokens, those around the text included. before, after: ids that stand around it; more: ids right behind it.
    Raises CutawayError for a text that the tokenizer cannot encode, and where `more` alone does not fit.
    """
    room = limit - len(before) - len(after) - len(more)
    if room < 0:
        raise CutawayError(f"{len(more):,} more tokens do not fit: the model reads {limit:,}. Keep fewer.")
    rule, tokens, num_tokens = _last(tokenizer, text, room)
    added, whole = _added(tokenizer, text, more)
    first, last = (_framing(tokenizer, ids, place) for ids, place in ((before, 0), (after, len(whole))))
    found = [*first, *tokens, *added, *last]
    cut = None
    if len(tokens) < num_tokens:
        cut = Cut(characters=len(text), tokens=num_tokens, kept=len(tokens))
    placed = tuple(t if t.index == index else replace(t, index=index) for index, t in enumerate(found))
    return Encoded(text=whole, rule=rule, tokens=placed, cut=cut)


def shown(data: bytes) -> str | None:
    """Bytes as text, spaces and newlines as they are; None for what is only part of a character."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def unmarked(text: str) -> str:
    """What `text.visible` drew, with spaces, newlines and tabs as they are again."""
    return text.translate(_MARKS)


def _last(tokenizer: Tokenizer, text: str, room: int) -> tuple[str, list[WayToken], int]:
    """The rule, the last tokens that there is room for, and how many the whole text has."""
    encoding = tokenizer.encoding(text)
    ids, spans, pieces = encoding.ids, encoding.offsets, encoding.word_ids
    first = max(0, len(ids) - room)
    begin = first  # moved to where its piece begins, since joins are told piece by piece
    while 0 < begin < len(ids) and pieces[begin] == pieces[begin - 1]:
        begin -= 1
    start = spans[begin][0] if begin < len(ids) else len(text)
    is_far = first - begin > LONGEST_PIECE
    rule, tokens = _explained(tokenizer, "" if is_far else text[start:])
    if [token.id for token in tokens] == ids[begin:]:
        moved = list(tokens[first - begin :])
        if start:
            moved = [replace(token, start=token.start + start, end=token.end + start) for token in moved]
    else:
        moved = [_bare(tokenizer, ids[place], *spans[place]) for place in range(first, len(ids))]
    return rule, moved, len(ids)


def _explained(tokenizer: Tokenizer, text: str) -> tuple[str, tuple[WayToken, ...]]:
    """The rule and the tokens with their joins; no tokens where a piece is too long to be taken apart."""
    try:
        rule, tokens = tokens_of(tokenizer, text)
    except CutawayError:
        return tokens_of(tokenizer, "")[0], ()
    return rule, tokens[len(tokenizer.frame[0]) :]


def _added(tokenizer: Tokenizer, text: str, more: Sequence[int]) -> tuple[list[WayToken], str]:
    """The tokens of further ids, and the text with theirs behind it."""
    decoder, found = StreamDecoder(tokenizer), []
    for token_id in more:
        start = len(text)
        text += decoder.push(token_id)
        found.append(_bare(tokenizer, token_id, start, len(text)))
    return found, text + decoder.finish()


def _framing(tokenizer: Tokenizer, ids: Sequence[int], place: int) -> list[WayToken]:
    """What stands around a text covers no character of it."""
    return [replace(_bare(tokenizer, token_id, place, place), bytes=b"") for token_id in ids]


def _bare(tokenizer: Tokenizer, token_id: int, start: int, end: int) -> WayToken:
    return WayToken(
        index=0,
        id=token_id,
        text=tokenizer.token_text(token_id),
        bytes=tokenizer.token_bytes(token_id),
        start=start,
        end=end,
        piece=0,
        symbols=(),
        joins=(),
    )
