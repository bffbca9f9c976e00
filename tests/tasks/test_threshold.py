"""The threshold against the published script and every threshold tried out, its temperature against a grid, and its file."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutaway.data import Marked, Question
from cutaway.errors import CutawayError
from cutaway.tasks.answer import Answer, Answers, Threshold, find_threshold, load_threshold, save_threshold
from cutaway.tasks.answer.threshold import FILE
from tests.reference import squad

# A gap, and what came of the question: marked exactly, in part, wrongly, or without an answer in the context. Half of the words
# are right in part: F1 is a half, so that sums are exact and no rounding decides between thresholds that are equally good.
OUTCOMES = {"right": "red stone", "part": "stone, blue", "wrong": "blue", "none": "red stone"}


def asked(gaps: list[float], outcomes: list[str]) -> tuple[list[Question], list[Answers]]:
    context = "red stone, blue"
    questions = [
        Question(text="?", context=context, answers=() if outcome == "none" else (Marked("red stone", 0),))
        for outcome in outcomes
    ]
    found = [
        Answers(question="?", context=context, answers=(marked(OUTCOMES[outcome]),), gap=gap)
        for gap, outcome in zip(gaps, outcomes, strict=True)
    ]
    return questions, found


def marked(text: str) -> Answer:
    return Answer(text=text, begin=0, end=len(text), score=1.0, probability=0.5)


def f1(questions: list[Question], found: list[Answers], threshold: float) -> float:
    """The F1 of one threshold by the published script, in per cent."""
    scores = []
    for question, answers in zip(questions, found, strict=True):
        assert answers.gap is not None
        said = "" if answers.gap > threshold else answers.answers[0].text
        scores.append(squad.scores_2_0(said, [answer.text for answer in question.answers])[1])
    return 100 * sum(scores) / len(scores)


outcomes = st.lists(st.tuples(st.integers(-8, 8), st.sampled_from(sorted(OUTCOMES))), min_size=1, max_size=14)


@given(outcomes)
def test_no_threshold_is_better(drawn: list[tuple[int, str]]) -> None:
    """Equal gaps too, which no threshold can part."""
    questions, found = asked([gap / 2 for gap, _ in drawn], [outcome for _, outcome in drawn])
    threshold = find_threshold(questions, found)
    tried = [f1(questions, found, place / 4) for place in range(-20, 21)]
    assert threshold.f1 == pytest.approx(max(tried))
    assert f1(questions, found, threshold.threshold) == pytest.approx(threshold.f1)


@given(outcomes)
def test_the_published_script_finds_the_same(drawn: list[tuple[int, str]]) -> None:
    """Where gaps differ and something is worth answering; else it says 0, whatever that does."""
    gaps = [gap + index / 100 for index, (gap, _) in enumerate(drawn)]
    questions, found = asked(gaps, [outcome for _, outcome in drawn])
    scores = [
        squad.scores_2_0(answers.answers[0].text, [answer.text for answer in question.answers])[1]
        for question, answers in zip(questions, found, strict=True)
    ]
    threshold, best = squad.best_threshold(gaps, scores, [bool(question.answers) for question in questions])
    ours = find_threshold(questions, found)
    assert ours.f1 == pytest.approx(100 * best)
    if threshold != 0.0:
        assert ours.threshold == threshold


def test_the_temperature_makes_the_least_loss() -> None:
    generator = np.random.default_rng(2)
    gaps = generator.normal(size=400) * 3
    outcomes = ["none" if generator.random() < 1 / (1 + math.exp(-gap / 1.7)) else "right" for gap in gaps]
    questions, found = asked(gaps.tolist(), outcomes)
    ours = find_threshold(questions, found, "held.json")

    def loss(temperature: float) -> float:
        each = Threshold(threshold=ours.threshold, temperature=temperature)
        chances = [each.no_answer(gap) for gap in gaps]
        return -sum(
            math.log(chance if outcome == "none" else 1 - chance)
            for chance, outcome in zip(chances, outcomes, strict=True)
        )

    grid = [1.02**place for place in range(-60, 120)]
    assert loss(ours.temperature) <= min(map(loss, grid)) + 1e-9
    assert 1.2 < ours.temperature < 2.5
    assert (ours.num_questions, ours.data) == (400, "held.json")


@pytest.mark.parametrize("outcome", ["right", "none"])
def test_one_kind_of_question_still_gives_a_threshold(outcome: str) -> None:
    questions, found = asked([-3.0, 0.5, 2.0], [outcome] * 3)
    ours = find_threshold(questions, found)
    assert ours.f1 == 100
    decided = {ours.no_answer(answers.gap) > 0.5 for answers in found if answers.gap is not None}
    assert decided == {outcome == "none"}


def test_a_probability_is_a_number_however_far_the_gap() -> None:
    far = Threshold(temperature=1e-2)
    assert (far.no_answer(1e9), far.no_answer(-1e9), far.no_answer(0.0)) == (1, 0, 0.5)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    threshold = Threshold(threshold=-1.25, temperature=2.5, f1=71.5, num_questions=3, data="held.json")
    save_threshold(tmp_path, threshold)
    assert load_threshold(tmp_path) == threshold
    (tmp_path / FILE).unlink()
    assert load_threshold(tmp_path) == load_threshold(None) == Threshold()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "holds list"),
        ('{"treshold": 1}', "Did you mean 'threshold'"),
        ('{"threshold": "1"}', "It takes a number"),
        ('{"threshold": NaN}', "Both must be finite"),
        ('{"temperature": 0}', "the second above 0"),
    ],
)
def test_a_damaged_file_is_refused_by_name(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(CutawayError, match=message) as caught:
        load_threshold(tmp_path)
    assert str(tmp_path / FILE) in str(caught.value)


def test_what_gives_no_threshold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CutawayError, match="one or more questions"):
        find_threshold([], [])
    written = Answers(question="?", context="x", answers=(marked("x"),))
    with pytest.raises(CutawayError, match="by a model that marks spans"):
        find_threshold([Question(text="?", context="x")], [written])
    (tmp_path / "model.gguf").touch()
    with pytest.raises(CutawayError, match="is no directory of a checkpoint"):
        save_threshold(tmp_path / "model.gguf", Threshold())
