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
from .figures import Bars, Table
from .lesson import Check, Entry, Finding, Shown
from .live import cosine_bars, need_words, some_tokens, words_of
from .settings import Setting, Settings, text, whole

SEED, MOST_ASKED = 0, 1024


def settings(lm: LM) -> tuple[Setting, ...]:  # noqa: ARG001 (the same for every model)
    """A text, and what is added to its ids."""
    return (
        text("text", "Text", "The crocodile unlocked the teapot."),
        whole("shift", "Add to every id", 1, -3, 3),
    )


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
            _table(words, ids, moved, shift, [token.bytes for token in tokens]),
            _bars(beside, strangers, nearest, shift),
        ),
        findings=(
            Finding(label="Tokens in the list", value=f"{tokenizer.vocab_size:,}"),
            Finding(label="Characters for each token, here", value=number(len(said) / max(1, len(ids)))),
            Finding(label="Put together again", value=f"“{back}”"),
        ),
        wrong=_check(said, back, beside, (strangers + nearest) / 2),
        fair="The bars compare directions only, so long rows count no more than short ones; strangers are pairs of "
        f"words drawn at random with seed {SEED}.",
    )


def _check(said: str, back: str, beside: float, halfway: float) -> Check:
    """beside: the mean cosine of tokens with neighbouring ids; halfway: from that of strangers to that of the nearest."""
    found = ["the same text" if back == said else f"“{back}”", f"a cosine of {number(beside)}"]
    return Check(
        claim="The tokens, put together, give another text; or tokens with neighbouring numbers are alike.",
        threshold=f"one character that differs; a cosine of {number(halfway)} or more, halfway from strangers to the nearest",
        found=" and ".join(found),
        holds=back == said and beside < halfway,
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


def _table(words: Words, ids: list[int], moved: list[int], shift: int, tokens_bytes: list[bytes]) -> Table:
    rows = zip(ids, tokens_bytes, moved, strict=True)
    return Table(
        title="The tokens of the text",
        caption="A space is drawn as a small open box. At the right the shifted ids, which stop at the ends of the list.",
        source="tokenizer",
        heads=("token", ">id", "bytes", f">id {shift:+d}".replace("-", "−"), "is the token"),
        rows=tuple((words.text(i), str(i), data.hex(" "), str(other), words.text(other)) for i, data, other in rows),
    )


def _bars(beside: float, strangers: float, nearest: float, shift: int) -> Bars:
    values = {f"ids {abs(shift or 1)} apart": beside, "strangers": strangers, "nearest": nearest}
    return cosine_bars(
        "How alike are two tokens?",
        "The mean cosine of their rows in the table of vectors: 1 is the same direction, 0 a right angle. If "
        "ids were amounts, neighbours would be far more alike than strangers.",
        values.items(),
    )


ENTRY = Entry(
    name="token",
    title="What is a token?",
    line="a piece of text with a number, and why the number is only a name",
    check=need_words,
    settings=settings,
    show=show,
)
