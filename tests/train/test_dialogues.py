"""Finetuning on conversations: only replies are scored, no dialogue sees another, and the model that comes out can chat."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cutaway.config import TokenIds
from cutaway.errors import CutawayError
from cutaway.lm import load
from cutaway.tasks.chat import Conversation, reply
from cutaway.text import SpecialPlan, Tokenizer, train_tokenizer
from cutaway.text.turns import end_of_turn, role_template
from cutaway.train.loop import Trainer
from cutaway.train.recipe import Recipe, load_recipe
from cutaway.weights import checkpoint
from tests import tiny
from tests.text.samples import trained

from . import runs

RECIPE = """
name = "talk"
base = "base"
[[dialogues.train]]
files = "train.jsonl"
[[dialogues.validation]]
files = "held.jsonl"
[optimiser]
learning_rate = 0.01
[schedule]
warmup_steps = 0
[training]
steps = 12
batch_size = 4
evaluate_every = 6
sample_every = 6
save_every = 4
threads = 1
[sample]
prompt = "The cat?"
max_tokens = 6
"""


def lines(begin: int, end: int) -> str:
    """Somebody names a number, and is told a cat or a dog."""
    said = [("cat" if number % 2 else "dog", number) for number in range(begin, end)]
    pairs = [([f"The {number}?"], [f"The {animal}."]) for animal, number in said]
    records = [
        {"messages": [{"role": "user", "content": ask[0]}, {"role": "assistant", "content": answer[0]}]}
        for ask, answer in pairs
    ]
    return "".join(json.dumps(record) + "\n" for record in records)


def base(folder: Path, tokenizer: Tokenizer | None = None) -> None:
    words = trained("bpe") if tokenizer is None else tokenizer
    ids = TokenIds(bos=words.roles.bos, eos=words.roles.eos, pad=words.roles.pad)
    model = tiny.model(tiny.config(vocab_size=words.vocab_size, context=24, tokens=ids), std=0.05)
    checkpoint.save(folder / "base", model, tokenizer_files=words.save)


def recipe(folder: Path, *changes: str) -> Recipe:
    if not (folder / "base").exists():
        base(folder)
    (folder / "train.jsonl").write_text(lines(0, 60))
    (folder / "held.jsonl").write_text(lines(60, 70))
    (folder / "talk.toml").write_text(RECIPE)
    return load_recipe(str(folder / "talk.toml"), changes)


def test_what_counts_is_what_the_assistant_says(tmp_path: Path) -> None:
    feed = Trainer(recipe(tmp_path), tmp_path / "run").data
    words = feed.tokenizer
    template = role_template(words)
    assert template is not None
    task = feed.task(0, 0)
    assert task.weights is not None
    ends = end_of_turn(template, words)
    segment = task.tokens.segment
    for row in range(len(task.input_ids)):
        for number in range(int(segment[row].max()) + 1):
            mine = segment[row] == number
            scored = task.target_ids[row][mine & (task.weights[row] == 1)].tolist()
            assert scored[-1] == ends
            assert words.decode(scored[:-1]) in ("The cat.", "The dog.")
            assert (task.tokens.position[row][mine] == np.arange(int(mine.sum()))).all()
    assert (task.weights[segment < 0] == 0).all()


def test_a_run_learns_to_reply_and_its_model_chats(tmp_path: Path) -> None:
    events = runs.train(recipe(tmp_path, "training.steps=60"), tmp_path / "run")
    evaluations = [event.values for event in events if event.kind == "evaluate"]
    assert evaluations[-1]["loss"] < 0.7 * evaluations[0]["loss"]
    samples = [event.values["text"] for event in events if event.kind == "sample"]
    assert all(text.startswith("The cat? → ") for text in samples)
    lm = load(tmp_path / "run")
    assert lm.chat_template is not None
    said = reply(lm, Conversation().add("user", "The 7?"), max_tokens=12)
    assert "".join(said).strip() in ("The cat.", "The dog.")
    assert said.ending == "turn"


def test_bits_are_counted_over_the_bytes_that_are_said(tmp_path: Path) -> None:
    feed = Trainer(recipe(tmp_path), tmp_path / "run").data
    trainer = Trainer(recipe(tmp_path), tmp_path / "other")
    (held,) = feed.held(trainer.model, "fp32")
    assert held.num_bytes == pytest.approx(10 * len("The cat."))
    assert held.tokens == sum(len(feed.tokenizer.encode(f"The {animal}.")) + 1 for animal in ("cat", "dog")) * 5


def test_it_goes_on_bit_for_bit(tmp_path: Path) -> None:
    runs.assert_goes_on_bit_for_bit(recipe(tmp_path), tmp_path, stop=7)


def test_a_damaged_cache_is_made_again(tmp_path: Path) -> None:
    plan = recipe(tmp_path)
    first = Trainer(plan, tmp_path / "run").data.task(0, 0)
    for path in (tmp_path / "run" / "cache").glob("*.npz"):
        path.write_bytes(path.read_bytes()[:-40])
    again = Trainer(plan, tmp_path / "run").data.task(0, 0)
    assert (first.target_ids == again.target_ids).all()


def test_a_base_without_roles_is_refused(tmp_path: Path) -> None:
    base(tmp_path, train_tokenizer("byte", [], specials=SpecialPlan(chat=False)))
    with pytest.raises(CutawayError, match="has no chat template and no tokens for the roles"):
        Trainer(recipe(tmp_path), tmp_path / "run")


REFUSED = {
    "no base": (("name=x",), "are for a model that has learned to write"),
    "no held-out dialogues": (("dialogues.validation=[]",), "dialogues.validation is empty"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_said_first(case: str, tmp_path: Path) -> None:
    changes, message = REFUSED[case]
    recipe(tmp_path)
    text = RECIPE.replace('base = "base"\n', "") if case == "no base" else RECIPE
    model = "[model]\ncontext = 16\n[model.decoder]\nnum_layers = 1\nd_model = 16\nattention = {num_heads = 2}\n"
    extra = f"{model}feedforward = {{d_hidden = 32}}\n" if case == "no base" else ""
    (tmp_path / "talk.toml").write_text(text + extra)
    with pytest.raises(CutawayError, match=message):
        load_recipe(str(tmp_path / "talk.toml"), changes)


def test_a_line_that_is_no_dialogue_is_named(tmp_path: Path) -> None:
    plan = recipe(tmp_path)
    with (tmp_path / "train.jsonl").open("a") as file:
        file.write('{"messages": [{"role": "user"}]}\n')
    with pytest.raises(CutawayError, match=r"train.jsonl:61: messages, number 1 has no field 'content'"):
        Trainer(plan, tmp_path / "run")


def test_a_sample_that_fills_the_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CutawayError, match=r"Shorten sample\.prompt"):
        Trainer(recipe(tmp_path, f"sample.prompt={'The cat and the dog. ' * 9}"), tmp_path / "run")
