"""Recipes: read strictly, changed by TOML values, refused with the key, the value and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from cutaway.config import TokenIds
from cutaway.errors import CutawayError
from cutaway.train.recipe import bundled_recipes, load_recipe

from .runs import write_recipe

REPOSITORY = Path(__file__).resolve().parents[2]
SHIPPED = sorted([*REPOSITORY.glob("recipes/*/*.toml"), *bundled_recipes().values()])

# What is changed, and what the message must say.
REFUSED = (
    ("training.stepz=4", "Unknown key 'training.stepz'. Did you mean 'steps'"),
    ("modle.context=4", "Unknown key 'modle'. Did you mean 'model'"),
    (
        "model.decoder.attention.num_heads=3",
        "num_heads is 3, which does not divide d_model = 16. Choose one of 1, 2, 4",
    ),
    ("training.steps=-1", "training.steps is -1. It must be at least 1"),
    ("training.steps=many", "'training.steps' is 'many'. It takes a whole number"),
    ("training.steps=2.5", "'training.steps' is 2.5"),
    ("training.batch_size=0", "training.batch_size is 0"),
    ("training.accumulate=0", "training.accumulate is 0"),
    ("training.evaluate_batch_size=0", "training.evaluate_batch_size is 0"),
    ("training.keep=0", "training.keep is 0"),
    ("training.save_every=0", "training.save_every is 0"),
    ("training.threads=0", "training.threads is 0"),
    ("training.precision=fp64", "'training.precision' is 'fp64'. Allowed: fp32, bf16"),
    ("model.context=0", "model.context is 0"),
    ("model.initial_std=0", "model.initial_std is 0"),
    ("data.validation_share=1.0", "data.validation_share is 1.0. It must be between 0 and 1"),
    ("data.train=[]", "data.train is empty"),
    ("optimiser.learning_rate=-0.1", "optimiser.learning_rate is -0.1"),
    ("optimiser.learning_rate=nan", "optimiser.learning_rate is nan"),
    ("optimiser.beta2=1.0", "optimiser.beta2 is 1.0"),
    ("optimiser.momentum=-1.0", "optimiser.momentum is -1.0"),
    ("optimiser.clip=0.0", "optimiser.clip is 0.0"),
    ("schedule.final=2.0", "schedule.final is 2.0"),
    ("schedule.decay_share=0.0", "schedule.decay_share is 0.0"),
    ("schedule.warmup_steps=-1", "schedule.warmup_steps is -1"),
    ("sample.temperature=-1.0", "temperature is -1.0"),
    ("sample.max_tokens=0", "sample.max_tokens is 0"),
    ("seed=-1", "seed is -1"),
    ("name='../elsewhere'", "name is '../elsewhere'"),
    ("name=''", "name is ''"),
    ("training", "'training' is not a change. Write key=value"),
    ("training.steps.more=1", "goes through 'steps', which is not a table"),
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_recipe(tmp_path_factory.mktemp("recipe")))


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[change for change, _ in REFUSED])
def test_what_cannot_be_is_refused(change: str, message: str, tiny: str) -> None:
    with pytest.raises(CutawayError) as caught:
        load_recipe(tiny, [change])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_unchanged_recipe_is_as_written(tiny: str) -> None:
    recipe = load_recipe(tiny)
    assert (recipe.name, recipe.training.steps, recipe.model.decoder.d_model) == ("tiny", 12, 16)
    assert recipe.training.accumulate == 1


def test_changes_have_the_types_of_toml(tiny: str) -> None:
    changes = (
        "training.steps=30",
        "optimiser.learning_rate=1e-2",
        "optimiser.clip=inf",
        "schedule.kind=wsd",  # a bare word is a text
        'tokenizer.keep_words=["a", "b"]',
        "model.is_tied=false",
        "seed = 7",
        "training.threads=2",
    )
    recipe = load_recipe(tiny, changes)
    assert (recipe.training.steps, recipe.optimiser.learning_rate, recipe.schedule.kind) == (30, 0.01, "wsd")
    assert (recipe.tokenizer.keep_words, recipe.model.is_tied, recipe.seed) == (("a", "b"), False, 7)
    assert recipe.training.threads == 2
    assert recipe.optimiser.clip == float("inf")


def test_a_later_change_wins(tiny: str) -> None:
    assert load_recipe(tiny, ["training.steps=3", "training.steps=5"]).training.steps == 5


def test_paths_are_relative_to_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_recipe(tmp_path / "there")
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe("there/tiny.toml", ["tokenizer.path=../tok"])
    monkeypatch.chdir("/")
    assert recipe.data.train[0].paths() == [tmp_path / "there" / "text.txt"]
    assert recipe.tokenizer.path is not None
    assert Path(recipe.tokenizer.path).resolve() == tmp_path / "tok"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_recipe_of_the_repository_is_valid(path: Path) -> None:
    recipe = load_recipe(str(path))
    assert recipe.name == path.stem
    assert recipe.base or recipe.model.config(300, TokenIds()).vocab_size == 300


def test_shakespeare_is_bundled_and_goes_by_its_name() -> None:
    recipe = load_recipe("shakespeare")
    assert recipe.name == "shakespeare"
    assert [path.name for path in recipe.data.train[0].paths()] == ["tinyshakespeare.txt"]


def test_a_misspelt_name_is_told_the_nearest() -> None:
    with pytest.raises(CutawayError, match="Did you mean 'shakespeare'"):
        load_recipe("shakespear")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"name = ", "not valid TOML"), (b"\xff\xfe\x00", "not a text file"), (b"", "Key 'name' is missing")],
    ids=["cut", "binary", "empty"],
)
def test_a_file_that_is_no_recipe_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "broken.toml"
    file.write_bytes(content)
    with pytest.raises(CutawayError, match=message):
        load_recipe(str(file))
