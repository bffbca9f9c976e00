"""Windows against transformers: ids, types, offsets and targets of its question-answering recipe; and their borders by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from cutaway.data import Cutter, Marked, Question, Window
from cutaway.errors import CutawayError
from cutaway.text import SpecialRoles, Tokenizer, train_tokenizer
from tests import asked, tiny

both = pytest.mark.parametrize("kind", asked.TOKENIZERS)


def cutter(kind: str, *, length: int = 48, stride: int = 9, max_question: int = 24) -> Cutter:
    tokenizer = asked.TOKENIZERS[kind]()
    return Cutter(tokenizer, asked.config(tokenizer), length=length, stride=stride, max_question=max_question)


def theirs(tokenizer: Tokenizer, folder: Path) -> Any:
    tokenizer.save(folder)
    return PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))


def targets(features: Any, row: int, answers: Sequence[Marked]) -> tuple[int, int]:
    """Begin and end by the rule of their example: cls unless the answer lies between the window's first and last character.

    Of a character in several tokens, theirs takes the last at the begin and the first at the end; no answer here has such an end.
    """
    offsets = features["offset_mapping"][row]
    inside = [place for place, text in enumerate(features.sequence_ids(row)) if text == 1]
    if not answers:
        return 0, 0
    first = answers[0].begin
    assert first is not None
    last = first + len(answers[0].text)
    if offsets[inside[0]][0] > first or offsets[inside[-1]][1] < last:
        return 0, 0
    begin = max(place for place in inside if offsets[place][0] <= first)
    end = min(place for place in inside if offsets[place][1] >= last)
    return begin, end


@both
@pytest.mark.parametrize("length", [48, 128])
def test_windows_are_those_of_transformers(kind: str, length: int, tmp_path: Path) -> None:
    ours = cutter(kind, length=length)
    reference, num_windows, num_marked = theirs(ours.tokenizer, tmp_path), 0, 0
    for question in asked.questions():
        windows = list(ours.windows([question]))
        room = length - ours.frame.num_tokens - len(windows[0].question_ids)
        features = reference(
            question.text,
            question.context,
            truncation="only_second",
            max_length=length,
            stride=room - ours.stride,  # theirs counts the tokens that two windows share
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_token_type_ids=True,
        )
        assert len(windows) == len(features["input_ids"])
        for row, window in enumerate(windows):
            assert ours.row(window).tolist() == features["input_ids"][row]
            assert ours.types(window).tolist() == features["token_type_ids"][row]
            assert window.num_tokens == len(features["input_ids"][row])
            assert (window.begin, window.end) == targets(features, row, question.answers), (question.text, row)
            context = slice(window.first, window.first + window.stop - window.start)
            places = list(zip(window.passage.begins, window.passage.ends, strict=True))[window.start : window.stop]
            for ours_at, theirs_at in zip(places, features["offset_mapping"][row][context], strict=True):
                # A line feed is white space to us, and stands for no character; theirs trims spaces alone.
                is_feed = question.context[slice(*theirs_at)] == "\n"
                assert ours_at == ((theirs_at[1],) * 2 if is_feed else theirs_at)
            num_windows, num_marked = num_windows + 1, num_marked + (window.begin > 0)
    assert num_windows > (24 if length == 48 else 11)
    assert num_marked > 8


@both
def test_targets_say_the_answer(kind: str) -> None:
    ours = cutter(kind)
    for question in asked.questions():
        said = {text_of(window, question) for window in ours.windows([question])} - {None}
        assert said == {answer.text for answer in question.answers[:1]}


def text_of(window: Window, question: Question) -> str | None:
    if window.begin == 0:
        return None
    first, last = (place - window.first + window.start for place in (window.begin, window.end))
    return question.context[window.passage.begins[first] : window.passage.ends[last]]


@both
def test_every_token_of_a_long_context_is_read_and_windows_overlap(kind: str) -> None:
    ours = cutter(kind)
    long = Question(text="Who built the mill?", context=" ".join(asked.CONTEXTS * 3))
    windows = list(ours.windows([long]))
    assert [window.start for window in windows] == [9 * index for index in range(len(windows))]
    assert {place for window in windows for place in range(window.start, window.stop)} == set(
        range(len(windows[0].passage.ids))
    )
    assert all(window.num_tokens == 48 for window in windows[:-1])
    assert windows[-2].stop < windows[-1].stop == len(windows[0].passage.ids)


def test_a_context_that_just_fits_is_one_window() -> None:
    ours, question = cutter("wordpiece", length=128), asked.questions()[5]
    (window,) = ours.windows([question])
    exact = cutter("wordpiece", length=window.num_tokens)
    assert [each.num_tokens for each in exact.windows([question])] == [window.num_tokens]
    less = list(cutter("wordpiece", length=window.num_tokens - 1).windows([question]))
    assert [(each.start, each.stop) for each in less] == [(0, window.stop - 1), (9, window.stop)]


def test_a_long_question_is_cut() -> None:
    ours = cutter("wordpiece", max_question=5)
    window = next(ours.windows([Question(text="mill " * 30, context="The mill.")]))
    assert len(window.question_ids) == 5


@both
def test_one_character_of_several_tokens_is_marked_whole(kind: str) -> None:
    context = "It is a \u6f22 here"
    ours = cutter(kind)
    question = Question(text="What?", context=context, answers=(Marked("\u6f22", 8),))
    assert text_of(next(ours.windows([question])), question) == "\u6f22"


def test_types_are_for_models_that_have_them() -> None:
    tokenizer = asked.wordpiece()
    plain = tiny.config(encoder=tiny.stack(num_token_types=1), has_head=False, num_labels=2)
    assert not Cutter(tokenizer, plain, length=48, stride=9, max_question=24).has_types
    assert cutter("wordpiece").has_types
    assert not cutter("byte-level").has_types


def test_roles_frame_what_a_file_leaves_bare() -> None:
    plain = train_tokenizer("character", asked.texts())
    bare = Tokenizer.from_json(plain.to_json(), SpecialRoles(cls=2, sep=3))
    ours = Cutter(bare, asked.config(bare), length=40, stride=4, max_question=8)
    window = next(ours.windows([Question(text="mill", context="river")]))
    assert ours.row(window).tolist() == [2, *plain.encode("mill"), 3, *plain.encode("river"), 3]
    assert ours.types(window).tolist() == [0] * 6 + [1] * 6
    with pytest.raises(CutawayError, match=r"has no tokens \(cls, sep\)"):
        Cutter(plain, asked.config(plain), length=40, stride=4, max_question=8)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"stride": 0}, "stride is 0"),
        ({"max_question": 0}, "max_question is 0"),
        ({"stride": 22}, "stride is 22, and a row of 48 tokens has room for 21 of a context beside a question of 24"),
        ({"length": 20}, "has room for 0 of a context"),
    ],
)
def test_sizes_without_room_are_refused(knobs: dict[str, int], message: str) -> None:
    with pytest.raises(CutawayError, match=message):
        cutter("wordpiece", **knobs)


def test_what_has_no_token_is_refused() -> None:
    ours = cutter("wordpiece")
    with pytest.raises(CutawayError, match="The context of the question gives no token"):
        list(ours.windows([Question(text="Who?", context="\u200b\u0301")]))
    hidden = Question(text="Who?", context="a\u200bb", answers=(Marked("\u200b", 1),), place="here")
    with pytest.raises(CutawayError, match="The answer '\u200b' of here gives no token"):
        list(ours.windows([hidden]))
