"""Translating many texts: the same as one by one, in their order, with alignments and a report; what cannot be read is said."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import pytest

from cutaway.config import PositionConfig, TokenIds
from cutaway.data import PairSource
from cutaway.decode import Beam, Session, hypotheses
from cutaway.errors import CutawayError
from cutaway.lens.pair import cross_attention
from cutaway.lm import LM
from cutaway.tasks.translate import Translation, align, evaluate_translations, translate, translate_lines
from cutaway.text import Tokenizer, train_tokenizer
from tests import tiny

TEXTS = ["Guten Morgen", "", "Ja", "  ", "Wie geht es dir, mein Freund?", "Wo?"]


def tokenizer() -> Tokenizer:
    """Bytes; every text ends with the end token, as a trained translator has it."""
    plain = train_tokenizer("byte", [])
    assert plain.roles.eos is not None
    return plain.framed(None, plain.spelling(plain.roles.eos))


@cache
def translator(context: int = 64) -> LM:
    """Random weights, which say something else of every source."""
    words = tokenizer()
    ids = TokenIds(bos=words.roles.bos, eos=words.roles.eos, pad=words.roles.pad, decoder_start=words.roles.bos)
    stacks = {
        name: tiny.stack(num_layers=2, position=PositionConfig(kind="sinusoidal")) for name in ("encoder", "decoder")
    }
    config = tiny.config(**stacks, vocab_size=words.vocab_size, context=context, embedding_scale=5.0, tokens=ids)
    return LM(tiny.model(config, seed=2), words, "tiny")


@pytest.mark.parametrize("num_beams", [1, 3])
def test_many_are_translated_as_one_by_one_and_empty_lines_stay_empty(num_beams: int) -> None:
    lm, beam = translator(), Beam(num_beams=num_beams)
    found = translate(lm, TEXTS, beam=beam, max_tokens=12, batch_size=2 * num_beams)
    assert [translation.source for translation in found] == TEXTS
    for text, translation in zip(TEXTS, found, strict=True):
        if not text.strip():
            assert translation == Translation(source=text, text="")
            continue
        (best,) = hypotheses(Session(lm.model, source_ids=lm.ids(text)), [], beam, max_tokens=12)
        assert translation.ids == best.ids
        assert translation.score == pytest.approx(best.score, abs=1e-5)
    assert len({translation.ids for translation in found if translation.ids}) == 4


def test_the_next_best_are_listed_by_score() -> None:
    (found,) = translate(translator(), ["Guten Morgen"], beam=Beam(num_beams=4, num_return=3), max_tokens=12)
    scores = [found.score, *(score for _, score in found.others)]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)


def test_a_long_job_is_handed_on_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cutaway.tasks.translate.PIECE", 2)
    lm, told = translator(), []
    greedy = Beam(num_beams=1)
    found = list(translate_lines(lm, TEXTS, beam=greedy, progress=told.append))
    assert told == [2, 4, 6]
    assert [translation.source for translation in found] == TEXTS


def test_a_line_that_is_too_long_is_named_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cutaway.tasks.translate.PIECE", 2)
    lm, lines = translator(), ["Ja", "Nein", "a" * 70]
    for use in (lambda: next(translate_lines(lm, lines)), lambda: translate(lm, lines)):
        with pytest.raises(CutawayError, match="Line 3 has 71 tokens, and the encoder reads at most 64"):
            use()


def test_an_alignment_links_each_token_to_where_the_model_looked() -> None:
    lm = translator()
    (translation,) = translate(lm, ["Guten Morgen"], beam=Beam(num_beams=1), max_tokens=9)
    alignment = align(lm, translation)
    ids = [token for token in translation.ids if token != lm.config.tokens.eos]
    assert len(alignment.links) == len(alignment.target_tokens) == len(ids) > 1
    assert "".join(alignment.source_tokens).replace("␣", " ") == "Guten Morgen"
    start = lm.config.tokens.decoder_start
    weights = cross_attention(lm.model, lm.ids("Guten Morgen"), [start, *ids[:-1]])  # type: ignore[list-item]
    for place, link in enumerate(alignment.links):
        assert weights[place, link] == weights[place, :-1].max()
    assert alignment.pharaoh().split()[1] == f"{alignment.links[1]}-1"
    assert align(lm, Translation(source="x", text="")).links == ()


def test_a_report_says_how_good(tmp_path: Path) -> None:
    lm = translator()
    said = translate(lm, ["Ja", "Wo?"], beam=Beam(num_beams=1))
    (tmp_path / "pairs.tsv").write_text(f"Ja\t{said[0].text or '?'}\nWo?\tsomething else\n", "utf-8")
    report = evaluate_translations(lm, PairSource(files="pairs.tsv", folder=tmp_path), beam=Beam(num_beams=1))
    assert [example.prediction for example in report.examples] == [translation.text for translation in said]
    assert {score.metric for score in report.scores} == {"bleu", "chrf"}
    assert report.best(1) == [0]


def test_a_missing_library_is_named_before_anything_is_translated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    (tmp_path / "pairs.tsv").write_text("Ja\tYes\n", "utf-8")
    done: list[int] = []
    with pytest.raises(CutawayError, match=r"need the package sacrebleu, which is not installed. Install it:  pip"):
        evaluate_translations(translator(), PairSource(files="pairs.tsv", folder=tmp_path), progress=done.append)
    assert not done


def test_a_model_without_two_stacks_does_not_translate() -> None:
    lm = LM(tiny.model(tiny.config()), tokenizer(), "one stack")
    for use in (lambda: translate(lm, ["x"]), lambda: next(translate_lines(lm, ["x"]))):
        with pytest.raises(CutawayError, match="'one stack' has no encoder with a decoder"):
            use()
