"""Closeness and ratings: Spearman's ρ by its definition, vectors as transformers makes them, and lines that are no pairs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertModel, PreTrainedTokenizerFast

from cutaway.apps.cli import main
from cutaway.errors import CutawayError
from cutaway.lm import LM, load
from cutaway.tasks.metrics import METRICS, ranks
from cutaway.tasks.report import Report
from cutaway.tasks.similarity import evaluate_similarity, read_ratings
from tests import asked
from tests.weights import theirs

WORDS = ("mill", "river", "bridge", "three arches", "Café Müller", "trains")


def write(folder: Path, num: int = 12) -> Path:
    generator = np.random.default_rng(2)
    pairs = [(one, other) for place, one in enumerate(WORDS) for other in WORDS[:place]][:num]
    lines = [f"{one}\t{other}\t{int(generator.integers(0, 6))}\n" for one, other in pairs]
    (folder / "words.txt").write_text("".join(lines), "utf-8")
    return folder / "words.txt"


def encoder(folder: Path) -> LM:
    """A random BERT, written by transformers."""
    tokenizer = asked.wordpiece()
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    theirs.random(BertModel, BertModel.config_class(vocab_size=tokenizer.vocab_size, **sizes)).save_pretrained(folder)
    tokenizer.save(folder)
    return load(folder)


def rho(one: list[float], other: list[float]) -> float:
    """Pearson's correlation of ranks, by counting."""

    def ranked(values: list[float]) -> list[float]:
        return [sum(x < value for x in values) + (sum(x == value for x in values) + 1) / 2 for value in values]

    return float(np.corrcoef(ranked(one), ranked(other))[0, 1])


def test_the_correlation_is_that_of_the_reference(tmp_path: Path) -> None:
    lm, path = encoder(tmp_path / "bert"), write(tmp_path)
    report = evaluate_similarity(lm, path)
    model = BertModel.from_pretrained(tmp_path / "bert").eval()
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "bert" / "tokenizer.json"))

    def vector(text: str) -> torch.Tensor:
        ids = [*tokenizer.encode(text)]
        if not any(lm.tokenizer.frame):
            ids = [lm.tokenizer.roles.cls, *ids, lm.tokenizer.roles.sep]
        with torch.inference_mode():
            states = model(torch.tensor([ids])).last_hidden_state[0].mean(0)
        return torch.nn.functional.normalize(states, dim=0)

    pairs = read_ratings(path)
    cosines = [float(vector(pair.first) @ vector(pair.second)) for pair in pairs]
    assert [float(example.prediction) for example in report.examples] == pytest.approx(cosines, abs=1e-3)
    wanted = 100 * rho(cosines, [pair.rating for pair in pairs])
    assert report.score("spearman").value == pytest.approx(wanted, abs=0.1)
    assert abs(wanted) > 1


def test_ranks_are_means_where_values_are_equal() -> None:
    assert ranks(np.array([3.0, 1.0, 3.0, 9.0, 1.0])).tolist() == [0.625, 0.125, 0.625, 1.0, 0.125]
    assert ranks(np.array([5.0])).tolist() == [0.0]


def test_sums_give_the_correlation_and_what_is_all_equal_gives_none() -> None:
    generator = np.random.default_rng(7)
    one, other = generator.integers(0, 9, size=(2, 40)).astype(np.float64)
    a, b = ranks(one), ranks(other)
    rows = np.stack([a, b, a * a, b * b, a * b], axis=1)
    found = METRICS["spearman"].value(np.stack([rows.sum(0), np.zeros(5)]), 40)
    assert found.tolist() == pytest.approx([100 * rho(one.tolist(), other.tolist()), 0.0])
    near = METRICS["spearman"].of_one(rows)
    assert near == pytest.approx(100 * (1 - np.abs(a - b)))


def test_by_command_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder(tmp_path / "bert")
    path, kept = write(tmp_path), tmp_path / "report.json"
    words = ["evaluate", str(tmp_path / "bert"), str(path), "--task", "similarity"]
    assert main([*words, "--report", str(kept)]) == 0
    assert "pooling:mean" in capsys.readouterr().out
    report = Report.load(kept)
    assert (report.task, report.num_examples) == ("similarity", 12)
    assert main([*words, "--pooling", "first", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scores"]["spearman"]["value"] != report.score("spearman").value
    assert main([*words, "--pooling", "last"]) == 2
    assert "pooling is 'last'" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["tiger\tcat", "tiger cat 7", "tiger\tcat\tmuch", "\tcat\t1", "tiger\tcat\tnan"])
def test_a_line_that_is_no_pair_is_named(line: str, tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_text(path.read_text() + f"{line}\n")
    with pytest.raises(CutawayError, match=r"words\.txt:13 is .*A line is two texts and a number"):
        read_ratings(path)


def test_ratings_that_are_all_equal_have_no_order(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("a\tb\t1\nc\td\t1\n")
    with pytest.raises(CutawayError, match="no two pairs with different ratings"):
        read_ratings(tmp_path / "words.txt")


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(CutawayError, match=r"The file '.*nowhere\.txt' does not exist\. Name a text file\."):
        read_ratings(tmp_path / "nowhere.txt")
