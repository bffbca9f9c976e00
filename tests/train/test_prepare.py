"""Before the first step: whatever would stop a run later is said at once, and kinds of sources and packing all train."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cutaway.errors import CutawayError
from cutaway.train.prepare import prepare

from . import runs

DOCUMENTS = [f"The cat number {i} saw {i * 7} dogs." for i in range(80)]

# What is changed, the text, and what the message must say.
REFUSED = {
    "empty": ((), "", "There is no text in text.txt"),
    "blank": ((), " \n\n ", "There is no text in text.txt"),
    "shorter than the context": ((), "The cat.", "one window takes 17"),
    "validation too short": (("data.validation_share=0.01",), runs.TEXT, r"held-out part of text.txt has 14 tokens"),
    "one side empty": (("data.validation_share=0.0001",), "The cat saw the dog. " * 5, "one window|one side"),
    "prompt unknown": (("sample.prompt='ÄÖ'",), runs.TEXT, "sample.prompt cannot be read"),
    "prompt empty": (("sample.prompt=''",), runs.TEXT, "sample.prompt is empty"),
    "prompt too long": (("sample.prompt='The cat saw the dog'",), runs.TEXT, "sample.prompt has 19 tokens"),
    "no pad token": (("data.packing=packed",), runs.TEXT, "Packed rows need a pad token"),
    "vocabulary too small": (("tokenizer.kind=bpe", "tokenizer.vocab_size=10"), runs.TEXT, "vocab_size is 10"),
    "tokenizer missing": (("tokenizer.path=nowhere",), runs.TEXT, "No tokenizer at .*nowhere"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_stop_the_run_is_said_first(case: str, tmp_path: Path) -> None:
    changes, text, message = REFUSED[case]
    with pytest.raises(CutawayError, match=message):
        prepare(runs.recipe(tmp_path, *changes, text=text), tmp_path / "cache")


def test_binary_junk_is_refused(tmp_path: Path) -> None:
    recipe = runs.recipe(tmp_path)
    for junk in (b"\x89PNG\r\n\x1a\n\xff", b"text\x00text"):
        (tmp_path / "text.txt").write_bytes(junk)
        with pytest.raises(CutawayError, match=r"not UTF-8 text|is binary"):
            prepare(recipe, tmp_path / "cache")


def test_a_missing_validation_file_is_said_before_the_tokenizer_is_trained(tmp_path: Path) -> None:
    recipe = runs.recipe(tmp_path, 'data.validation=[{files="held.txt"}]', text="")
    with pytest.raises(CutawayError, match=r"'.*held\.txt' does not exist"):
        prepare(recipe, tmp_path / "cache")


def test_the_tail_is_held_out(tmp_path: Path) -> None:
    data = prepare(runs.recipe(tmp_path), tmp_path / "cache")
    (train,), (held,) = data.train, data.validation
    assert train.num_tokens == int(0.9 * len(runs.TEXT))
    assert data.tokenizer.decode([*train.token_ids, *held.token_ids]) == runs.TEXT
    assert data.bytes_per_token == 1.0
    assert data.config.vocab_size == data.tokenizer.vocab_size


def write_sources(folder: Path) -> list[str]:
    """The documents as JSON lines and as Parquet, and the changes that read them."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    folder.mkdir(exist_ok=True)
    lines = [json.dumps({"text": text}) for text in DOCUMENTS[:60]]
    (folder / "a.jsonl").write_text("\n".join(lines), "utf-8")
    parquet.write_table(pyarrow.table({"body": DOCUMENTS}), folder / "b.parquet")
    train = 'data.train=[{files="a.jsonl", weight=2.0}, {files="b.parquet", field="body"}]'
    return [train, 'data.validation=[{files="b.parquet", field="body"}]']


@pytest.mark.parametrize("packing", ["stream", "packed"])
@pytest.mark.parametrize("kind", ["byte", "word"])
def test_json_lines_and_parquet_train_in_either_packing(kind: str, packing: str, tmp_path: Path) -> None:
    sources = write_sources(tmp_path)
    recipe = runs.recipe(
        tmp_path,
        *sources,
        f"tokenizer.kind={kind}",
        f"data.packing={packing}",
        "training.steps=4",
        "training.accumulate=2",
    )
    events = runs.train(recipe, tmp_path / "run")
    losses = [event.values["loss"] for event in events if event.kind == "step"]
    (held,) = [event.values for event in events if event.kind == "evaluate"]
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    assert 0 < held["loss"] < losses[0]
    assert held["by_source"].keys() == {"b.parquet"}
    assert held["by_source"]["b.parquet"] == pytest.approx(held["bits_per_byte"])


def test_a_tokenizer_may_come_from_another_run(tmp_path: Path) -> None:
    data = prepare(runs.recipe(tmp_path), tmp_path / "cache")
    data.tokenizer.save(tmp_path / "tok")
    taken = prepare(runs.recipe(tmp_path, "tokenizer.path=tok"), tmp_path / "cache")
    assert taken.tokenizer.fingerprint() == data.tokenizer.fingerprint()
