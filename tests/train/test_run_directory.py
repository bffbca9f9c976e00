"""Whose directory it is: what is refused and left alone, what is resumed, what is set aside, what --fresh deletes and when."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cutaway.errors import CutawayError
from cutaway.train.events import EventLog, TrainEvent
from cutaway.train.recipe import bundled_recipes, load_recipe
from cutaway.train.run_directory import RunDirectory, complete_checkpoints
from cutaway.weights.atomic import write_directory

from . import runs


def claim(folder: Path, run: Path, *changes: str, is_fresh: bool = False) -> RunDirectory:
    directory = RunDirectory(run, runs.recipe(folder, *changes), is_fresh=is_fresh)
    with directory.open():
        directory.claim()
    return directory


def save(directory: RunDirectory, *steps: int) -> None:
    for step in steps:
        write_directory(directory.checkpoint(step), lambda place: place.joinpath("model").write_bytes(b"12345678"))


def test_a_new_run_has_no_checkpoint(tmp_path: Path) -> None:
    directory = claim(tmp_path, tmp_path / "deep" / "run")
    assert directory.newest() is None
    assert json.loads(directory.recipe_file.read_text())["training"]["steps"] == 12


def test_looking_creates_nothing(tmp_path: Path) -> None:
    RunDirectory(tmp_path / "run", runs.recipe(tmp_path / "recipe"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.steps=13", "training.steps was 12 there and is 13 now"),
        ("model.decoder.d_model=32", "model.decoder.d_model was 16 there and is 32 now"),
        ("data.validation_share=0.2", "data.validation_share was 0.1 there and is 0.2 now"),
        ("name=other", 'name was "tiny" there and is "other" now'),
    ],
)
def test_another_run_is_refused_and_left_alone(change: str, message: str, tmp_path: Path) -> None:
    save(claim(tmp_path / "recipe", tmp_path / "run"), 4)
    before = runs.snapshot(tmp_path / "run")
    with pytest.raises(CutawayError) as caught:
        RunDirectory(tmp_path / "run", runs.recipe(tmp_path / "recipe", change))
    assert message in str(caught.value)
    assert "--out" in str(caught.value)
    assert "--fresh" in str(caught.value)
    assert runs.snapshot(tmp_path / "run") == before


@pytest.mark.parametrize("path", bundled_recipes().values(), ids=str)
@pytest.mark.parametrize(
    "changes",
    [
        (),
        ("optimiser.clip=inf", "tokenizer.kind=bpe", "tokenizer.vocab_size=300", 'tokenizer.keep_words=["a"]'),
        (
            'model.decoder.layer_types={near={window=3}, far={position={kind="rotary"}}}',
            'model.decoder.pattern=["near", "far"]',
        ),
        ("model.decoder.position={kind='rotary', scaling={kind='yarn', factor=2.0}}", "training.threads=2"),
    ],
    ids=["as it is", "inf", "layer types", "scaling"],
)
def test_every_recipe_knows_its_own_run_again(path: Path, changes: tuple[str, ...], tmp_path: Path) -> None:
    recipe = load_recipe(str(path), changes)
    for _ in range(2):
        directory = RunDirectory(tmp_path / "run", recipe)
        with directory.open():
            directory.claim()
    with pytest.raises(CutawayError, match="seed was 1 there and is 2 now"):
        RunDirectory(tmp_path / "run", load_recipe(str(path), [*changes, "seed=2"]))


def test_remarks_and_the_place_of_the_recipe_make_no_other_run(tmp_path: Path) -> None:
    claim(tmp_path / "recipe", tmp_path / "run")
    claim(tmp_path / "moved", tmp_path / "run", "description='now with a description'")


def test_a_run_of_an_earlier_version_goes_on_with_keys_that_it_did_not_know(tmp_path: Path) -> None:
    directory = claim(tmp_path / "recipe", tmp_path / "run")
    facts = json.loads(directory.recipe_file.read_text())
    del facts["sample"]["temperature"]
    directory.recipe_file.write_text(json.dumps(facts))
    claim(tmp_path / "recipe", tmp_path / "run")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"name": 3}', b"\xff"])
def test_a_damaged_record_of_the_recipe_is_refused(content: bytes, tmp_path: Path) -> None:
    directory = claim(tmp_path / "recipe", tmp_path / "run")
    directory.recipe_file.write_bytes(content)
    with pytest.raises(CutawayError, match=r"recipe\.json is damaged"):
        RunDirectory(tmp_path / "run", runs.recipe(tmp_path / "recipe"))
    claim(tmp_path / "recipe", tmp_path / "run", is_fresh=True)


@pytest.mark.parametrize("is_fresh", [False, True])
def test_a_foreign_directory_is_refused_and_left_alone(is_fresh: bool, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("years of work")
    with pytest.raises(CutawayError, match=r"holds no Cutaway run.*nothing was changed"):
        RunDirectory(tmp_path / "run", runs.recipe(tmp_path / "recipe"), is_fresh=is_fresh)
    assert runs.snapshot(tmp_path / "run") == {"thesis.txt": b"years of work"}


def test_an_empty_directory_and_what_a_killed_start_left_are_taken(tmp_path: Path) -> None:
    (tmp_path / "run" / "cache").mkdir(parents=True)
    (tmp_path / "run" / "lock").touch()
    claim(tmp_path / "recipe", tmp_path / "run")


@pytest.mark.parametrize("place", ["file", "file/run"])
def test_a_place_that_cannot_be_is_refused(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    with pytest.raises(CutawayError, match=r"holds no Cutaway run|Cannot write to .*: Not a directory"):
        claim(tmp_path / "recipe", tmp_path / place)
    assert (tmp_path / "file").read_text() == "here"


def fail(directory: RunDirectory) -> None:
    """Something is found wrong while the run is prepared."""
    with directory.open():
        directory.cache.mkdir(exist_ok=True)
        (directory.cache / "a.corpus").touch()
        raise CutawayError("a file is missing")


@pytest.mark.parametrize("is_there", [False, True])
def test_what_fails_before_it_is_claimed_leaves_nothing(is_there: bool, tmp_path: Path) -> None:
    if is_there:
        (tmp_path / "run").mkdir()
    with pytest.raises(CutawayError, match="missing"):
        fail(RunDirectory(tmp_path / "run", runs.recipe(tmp_path / "recipe")))
    assert (tmp_path / "run").exists() == is_there
    assert not list(tmp_path.glob("run/*"))


def test_what_fails_in_a_run_leaves_the_run(tmp_path: Path) -> None:
    save(claim(tmp_path / "recipe", tmp_path / "run"), 4)
    for is_fresh in (False, True):
        with pytest.raises(CutawayError, match="missing"):
            fail(RunDirectory(tmp_path / "run", runs.recipe(tmp_path / "recipe"), is_fresh=is_fresh))
        assert [step for step, _ in complete_checkpoints(tmp_path / "run")] == [4]


def test_fresh_deletes_the_run_and_keeps_what_is_not_its_own(tmp_path: Path) -> None:
    directory = claim(tmp_path / "recipe", tmp_path / "run")
    save(directory, 4)
    (tmp_path / "run" / "notes.txt").write_text("mine")
    fresh = RunDirectory(tmp_path / "run", runs.recipe(tmp_path / "recipe", "training.steps=5"), is_fresh=True)
    assert fresh.newest() is None
    assert [step for step, _ in complete_checkpoints(tmp_path / "run")] == [4], "nothing goes before the claim"
    with fresh.open():
        fresh.claim()
    assert complete_checkpoints(tmp_path / "run") == []
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_the_newest_complete_checkpoint_counts_and_older_ones_are_pruned(tmp_path: Path) -> None:
    directory = claim(tmp_path / "recipe", tmp_path / "run")
    save(directory, 2, 10, 4)
    (directory.checkpoints / ".step-00000012.abc.partial").mkdir()
    assert directory.newest() == (10, directory.checkpoint(10))
    directory.prune(2)
    assert [step for step, _ in complete_checkpoints(tmp_path / "run")] == [4, 10]


@pytest.mark.parametrize("damage", ["cut", "no mark", "no file"])
def test_a_damaged_checkpoint_is_set_aside_for_an_older_one(damage: str, tmp_path: Path) -> None:
    directory = claim(tmp_path / "recipe", tmp_path / "run")
    save(directory, 4, 8)
    spoil(directory.checkpoint(8), damage)
    again = claim(tmp_path / "recipe", tmp_path / "run")
    assert again.newest() == (4, again.checkpoint(4))
    assert [path.name for path in again.damaged] == ["step-00000008"]
    assert (again.checkpoints / "damaged-step-00000008").is_dir()
    save(again, 8)


@pytest.mark.parametrize("damage", ["cut", "no mark", "no file"])
def test_a_run_of_which_no_checkpoint_is_whole_is_not_begun_again_in_silence(damage: str, tmp_path: Path) -> None:
    directory = claim(tmp_path / "recipe", tmp_path / "run")
    save(directory, 4)
    spoil(directory.checkpoint(4), damage)
    before = runs.snapshot(tmp_path / "run")
    with pytest.raises(CutawayError, match=r"No checkpoint in .* is whole: step-00000004 .*--fresh"):
        RunDirectory(tmp_path / "run", runs.recipe(tmp_path / "recipe"))
    assert runs.snapshot(tmp_path / "run") == before


def spoil(path: Path, damage: str) -> None:
    if damage == "cut":
        (path / "model").write_bytes(b"1234")
    else:
        (path / {"no mark": "complete.json", "no file": "model"}[damage]).unlink()


def test_a_run_is_finished_when_its_log_says_so(tmp_path: Path) -> None:
    directory = claim(tmp_path / "recipe", tmp_path / "run")
    assert not directory.is_finished
    save(directory, 12)
    assert not directory.is_finished
    log = EventLog(directory.events, resume_at=0)
    log.write(TrainEvent("end", 12, {}))
    log.close()
    assert directory.is_finished
    assert not RunDirectory(tmp_path / "run", runs.recipe(tmp_path / "recipe"), is_fresh=True).is_finished


def test_two_processes_do_not_train_in_one_directory(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run", runs.recipe(tmp_path / "recipe"))
    lock = "import fcntl, sys; file = open(sys.argv[1], 'a'); fcntl.lockf(file, fcntl.LOCK_EX); print('held'); input()"
    (tmp_path / "run").mkdir()
    command = [sys.executable, "-c", lock, str(tmp_path / "run" / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(CutawayError, match="Another process trains in"), directory.open():
            pass
        other.communicate("\n")
    with directory.open():
        pass
