"""The recipe `translate-de-en`: nothing of the test occurs in training, whatever the order of the file."""

from __future__ import annotations

import hashlib
import random
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from cutaway.train.recipe import load_recipe
from tests.scripts import script

RECIPE = Path(__file__).parents[2] / "recipes" / "translate-de-en"


@pytest.fixture
def prepare(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with small parts."""
    loaded = script(RECIPE / "prepare.py")
    monkeypatch.setattr(loaded, "NUM_TEST", 30)
    monkeypatch.setattr(loaded, "NUM_VALID", 20)
    return loaded


def pairs(number: int = 600) -> list[tuple[str, str]]:
    """Sentences of which some have several translations, which have others, and some differ in punctuation alone."""
    chance = random.Random(4)
    numbers, marks = range(number), ".!"
    return [
        (f"Satz {chance.choice(numbers)}{chance.choice(marks)}", f"Sentence {chance.choice(numbers)}.") for _ in numbers
    ]


def test_nothing_held_out_occurs_in_training(prepare: ModuleType) -> None:
    found = prepare.split(pairs())
    assert [len(found[name]) for name in ("test", "valid")] == [30, 20]
    for side in (0, 1):
        words = {name: {prepare.plain(pair[side]) for pair in found[name]} for name in found}
        assert not words["test"] & (words["train"] | words["valid"])
        assert not words["valid"] & words["train"]
    assert len({prepare.plain(german) for german, _ in found["test"]}) == 30
    assert set(found["train"]) <= set(pairs())


def test_the_order_of_the_file_does_not_matter(prepare: ModuleType) -> None:
    given = pairs()
    found = prepare.split(given)
    random.Random(1).shuffle(given)
    again = prepare.split(given)
    assert again["test"] == found["test"]
    assert set(again["train"]) == set(found["train"])


def test_families_are_joined_through_others(prepare: ModuleType) -> None:
    families = prepare.gather([("a", "x"), ("B!", "x"), ("b", "y"), ("c", "z")])
    assert sorted(map(len, families)) == [1, 3]


def test_by_command(prepare: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "deu-eng.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("deu.txt", "".join(f"{english}\t{german}\tCC-BY\n" for german, english in pairs()))
    words = ["--pairs", str(archive), "--out", str(tmp_path / "out")]
    assert prepare.main(["--pairs", str(tmp_path / "none.zip"), *words[2:]]) == 2
    assert prepare.main(words) == 2
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(prepare, "SHA256", hashlib.sha256(archive.read_bytes()).hexdigest())
    assert prepare.main(words) == 0
    lines = (tmp_path / "out" / "test.tsv").read_text("utf-8").splitlines()
    assert len(lines) == 30
    assert all(line.startswith("Satz") and line.count("\t") == 1 for line in lines)


def test_the_recipe_is_valid() -> None:
    recipe = load_recipe(str(RECIPE / "translate-de-en.toml"))
    assert recipe.model is not None
    assert recipe.model.embedding_scale == pytest.approx(recipe.model.decoder.d_model**0.5)
