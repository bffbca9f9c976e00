"""The text half of the lesson on diffusion: passes as they were, the same text as token by token, and who writes it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cutaway.config import TokenIds
from cutaway.decode import Drafting, Sampling, Way
from cutaway.lessons import drafts
from cutaway.lessons.drafts import Drafted, Pass
from cutaway.lessons.figures import Bars, Table
from cutaway.lm import LM
from tests import tiny
from tests.text.samples import trained

PROMPT, LENGTH = "the cat", 12


def hybrid() -> LM:
    """One that was not trained, whose drafts stand now and then."""
    tokenizer = trained("bpe")
    config = tiny.config(
        vocab_size=tokenizer.vocab_size,
        predicts="hybrid_next",
        block_size=4,
        context=96,
        tokens=TokenIds(mask=2),
        embedding_scale=5.0,
    )
    return LM(tiny.model(config, seed=4), tokenizer, "a hybrid")


def test_passes_are_those_of_the_decoder() -> None:
    lm = hybrid()
    found = drafts.drafted(lm, PROMPT, LENGTH)
    way = Way(decoder="hybrid", drafting=Drafting(passes="one"))
    pieces = list(lm.stream(PROMPT, max_tokens=LENGTH, sampling=Sampling(temperature=0), way=way))
    assert len(found.passes) == lm.figures.num_passes
    assert "".join(piece.text for piece in pieces) == lm.tokenizer.decode(list(found.ids))
    rebuilt = [token for each in found.passes for token in (*each.drafts[: each.stood], each.said) if token is not None]
    assert tuple(rebuilt) == found.ids == found.plain
    assert sum(each.num_tokens for each in found.passes) == LENGTH
    assert "the same text" in drafts.said(found)
    assert "another text" in drafts.said(replace(found, plain=(1,)))


def test_a_draft_stands_with_all_before_it() -> None:
    passes = (Pass([], 0, 5), Pass([1, 2, 3], 2, 4), Pass([1, 2], 0, 6), Pass([7], 1, None))
    found = Drafted(lm=hybrid(), prompt=PROMPT, passes=passes, ids=(5, 1, 2, 4, 6, 7), plain=())
    assert [found.stood_at(distance) for distance in range(3)] == [2 / 3, 1 / 2, 0]
    assert found.tokens_per_pass == 6 / 4
    table, bars = drafts.figures(found)
    assert isinstance(table, Table)
    assert isinstance(bars, Bars)
    assert [row[0] for row in table.rows] == ["1", "2", "3", "4"]
    assert [(row[1] == "–", row[2] == "–", row[3] == "–") for row in table.rows] == [
        (True, True, False), (False, False, False), (True, False, False), (False, True, True),
    ]  # fmt: skip
    assert [bar.text for bar in bars.rows] == ["67 %", "50 %", "0 %"]


def test_who_drafts(stories: LM, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = hybrid()
    assert drafts.drafter(lm) is lm
    asked: list[str] = []
    monkeypatch.setattr(drafts, "load", lambda name: asked.append(name) or lm)
    assert drafts.drafter(stories) is lm
    assert asked == [drafts.BUNDLED]


def test_the_bundled_hybrid_drafts_more_than_one_token_a_pass(stories: LM) -> None:
    found = drafts.drafted(drafts.drafter(stories), "Once upon a time", 40)
    assert found.lm.name == drafts.BUNDLED
    assert found.ids == found.plain
    assert found.tokens_per_pass > 1.5
    assert found.stood_at(0) > found.stood_at(4)
