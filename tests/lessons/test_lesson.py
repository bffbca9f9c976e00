"""What all lessons have in common: the interface, JSON, the terminal, settings, and what is refused."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator

import pytest
import torch
from rich.cells import cell_len
from rich.console import Console

from cutaway import lessons
from cutaway.apps.lessons.page import page
from cutaway.apps.lessons.terminal import show_lesson, show_list
from cutaway.config import AttentionConfig, ExpertsConfig, FeedForwardConfig, PositionConfig
from cutaway.errors import CutawayError
from cutaway.lessons import bandwidth
from cutaway.lessons.figures import KINDS, Bars, Curve, Images, Matrix, Pairs, Strips, Table
from cutaway.lm import LM
from tests import tiny
from tests.text.samples import trained, wordpiece

QUICK = {"choosing": {"tokens": 60}, "recurrence": {"steps": 20}, "memory": {"megabytes": 60, "prompts": 2}}
ORDER = """token vector embedding meaning encoding order recurrence attention layers choosing stacks memory diffusion"""
BAD = [
    ("token", {"text": " "}, "text is empty. Give a text of 1 to 200 characters."),
    ("token", {"text": "a" * 201}, "text has 201 characters. Allowed: 1 to 200."),
    ("token", {"text": 3}, "text is 3. It is a text: give a string."),
    ("token", {"shift": "4"}, "shift is '4'. It must be a whole number from -3 to 3."),
    ("token", {"shift": 0.5}, "shift is 0.5. It must be a whole number from -3 to 3."),
    ("token", {"shift": "nan"}, "shift is 'nan'."),
    ("token", {"shift": None}, "shift is None."),
    ("token", {"shift": True}, "shift is True."),
    ("token", {"shfit": 1}, "This lesson has no setting 'shfit'. Did you mean 'shift'?"),
    ("vector", {"mix": 1.5}, "mix is 1.5. It must be a number from 0.05 to 0.95."),
    ("vector", {"word": "crocodile"}, "“crocodile” is 4 tokens to this model (␣cro c od ile)"),
    ("order", {"sight": "none"}, "sight is 'none'. Allowed: all, before."),
    ("order", {"words": "love"}, "words has 1 word. Allowed: 2 to 6."),
    ("order", {"words": "you love you"}, "“you love you” is the same when it is read backwards."),
    ("recurrence", {"second": "I"}, "first and second are both 'I'"),
    ("attention", {"token": 40}, "token is 40. The tokens of this text are numbered from 0 to 9"),
    ("attention", {"text": "x"}, "The text is 1 token. This lesson takes 2 to 64"),
    ("diffusion", {"digit": "ten"}, "digit is 'ten'. Allowed: 0, 1, 2,"),
    ("stacks", {"source": "ja " * 30}, "This lesson takes 24 at most"),
]


def timeless(work: object) -> float:
    """In place of `bandwidth.timed`: the work is done, and takes as long as everything else."""
    assert callable(work)
    work()
    return 0.01


@pytest.fixture(scope="module")
def read(stories: LM, german: LM) -> Iterator[dict[str, lessons.Lesson]]:
    """Every lesson, read once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bandwidth, "timed", timeless)
        models = {"stories": stories, "translate-de-en": german}
        state = torch.random.get_rng_state()
        found = {
            each.name: lessons.read(each.name, models[each.model], QUICK.get(each.name)) for each in lessons.entries()
        }
        assert torch.equal(state, torch.random.get_rng_state()), "chance comes from generators of the lessons' own"
        yield found


def test_the_lessons_stand_in_the_order_of_the_questions(read: dict[str, lessons.Lesson]) -> None:
    assert lessons.names() == ORDER.split()
    following = [lesson.next and lesson.next.name for lesson in read.values()]
    assert following == [*ORDER.split()[1:], None]


@pytest.mark.parametrize("name", ORDER.split())
def test_a_lesson_has_all_its_parts(read: dict[str, lessons.Lesson], name: str) -> None:
    lesson = read[name]
    assert lesson.title.endswith("?")
    assert 2 <= len(re.findall(r"[.?]”?(?: |$)", " ".join(lesson.text))) <= 9
    assert lesson.settings
    assert {type(figure) for figure in lesson.figures} <= set(KINDS)
    assert all(figure.title and figure.caption and figure.source for figure in lesson.figures)
    assert lesson.wrong.holds, lesson.wrong.found
    assert lesson.fair


@pytest.mark.parametrize("name", ORDER.split())
def test_json_gives_back_what_was_put_in(read: dict[str, lessons.Lesson], name: str) -> None:
    found = read[name].as_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert [figure["kind"] for figure in found["figures"]] == [figure.kind for figure in read[name].figures]


@pytest.mark.parametrize("name", ORDER.split())
def test_figures_are_whole(read: dict[str, lessons.Lesson], name: str) -> None:
    """What a page relies on: as many values as labels, within the scale, and lines that end somewhere."""
    for figure in read[name].figures:
        if isinstance(figure, Matrix):
            assert [len(row) for row in figure.values] == [len(figure.columns)] * len(figure.rows)
            assert all(
                value is None or abs(value) <= figure.scale * (1 + 1e-6) for row in figure.values for value in row
            )
        elif isinstance(figure, Images):
            assert [len(row) for row in figure.values] == [len(figure.columns)] * len(figure.rows)
            assert all(
                len(image) == 64 and 0 <= min(image) <= max(image) <= 1 for row in figure.values for image in row
            )
        elif isinstance(figure, Pairs):
            assert all(link.left < len(figure.left) and link.right < len(figure.right) for link in figure.links)
        elif isinstance(figure, Table):
            assert {len(row) for row in figure.rows} == {len(figure.heads)}
        elif isinstance(figure, Curve):
            assert len({tuple(x for x, _ in line.points) for line in figure.lines}) == 1
        elif isinstance(figure, Bars):
            assert all(abs(bar.value) <= figure.scale * (1 + 1e-6) for bar in figure.rows)
        else:
            assert isinstance(figure, Strips)
            assert len({len(row.values) for row in figure.rows}) == 1
            assert figure.scale > 0


def test_every_kind_of_figure_is_used(read: dict[str, lessons.Lesson]) -> None:
    assert {type(figure) for lesson in read.values() for figure in lesson.figures} == set(KINDS)


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("name", ORDER.split())
def test_the_terminal_shows_all_of_it_within_its_width(read: dict[str, lessons.Lesson], name: str, width: int) -> None:
    console = Console(width=width, record=True, file=io.StringIO(), highlight=False, markup=False, emoji=False)
    show_lesson(read[name], console)
    printed = console.export_text()
    assert max(cell_len(line.rstrip()) for line in printed.splitlines()) <= width
    flat = " ".join(printed.split())
    assert " ".join(read[name].text[0].split()) in flat
    assert "It holds." in flat
    for figure in read[name].figures:
        assert figure.title in flat
    for setting in read[name].settings:
        assert f"{setting.name}=" in flat


def test_the_list_has_a_line_for_each() -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    show_list(lessons.entries(), console)
    printed = console.export_text()
    assert all(f"{each.name} " in printed and each.title in printed for each in lessons.entries())


def test_a_page_holds_the_lesson_and_asks_for_nothing(read: dict[str, lessons.Lesson]) -> None:
    made = page(read["diffusion"])
    assert made.startswith("<!doctype html>")
    assert "<title>What do diffusion models do?</title>" in made
    assert not re.search(r"https?:|url\(|@import|<script|\bsrc=", made)
    assert "<" not in re.sub(r"</?(?:span|pre|body|html|head|meta|link|title|style|!doctype)[^<>]*>", "", made)


@pytest.mark.parametrize(("name", "settings", "said"), BAD)
def test_bad_settings_are_refused_in_one_message(
    stories: LM, german: LM, name: str, settings: dict[str, object], said: str
) -> None:
    with pytest.raises(CutawayError, match=re.escape(said)):
        lessons.read(name, german if name == "stacks" else stories, settings)


def test_settings_given_as_text_are_those_given_as_numbers(stories: LM) -> None:
    assert lessons.read("vector", stories, {"mix": "0.25", "dimension": "7"}) == lessons.read(
        "vector", stories, {"mix": 0.25, "dimension": 7}
    )


def test_an_unknown_lesson_names_the_near_ones() -> None:
    with pytest.raises(CutawayError, match=r"There is no lesson 'ordr'\. Did you mean 'order'"):
        lessons.read("ordr")


def test_models_that_do_not_suit_are_told_apart(stories: LM, german: LM) -> None:
    tokenizer = trained("bpe")
    rotary = tiny.stack(position=PositionConfig(kind="rotary"))
    turned = LM(tiny.model(tiny.config(decoder=rotary, vocab_size=tokenizer.vocab_size)), tokenizer, "turned")
    reads = LM(tiny.model(tiny.config(encoder=tiny.stack(), vocab_size=tokenizer.vocab_size)), tokenizer, "reads")
    silent = LM(stories.model, None, "silent")
    assert lessons.refusal("order", stories) is None
    assert "'turned' adds no vector for the position" in (lessons.refusal("encoding", turned) or "")
    assert "'translate-de-en' has an encoder and a decoder" in (lessons.refusal("order", german) or "")
    assert "'reads' is none. Take --model stories." in (lessons.refusal("choosing", reads) or "")
    assert "is none" in (lessons.refusal("vector", german) or "")
    assert "'stories' has a decoder only. Take --model translate-de-en." in (lessons.refusal("stacks", stories) or "")
    assert "'silent' has no tokenizer" in (lessons.refusal("token", silent) or "")
    of_the_table = {"token", "embedding", "meaning", "order", "recurrence"}
    assert {name for name in lessons.names() if lessons.refusal(name, reads) is None} == of_the_table
    assert {name for name in lessons.names() if lessons.refusal(name, silent) is None} == {"memory"}
    assert {name for name in lessons.names() if lessons.refusal(name, german) is None} == of_the_table - {"order"} | {
        "stacks"
    }
    speechless = LM(german.model, None, "speechless")
    assert "'speechless' has no tokenizer" in (lessons.refusal("stacks", speechless) or "")


def test_reading_a_lesson_twice_gives_the_same_and_changes_nothing(stories: LM) -> None:
    before = {name: weight.clone() for name, weight in stories.model.state_dict().items()}
    assert lessons.read("recurrence", stories, {"steps": 5}) == lessons.read("recurrence", stories, {"steps": 5})
    assert all(torch.equal(before[name], weight) for name, weight in stories.model.state_dict().items())


SHAPES = {
    "rotary": {"position": PositionConfig(kind="rotary"), "attention": AttentionConfig(num_heads=4, num_kv_heads=2)},
    "parallel": {"placement": "parallel"},
    "experts": {"feedforward": FeedForwardConfig(d_hidden=24, experts=ExpertsConfig(num_experts=3, num_active=1))},
    "no positions": {"position": PositionConfig(kind="none"), "num_layers": 1},
    "learned": {"position": PositionConfig(kind="learned"), "attention": AttentionConfig(num_heads=1)},
}


def test_a_lesson_about_the_table_is_read_on_every_model_that_has_one(german: LM) -> None:
    for name in ("embedding", "meaning", "recurrence"):
        found = lessons.read(name, german, {"steps": 5} if name == "recurrence" else {})
        assert found.model == "translate-de-en"
        assert found.wrong.found


@pytest.mark.parametrize("shape", SHAPES)
def test_any_model_gives_a_lesson_or_one_clear_sentence(shape: str) -> None:
    tokenizer = trained("bpe")
    config = tiny.config(decoder=tiny.stack(**SHAPES[shape]), vocab_size=tokenizer.vocab_size, context=160)
    lm = LM(tiny.model(config), tokenizer, "small")
    read, refused = [], []
    for name in sorted({*lessons.names()} - {"memory", "diffusion"}):
        try:
            read.append(lessons.read(name, lm, {"tokens": 20} if name == "choosing" else {}).name)
        except CutawayError as error:
            refused.append(str(error))
    assert all("ake --model " in said and said.count("\n") == 0 for said in refused)
    assert {"attention", "choosing", "layers", "token"} <= set(read)
    assert ("encoding" in read) == (shape in ("parallel", "experts", "learned"))


def test_a_word_that_the_tokenizer_does_not_know_is_refused() -> None:
    lm = LM(tiny.model(tiny.config(vocab_size=11)), wordpiece(), "small")
    with pytest.raises(CutawayError, match="This model has no token for “cat”"):
        lessons.read("embedding", lm)
