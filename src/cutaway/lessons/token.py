"""What a token is, and why it is discrete. In: a text. Out: its tokens, and what their numbers are not.

A text is cut into pieces of a fixed list; a piece's number is its place in that list (Sennrich et al. 2016 for how the list is
made). Numbers are names: that two are neighbours says nothing, and between two of them there is none.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import CutawayError
from ..lens.numerals import count, number
from ..lens.tokens import tokens_of
from ..lens.words import Words
from ..lm import LM
from ..text import Tokenizer
from .figures import Bar, Bars, Table
from .lesson import Check, Entry, Finding, Shown
from .live import some_tokens, words_of
from .settings import Setting, Settings, text, whole

SEED, MOST_ASKED = 0, 1024


def settings(lm: LM) -> tuple[Setting, ...]:  # noqa: ARG001 (the same for every model)
    """A text, and what is added to its ids."""
    return (
        text("text", "Text", "The crocodile unlocked the teapot."),
        whole("shift", "Add to every id", 1, -3, 3),
    )


def check(lm: LM) -> None:
    """Raises CutawayError for a model without a tokenizer."""
    _ = lm.tokenizer


def show(lm: LM, given: Settings) -> Shown:
    """Cut the text, put it together again, and read the ids shifted."""
    said, shift = given.text("text"), given.whole("shift")
    some_tokens(lm, said)
    tokenizer, words = lm.tokenizer, words_of(lm)
    rule, tokens = tokens_of(tokenizer, said)
    tokens = tokens[len(tokenizer.frame[0]) :]
    ids = [token.id for token in tokens]
    back = together(tokenizer, ids)
    moved = [min(max(i + shift, 0), tokenizer.vocab_size - 1) for i in ids]
    beside, strangers, nearest = closeness(lm.model.token.weight, words, shift)
    return Shown(
        text=(
            f"A model does not read letters. It reads tokens: pieces of text from a list of {tokenizer.vocab_size:,}. "
            f"{rule} This text of {count(len(said), 'character')} is {count(len(tokens), 'token')}.",
            "A token is discrete: it is one of the list or another, and there is nothing in between. Its id is a "
            "name and not an amount. The same ids, each "
            f"{'unchanged' if not shift else f'{shift:+d}'.replace('-', '−')}, read: “{tokenizer.decode(moved)}”.",
        ),
        figures=(
            _table(words, ids, moved, tokens_bytes=[token.bytes for token in tokens]),
            _bars(beside, strangers, nearest, shift),
        ),
        findings=(
            Finding(label="Tokens in the list", value=f"{tokenizer.vocab_size:,}"),
            Finding(label="Characters for each token, here", value=number(len(said) / max(1, len(ids)))),
            Finding(label="Put together again", value=f"“{back}”"),
        ),
        wrong=Check(
            claim="The tokens, put together, give another text.",
            threshold="a single character",
            found="the same text" if back == said else f"“{back}”",
            holds=back == said,
        ),
        fair="The bars compare directions only, so long rows count no more than short ones; strangers are pairs of "
        f"words drawn at random with seed {SEED}.",
    )


def together(tokenizer: Tokenizer, ids: list[int]) -> str:
    """The text of the ids."""
    return tokenizer.decode(ids)


def closeness(table: Tensor, words: Words, shift: int) -> tuple[float, float, float]:
    """The mean cosine of two words' rows: `shift` ids apart, drawn at random, and of each word and the nearest other.

    table: [vocab, d_model]. A shift of 0 is taken as 1. The nearest is looked for of MOST_ASKED words drawn at random.
    """
    rows = F.normalize(table.detach()[words.are_words()].float(), dim=-1)
    if len(rows) < 4:
        raise CutawayError(f"This model has {count(len(rows), 'word')}. Take --model stories.")
    drawn = torch.randperm(len(rows), generator=torch.Generator().manual_seed(SEED))
    others, asked = rows[drawn], drawn[:MOST_ASKED]
    cosines = rows[asked] @ rows.T
    cosines[torch.arange(len(asked)), asked] = -1
    beside = rows.roll(-(shift or 1), dims=0)
    return float((rows * beside).sum(1).mean()), float((rows * others).sum(1).mean()), float(cosines.amax(1).mean())


def _table(words: Words, ids: list[int], moved: list[int], tokens_bytes: list[bytes]) -> Table:
    rows = zip(ids, tokens_bytes, moved, strict=True)
    return Table(
        title="The tokens of the text",
        caption="A space is drawn as a small open box.",
        source="tokenizer",
        heads=("token", ">id", "bytes", ">id there", "and what it is"),
        rows=tuple((words.text(i), str(i), data.hex(" "), str(other), words.text(other)) for i, data, other in rows),
    )


def _bars(beside: float, strangers: float, nearest: float, shift: int) -> Bars:
    values = {f"ids {abs(shift or 1)} apart": beside, "strangers": strangers, "nearest": nearest}
    return Bars(
        title="How alike are two tokens?",
        caption="The mean cosine of their rows in the table of vectors: 1 is the same direction, 0 a right angle. If "
        "ids were amounts, neighbours would be far more alike than strangers.",
        source="embedding.token",
        rows=tuple(Bar(label=name, value=value, text=number(value), role="learned") for name, value in values.items()),
        scale=1.0,
    )


ENTRY = Entry(
    name="token",
    title="What is a token?",
    line="a piece of text with a number, and why the number is only a name",
    check=check,
    settings=settings,
    show=show,
)
