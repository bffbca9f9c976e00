"""The recipe `stories`: what its script makes of Markdown, of raw stories and of copies."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.scripts import script

RECIPE = Path(__file__).parents[2] / "recipes" / "stories"


def module(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A script of the recipe, which finds its neighbours as when it is run."""
    monkeypatch.syspath_prepend(str(RECIPE))
    loaded = script(RECIPE / f"{name}.py")
    monkeypatch.setitem(sys.modules, name, loaded)
    return loaded


PROSE = "The first place that I can well remember was a large pleasant meadow with a pond of clear water in it."

BOOK = f"""# Title: A Book

## Author: Somebody

-------

## PREFACE

Nobody reads this. {PROSE} {PROSE}

##  Chapter 1 - The Meadow

Some _shady_ trees leaned
over it, and rushes—with **water-lilies**—grew there.[3]  “Well,” said she, “it’s . . . late &amp; dark.”

* * *

Twinkle, twinkle, little star,
How I wonder what you are!

[Illustration: a star]

{PROSE} {PROSE}

CHAPTER II.

"Never," said Ἀχιλλεύς.

He cried: " Come here, " and ran. {PROSE} {PROSE}

THE END
"""


def test_a_book_becomes_plain_chapters(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = module("clean", monkeypatch).clean_book(BOOK)
    assert first == (
        "Some shady trees leaned over it, and rushes--with water-lilies--grew there. "
        '"Well," said she, "it\'s... late & dark."\n\n'
        f"Twinkle, twinkle, little star,\nHow I wonder what you are!\n\n{PROSE} {PROSE}"
    )
    assert second == f'He cried: "Come here," and ran. {PROSE} {PROSE}'


def test_long_chapters_are_cut_into_equal_parts_at_paragraphs(monkeypatch: pytest.MonkeyPatch) -> None:
    markdown = "## 1\n\n" + "\n\n".join(f"{number}. {PROSE}" for number in range(50))
    parts = module("clean", monkeypatch).clean_book(markdown, longest=1500)
    assert "\n\n".join(parts) == markdown.removeprefix("## 1\n\n")
    assert max(map(len, parts)) <= 1500
    assert min(map(len, parts)) >= 1200


@pytest.mark.parametrize(
    ("single", "double"),
    [
        ("'Come,' said he, 'let's go.'", '"Come," said he, "let\'s go."'),
        ("'I thought \"never\" was the word,' he said.", "\"I thought 'never' was the word,\" he said."),
        (
            "The boys' dog went 'round--'Stop!'--and 'twas late.",
            "The boys' dog went 'round--\"Stop!\"--and 'twas late.",
        ),
    ],
)
def test_speech_gets_double_quotes_and_apostrophes_stay(
    single: str, double: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = "## 1\n\n" + "'Yes,' said the Fox.\n\n" * 20 + single
    (text,) = module("clean", monkeypatch).clean_book(book)
    assert text.split("\n\n")[-1] == double


def test_a_story_is_whole_or_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clean_story = module("clean", monkeypatch).clean_story
    story = f"Once upon a time, there was a fox.\n{PROSE}\n“I am glad,” it said."
    assert clean_story(story) == f'Once upon a time, there was a fox.\n\n{PROSE}\n\n"I am glad," it said.'
    for broken in (story[:-1], story + " {b}", story.replace("“", ""), "Too short.", story.replace("fox", "zorro ñ")):
        assert clean_story(broken) is None


def test_copies_of_what_is_held_out_are_not_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = module("prepare", monkeypatch)
    copied = [
        "The quick brown fox jumped over him.",
        "The lazy dog slept all day long.",
        "They met again in the evening sun.",
    ]
    own = [f"Number {word} is a sentence of its own." for word in ("one", "two", "three", "four", "five")]
    documents = {
        "stories": [
            " ".join(copied + own[:2]),
            " ".join(copied[:1] + own),
            "A new one altogether, with nothing shared.",
        ],
        "stories.heldout": [" ".join(copied)],
    }
    kept = prepare._without_copies(documents)
    assert kept == {"stories.heldout": documents["stories.heldout"], "stories": documents["stories"][1:]}


def test_every_book_of_the_list_has_one_group_and_a_checksum() -> None:
    lines = (RECIPE / "books.tsv").read_text(encoding="utf-8").splitlines()[1:]
    rows = [line.split("\t") for line in lines]
    assert len({path for _, _, path in rows}) == len(rows) == 254
    assert all(len(sha256) == 64 for _, sha256, _ in rows)
    groups = [group for group, _, _ in rows]
    assert (groups.count("children.heldout"), groups.count("classics.heldout")) == (3, 4)


LONG = "They found a small red boat by the river and pushed it into the water. Then they sailed home and slept well."


def test_no_two_stories_begin_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    retell = module("retell", monkeypatch)
    beginning = "Once upon a time, there was a little {kind} named {name}. {who} loved to play outside."
    stories = [
        f"{beginning.format(kind='girl', name='Lily', who='She')} {LONG}",
        f"{beginning.format(kind='girl', name='Mia', who='She')} One day, she saw a cat. {LONG} {LONG}",
        f"{beginning.format(kind='girl', name='Anna', who='She')} One day, it rained. {LONG} {LONG}",
        f"{beginning.format(kind='boy', name='Tim', who='He')} {LONG}",
    ]
    kept = retell.with_openings_of_their_own(stories)
    assert kept == [stories[0], f"One day, Mia saw a cat. {LONG} {LONG}", stories[3]]


def test_a_story_is_told_with_other_names_the_same_throughout(monkeypatch: pytest.MonkeyPatch) -> None:
    retell = module("retell", monkeypatch)
    stories = ["Lily met Tim. Lily's hat was Tim's.", "Nobody has a name here."]
    told = retell.tellings(stories)
    assert told == retell.tellings(stories)
    assert told[:2] == stories
    assert told[3::2] == stories[1:] * (retell.NUM_TELLINGS - 1)
    for text in told[2::2]:
        girl, boy = text.split()[0], text.split()[2].rstrip(".")
        assert girl in retell.GIRLS
        assert boy in retell.BOYS
        assert text == f"{girl} met {boy}. {girl}'s hat was {boy}'s."
        assert {girl, boy}.isdisjoint({"Lily", "Tim"})
