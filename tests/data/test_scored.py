"""What of a document is predicted: the tokens behind the marker, in rows and in bytes, for next tokens and for hidden ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cutaway.data import Corpus, Loader, encode_documents, scored_after, sequential, split
from cutaway.errors import CutawayError
from cutaway.objectives import causal, masked, rows_of
from cutaway.objectives.noise import at_rate
from cutaway.text import Tokenizer, train_tokenizer
from cutaway.train.loop import Trainer
from cutaway.train.text_feed import TextFeed
from tests.train import runs

TEXTS = ["ab>cde", "x>é", "abcd>a>b"]  # é has two bytes; of two marks the first counts


def tokenizer() -> Tokenizer:
    return train_tokenizer("byte", [])


def corpus(texts: list[str], has_end: bool = True) -> Corpus:
    words = tokenizer()
    end_id = words.roles.eos if has_end else None
    return encode_documents(texts, words.encode_batch, end_id=end_id, vocab_size=words.vocab_size, name="puzzles")


def scored(texts: list[str], marker: str = ">", context: int = 16, has_end: bool = True) -> Corpus:
    return scored_after(corpus(texts, has_end), tokenizer(), marker, context)


@pytest.mark.parametrize("has_end", [True, False])
def test_what_counts_is_what_stands_behind_the_first_marker(has_end: bool) -> None:
    found = scored(TEXTS, has_end=has_end)
    assert found.weights is not None
    for number, text in enumerate(TEXTS):
        begin, end = found.document_starts[number : number + 2]
        behind = len(text.partition(">")[2].encode()) + has_end
        assert found.weights[begin:end].tolist() == [0.0] * (end - begin - behind) + [1.0] * behind
        assert found.document_bytes[number] == len(text.partition(">")[2].encode())
    assert (found.num_bytes, found.num_scored) == (8, 8 + 3 * has_end)


def test_rows_score_it_once_each_epoch_and_count_its_bytes() -> None:
    words, found = tokenizer(), scored(TEXTS, context=9)
    pad = words.roles.pad
    wanted = sorted("".join(text.partition(">")[2] for text in TEXTS).encode())
    loader = Loader([found], context=9, micro_batch_size=1, seed=3, packing="packed", pad_id=pad)
    epoch = [loader.batch(step) for step in range(loader.windows[0].num_rows)]
    for batches in (epoch, list(sequential(found, 9, 2, packed_with=pad))):
        said = [int(target) for batch in batches for target in batch.target_ids[batch.weights > 0]]
        assert sorted(target for target in said if target < 256) == wanted
        assert said.count(words.roles.eos or -1) == len(TEXTS)
        assert sum(batch.num_bytes for batch in batches) == pytest.approx(8)
        task = causal(batches[0])
        assert task.num_scored == batches[0].num_scored < (np.asarray(batches[0].segments) >= 0).sum()


def test_what_is_only_read_is_never_hidden() -> None:
    """Even where everything that may be hidden is: the prompt stays, and no loss is taken there."""
    words = tokenizer()
    assert words.roles.mask is not None
    (batch,) = sequential(scored(TEXTS, context=9), 9, 8, packed_with=words.roles.pad)
    rows = rows_of(batch)
    noise = at_rate(rows.may_hide, 1.0, torch.Generator().manual_seed(0))
    task = masked(rows, noise, words.roles.mask)
    shown = [words.decode(row[row < 256].tolist()) for row in task.input_ids]
    assert sorted("".join(shown)) == sorted("ab>" + "x>" + "abcd>")
    assert task.weights is not None
    assert task.weights.sum() == task.num_scored == 8  # the end is said by next tokens only


def test_the_parts_of_a_split_keep_their_weights() -> None:
    whole = scored(TEXTS * 4)
    assert whole.weights is not None
    left, right = split(whole, 0.4)
    assert left.weights is not None
    assert right.weights is not None
    assert np.array_equal(np.concatenate([left.weights, right.weights]), whole.weights)
    pad = tokenizer().roles.pad
    sizes = [sum(batch.num_bytes for batch in sequential(part, 16, 4, packed_with=pad)) for part in (left, right)]
    assert all(np.isfinite(sizes)), "a document that was cut before its marker has nothing to predict"
    one, other = split(scored([f"{number}>{number}" for number in range(50)]), 0.3, by="documents")
    for part in (one, other):
        assert part.weights is not None
        assert part.weights.sum() == part.num_bytes + part.num_documents
        assert len(part.weights) == part.num_tokens


REFUSED = (
    (["a>b"], {"marker": "=>"}, r"makes 2 tokens of it, =, >\. Name a text that is one token"),
    (["a>b"], {"marker": ""}, "makes 0 tokens of it"),
    (
        ["a>b", "no mark", "c>d", *["-"] * 4],
        {},
        r"puzzles has documents without '>'.*: number 2, 4, 5 and 2 more of 7\.",
    ),
    (["a>b", "c>"], {}, "with nothing behind '>'.*: number 2 of 2"),
    (["a>b", "12345>6"], {"context": 7}, "more than 7 tokens.*: number 2 of 2"),
)


@pytest.mark.parametrize(("texts", "knobs", "message"), REFUSED, ids=[message[:24] for *_, message in REFUSED])
def test_what_cannot_be_scored_is_one_message(texts: list[str], knobs: dict[str, object], message: str) -> None:
    with pytest.raises(CutawayError, match=message):
        scored(texts, **knobs)  # type: ignore[arg-type]


def test_a_row_may_be_as_long_as_the_longest_document() -> None:
    assert scored(["12345>6"], context=8).num_scored == 2
    assert scored(["12345>6"], context=6, has_end=False).num_scored == 1


def plan(folder: Path, *changes: str, text: str = runs.TEXT) -> runs.Recipe:
    return runs.recipe(
        folder, "tokenizer.kind='byte'", "data.scored_after=','", "model.context=64", "model.decoder.position.kind='rotary'",
        *changes, text=text,
    )  # fmt: skip


def test_a_recipe_that_joins_documents_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CutawayError, match=r"data.scored_after is ',' and data.packing is 'stream'.*'packed'"):
        plan(tmp_path)


def test_a_recipe_whose_documents_lack_the_marker_is_refused(tmp_path: Path) -> None:
    packed = ("data.packing='packed'", "data.train=[{files='text.txt', separator=' came.'}]")
    runs.assert_said_first(
        lambda: plan(tmp_path, *packed, text="a, b came. c came."), tmp_path / "run", "number 2 of 2"
    )


@pytest.mark.parametrize("kind", ["next", "diffusion", "masked"])
def test_a_recipe_learns_what_stands_behind_the_marker(kind: str, tmp_path: Path) -> None:
    separated = "data.train=[{files='text.txt', separator=' came.'}]"
    made = plan(tmp_path, "data.packing='packed'", separated, "training.steps=3", f"objective.kind='{kind}'")
    trainer = Trainer(replace(made, seed=5), tmp_path / "run")
    task = trainer.data.task(0, 0)
    begun = task.input_ids[0, :8].tolist()
    assert trainer.data.config.tokens.mask not in begun, "what is read is never hidden"
    assert isinstance(trainer.data, TextFeed)
    opening = list(trainer.data.opening.ids)
    assert begun[: len(opening)] == opening == [trainer.data.tokenizer.roles.eos, *b"The "], (
        "a sample begins as a row does"
    )
    assert [event.kind for event in trainer.run()].count("step") == 3
