"""Answers: spans against every span of every window tried out, probabilities that add up, texts that are written, one message."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from cutaway.config import ModelConfig
from cutaway.data import FORM, Question
from cutaway.errors import CutawayError
from cutaway.lm import LM, load
from cutaway.model import Call, visibility
from cutaway.tasks.answer import (
    Answer,
    Answers,
    Asking,
    Threshold,
    answer,
    answer_all,
    evaluate_answers,
    save_threshold,
    threshold_on,
)
from cutaway.tasks.answer.mark import make_cutter
from cutaway.tasks.answer.write import TWO_STACKS, prompt_of
from cutaway.tasks.report import Report
from cutaway.text import Tokenizer
from cutaway.weights import checkpoint
from tests import asked, tiny
from tests.reference import squad

MOST = 4
LONG = " ".join(asked.CONTEXTS)
Spans = dict[tuple[int, int], float]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> LM:
    return load(asked.reader(tmp_path_factory.mktemp("reader"), context=72))


def tried_out(lm: LM, question: str, context: str) -> tuple[Spans, float]:
    """The score of every span of at most MOST tokens, by characters, and that of no answer: one window, one pair at a time."""
    found: Spans = {}
    nulls = []
    cutter = make_cutter(lm)
    for window in cutter.windows([Question(text=question, context=context)]):
        ids, types = (torch.as_tensor(of(window))[None] for of in (cutter.row, cutter.types))
        call = Call(visibility.full(ids.shape[1]), types=types)
        begins, ends = lm.model.labelled(lm.model.states(ids, call), call)[0].T.tolist()
        nulls.append(begins[0] + ends[0])
        num = window.stop - window.start
        for first in range(num):
            for last in range(first, min(first + MOST, num)):
                tokens = window.start + first, window.start + last
                place = int(window.passage.begins[tokens[0]]), int(window.passage.ends[tokens[1]])
                score = begins[window.first + first] + ends[window.first + last]
                found[place] = max(found.get(place, -math.inf), score)
    assert len(nulls) > 1 or context != LONG
    return found, min(nulls)


@pytest.mark.parametrize("context", [LONG, asked.CONTEXTS[2]])
@pytest.mark.parametrize("question", ["Who built the mill?", "Where do trains go at noon?"])
def test_the_best_spans_are_those_of_all_spans(question: str, context: str, reader: LM) -> None:
    spans, null = tried_out(reader, question, context)
    found = answer(reader, question, context, Asking(num=7, max_tokens=MOST))
    ranked = sorted(spans.items(), key=lambda each: -each[1])[:7]
    assert [(each.begin, each.end) for each in found.answers] == [place for place, _ in ranked]
    assert [each.score for each in found.answers] == pytest.approx([score for _, score in ranked], rel=1e-4, abs=1e-4)
    assert [each.text for each in found.answers] == [context[begin:end] for (begin, end), _ in ranked]
    assert found.gap == pytest.approx(null - ranked[0][1], rel=1e-4, abs=1e-4)
    total = sum(math.exp(score) for score in spans.values())
    shares = [(1 - found.no_answer) * math.exp(score) / total for _, score in ranked]
    assert [each.probability for each in found.answers] == pytest.approx(shares, rel=1e-3)


def test_probabilities_add_up_and_the_threshold_decides(reader: LM) -> None:
    gap = answer(reader, "Who?", LONG, Asking(max_tokens=3)).gap
    assert gap is not None
    for threshold, is_answered in ((gap, True), (gap - 1e-3, False), (gap + 1, True)):
        asking = Asking(num=10**6, max_tokens=3, threshold=Threshold(threshold=threshold, temperature=0.5))
        found = answer(reader, "Who?", LONG, asking)
        assert found.no_answer + sum(each.probability for each in found.answers) == pytest.approx(1, abs=1e-6)
        assert found.is_answered is is_answered
        assert found.text == (found.answers[0].text if is_answered else "")
    assert found.no_answer == pytest.approx(1 / (1 + math.exp(2)))


def test_many_questions_are_answered_as_one_by_one(reader: LM) -> None:
    told: list[tuple[int, int]] = []
    together = answer_all(reader, asked.questions(), Asking(batch_size=5), progress=lambda *each: told.append(each))
    for question, found in zip(asked.questions(), together, strict=True):
        alone = answer(reader, question.text, question.context)
        assert [(each.begin, each.end) for each in found.answers] == [(each.begin, each.end) for each in alone.answers]
        assert found.gap == pytest.approx(alone.gap, abs=1e-4)
    assert told[-1][0] == told[-1][1] > len(together)


def test_a_model_without_types_of_tokens_answers_too(tmp_path: Path) -> None:
    tokenizer = asked.byte_level()
    config = tiny.config(
        encoder=tiny.stack(), vocab_size=tokenizer.vocab_size, context=160, has_head=False, num_labels=2
    )
    lm = LM(tiny.model(config), tokenizer, "reader", tmp_path)
    found = answer(lm, "Who?", asked.CONTEXTS[1], Asking(num=3))
    assert all(each.text == each.text.strip() != "" for each in found.answers)


def test_evidence_is_the_sentences_around_an_answer() -> None:
    context = asked.CONTEXTS[0]
    cases = {
        "Anna Keller": context[context.index("It was") : context.index("\n")],
        "Orne.  It was": context[: context.index("\n")],
        "nine years": "When the river rose in 1861, the wheel broke, and the mill ground no corn for nine years.",
    }
    for text, sentences in cases.items():
        begin = context.index(text)
        given = Answer(text=text, begin=begin, end=begin + len(text), score=0, probability=1)
        evidence = Answers(question="?", context=context, answers=(given,)).evidence(given)
        assert evidence is not None
        assert evidence.text == sentences
        assert evidence.text[evidence.begin : evidence.end] == text
        assert context[evidence.start :].startswith(evidence.text)
    none = Answer(text="x", begin=None, end=None, score=0, probability=1)
    assert Answers(question="?", context=context, answers=(none,)).evidence(none) is None


def test_a_report_measures_as_the_published_script(reader: LM, tmp_path: Path) -> None:
    path, questions = asked.write(tmp_path), asked.questions()
    report = evaluate_answers(reader, path, Asking(threshold=Threshold(threshold=1e6)))
    assert all(example.prediction for example in report.examples)
    assert [example.source for example in report.examples] == [question.text for question in questions]
    references = [[each.text for each in question.answers] for question in questions]
    pairs = zip(report.examples, references, strict=True)
    wanted = [squad.scores_2_0(example.prediction, answers) for example, answers in pairs]
    for place, name in enumerate(("exact_match", "f1")):
        assert report.score(name).value == pytest.approx(100 * sum(each[place] for each in wanted) / 12)
    silent = evaluate_answers(reader, path, Asking(threshold=Threshold(threshold=-1e6)))
    assert [score.value for score in silent.scores] == [25, 25], "three of twelve have no answer"
    report.save(tmp_path / "report.json")
    assert Report.load(tmp_path / "report.json") == report
    assert (report.task, report.data[0].name) == ("answer", "asked.json")


def test_a_threshold_lies_beside_the_weights(tmp_path: Path) -> None:
    lm, path = load(asked.reader(tmp_path / "reader")), asked.write(tmp_path)
    assert lm.place is not None
    before = evaluate_answers(lm, path).score("f1").value
    threshold = threshold_on(lm, path)
    save_threshold(lm.place, threshold)
    after = evaluate_answers(load(tmp_path / "reader"), path).score("f1").value
    assert after == pytest.approx(threshold.f1)
    assert after >= before
    assert (threshold.num_questions, threshold.data) == (12, "asked.json")


WRITERS: dict[str, tuple[dict[str, Any], str, tuple[str, ...]]] = {
    "two stacks": ({"encoder": tiny.stack(), "decoder": tiny.stack()}, TWO_STACKS, ()),
    "one stack": ({"decoder": tiny.stack()}, FORM, ("\n",)),
}


def writer(name: str, tokenizer: Tokenizer) -> LM:
    tokens = {"bos": 2, "eos": 3, "decoder_start": 2}
    knobs: dict[str, Any] = {"vocab_size": tokenizer.vocab_size, "context": 400, **WRITERS[name][0]}
    return LM(tiny.model(ModelConfig.from_dict({**tiny.config(**knobs).to_dict(), "tokens": tokens})), tokenizer, name)


@pytest.mark.parametrize("name", WRITERS)
def test_a_text_is_written_as_generate_does(name: str) -> None:
    lm, (_, form, stop) = writer(name, asked.wordpiece()), WRITERS[name]
    context = asked.CONTEXTS[2]
    found = answer(lm, "Where to?", context, Asking(max_tokens=6))
    prompt = form.replace("{question}", "Where to?").replace("{context}", context)
    wanted = lm.generate(prompt, max_tokens=6, stop=stop).strip()
    assert found.text == wanted != ""
    assert found.gap is None
    (only,) = found.answers
    assert only.probability == pytest.approx(math.exp(only.score))
    assert only.score < 0
    assert (only.begin is None) == (wanted not in context)
    own = answer(lm, "Where to?", context, Asking(max_tokens=6, prompt="{context} {question}"))
    assert own.text == lm.generate(f"{context} Where to?", max_tokens=6, stop=stop).strip()


def test_an_answer_that_was_written_is_looked_for_in_the_context() -> None:
    lm, context = writer("one stack", asked.wordpiece()), LONG.lower()
    texts = [
        each
        for question in asked.questions()
        for each in answer(lm, question.text, context, Asking(max_tokens=1)).answers
    ]
    for each in texts:
        if each.begin is None:
            assert each.text not in context
        else:
            assert context[each.begin : each.end] == each.text
            assert each.text not in context[: each.begin]
    assert any(each.begin is not None for each in texts)


@pytest.mark.parametrize("form", ["{question}", "{context}", "Say it."])
def test_a_prompt_has_both_places(form: str) -> None:
    with pytest.raises(CutawayError, match=r"lacks {question} or {context}"):
        answer(writer("one stack", asked.wordpiece()), "Where to?", LONG, Asking(prompt=form))


def test_what_stands_in_a_text_is_no_place_of_the_prompt() -> None:
    asked_for = Question(text="{context}?", context="{question}!")
    assert (
        prompt_of(writer("two stacks", asked.wordpiece()), asked_for, None)
        == "question: {context}? context: {question}!"
    )


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an empty question": ({"question": " "}, "The question is empty"),
    "an empty context": ({"context": "\n"}, "The context is empty"),
    "a surrogate": ({"context": "a\ud800"}, "lone surrogate"),
    "no tokens": ({"context": "\u200b"}, "gives no token"),
    "no number": ({"num": 0}, "num is 0"),
    "no tokens allowed": ({"max_tokens": 0}, "max_tokens is 0"),
    "no batch": ({"batch_size": 0}, "batch_size is 0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_asked_is_refused(case: str, reader: LM) -> None:
    knobs, message = REFUSED[case]
    question, context = knobs.get("question", "Who?"), knobs.get("context", LONG)
    with pytest.raises(CutawayError, match=message):
        answer(
            reader, question, context, Asking(**{k: v for k, v in knobs.items() if k not in ("question", "context")})
        )


@pytest.mark.parametrize(
    "knobs", [{"encoder": tiny.stack()}, {"encoder": tiny.stack(), "has_head": False}, {"predicts": "masked"}]
)
def test_a_model_that_cannot_answer_is_refused(knobs: dict[str, Any]) -> None:
    tokenizer = asked.wordpiece()
    lm = LM(tiny.model(tiny.config(vocab_size=tokenizer.vocab_size, **knobs)), tokenizer, "mute")
    with pytest.raises(CutawayError, match=r"'mute' cannot answer: .* a recipe with \[questions\]"):
        answer(lm, "Who?", LONG)


def test_a_model_that_writes_has_one_answer(tmp_path: Path) -> None:
    lm = writer("two stacks", asked.wordpiece())
    with pytest.raises(CutawayError, match=r"writes its answer and has one\. Ask for 1, not 2"):
        answer(lm, "Who?", LONG, Asking(num=2))
    with pytest.raises(CutawayError, match="A threshold is found on"):
        threshold_on(lm, asked.write(tmp_path))


def test_without_a_tokenizer_nothing_is_read(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "bare", tiny.model(asked.config(asked.wordpiece())))
    with pytest.raises(CutawayError, match="has no tokenizer"):
        answer(load(tmp_path / "bare"), "Who?", LONG)
