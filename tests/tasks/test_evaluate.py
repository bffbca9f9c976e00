"""Evaluation: every token once, exactly what a slow twin finds, and clear refusals."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from cutaway.config import TokenIds
from cutaway.errors import CutawayError
from cutaway.lm import LM
from cutaway.tasks.evaluate import evaluate
from cutaway.text import Tokenizer, train_tokenizer
from tests import tiny

SWITCHES = ("single_word", "lstrip", "rstrip", "normalized")
TEXT = "The cat saw the dög, and the dog — saw the cat.\nÉté!\n" * 2


def language_model(tokenizer: Tokenizer, *, context: int = 10) -> LM:
    ids = TokenIds(bos=tokenizer.roles.bos, eos=tokenizer.roles.eos)
    return LM(tiny.model(tiny.config(vocab_size=tokenizer.vocab_size, context=context, tokens=ids)), tokenizer, "tiny")


def models() -> dict[str, LM]:
    return {
        "characters": language_model(train_tokenizer("character", [TEXT])),
        "bytes": language_model(train_tokenizer("byte", [])),
        "longer than the text": language_model(train_tokenizer("character", [TEXT]), context=500),
    }


def slow(lm: LM, documents: list[str]) -> tuple[float, int]:
    """Target by target: the nats and number of all, each from the first window that holds it; windows move by half a context."""
    end = lm.tokenizer.roles.eos
    ids = [i for text in documents for i in [*lm.tokenizer.encode(text), *([] if end is None else [end])]]
    row = ids if end is None else [end, *ids]
    targets, context = row[1:], lm.config.context
    length, stride = min(context, len(targets)), max(1, context // 2)
    nats = 0.0
    for place, target in enumerate(targets):
        window = max(0, -(-(place - length + 1) // stride))
        start = min(window * stride, len(targets) - length)
        logits = lm.logits(row[start : place + 1])[0, -1]
        nats -= float(logits.double().log_softmax(-1)[target])
    return nats, len(targets)


def test_what_begins_every_text_is_read_and_not_scored(tmp_path: Path) -> None:
    plain = train_tokenizer("byte", [])
    bos, state = plain.vocab_size, json.loads(plain.to_json())
    begin = {"SpecialToken": {"id": "<bos>", "type_id": 0}}
    state["added_tokens"].append({"id": bos, "content": "<bos>", "special": True, **dict.fromkeys(SWITCHES, False)})
    text = {"Sequence": {"id": "A", "type_id": 0}}
    tokens = {"<bos>": {"id": "<bos>", "ids": [bos], "tokens": ["<bos>"]}}
    frame = {"type": "TemplateProcessing", "single": [begin, text], "pair": [begin, text], "special_tokens": tokens}
    tokenizer = Tokenizer.from_json(json.dumps({**state, "post_processor": frame}))
    lm, file = language_model(tokenizer, context=500), tmp_path / "text.txt"
    file.write_text(TEXT, "utf-8")
    row = lm.ids(TEXT)
    assert row[0] == bos
    logits = lm.logits(row[:-1])[0].double().log_softmax(-1)
    report = evaluate(lm, file)
    assert report.tokens == len(row) - 1 == len(TEXT.encode())
    assert report.loss == pytest.approx(-float(logits.gather(-1, torch.tensor(row[1:])[:, None]).mean()), rel=1e-6)


@pytest.mark.parametrize("window", [0, 11, -1])
def test_a_window_that_the_model_cannot_read(window: int, tmp_path: Path) -> None:
    with pytest.raises(CutawayError, match=f"window is {window}. It runs from 1 to the context of the model, 10"):
        evaluate(models()["bytes"], tmp_path / "text.txt", window=window)


@pytest.mark.parametrize("name", models())
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_it_equals_its_slow_twin(name: str, batch_size: int, tmp_path: Path) -> None:
    lm, file = models()[name], tmp_path / "text.txt"
    file.write_text(TEXT, "utf-8")
    nats, num_tokens = slow(lm, [TEXT])
    report = evaluate(lm, file, batch_size=batch_size)
    assert report.tokens == num_tokens
    assert report.loss == pytest.approx(nats / num_tokens, rel=1e-6)
    assert report.perplexity == pytest.approx(math.exp(nats / num_tokens), rel=1e-5)
    assert report.bits_per_byte == pytest.approx(nats / math.log(2) / report.bytes, rel=1e-3)


def test_windows_in_which_nothing_is_hidden_are_refused(tmp_path: Path) -> None:
    """A shifted model is given the first token of each window, and a window of one token has no other."""
    (tmp_path / "text.txt").write_text(TEXT, "utf-8")
    tokenizer = train_tokenizer("byte", [])
    config = tiny.config(
        vocab_size=tokenizer.vocab_size, predicts="masked_next", tokens=TokenIds(mask=tokenizer.roles.mask)
    )
    lm = LM(tiny.model(config), tokenizer, "tiny")
    with pytest.raises(
        CutawayError, match=r"no token of .* is hidden: 'tiny' was trained to fill in hidden tokens, each"
    ):
        evaluate(lm, tmp_path / "text.txt", window=1)
    assert evaluate(lm, tmp_path / "text.txt", window=2, draws=1).tokens > 0


def test_bytes_are_those_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text(TEXT, "utf-8")
    report = evaluate(models()["bytes"], file)
    assert report.bytes == file.stat().st_size
    assert report.tokens == file.stat().st_size + 1, "the end of the text is predicted too"
    assert report.bits_per_byte == pytest.approx(report.loss * report.tokens / math.log(2) / report.bytes, rel=1e-6)


def test_documents_are_parted_by_the_separator(tmp_path: Path) -> None:
    lm, file = models()["bytes"], tmp_path / "text.txt"
    file.write_text("One cat.<end>Two cats.<end>", "utf-8")
    nats, num_tokens = slow(lm, ["One cat.", "Two cats."])
    report = evaluate(lm, file, separator="<end>")
    assert (report.tokens, report.bytes) == (num_tokens, 17)
    assert report.loss == pytest.approx(nats / num_tokens, rel=1e-6)


def test_progress_ends_with_every_token(tmp_path: Path) -> None:
    lm, file, told = models()["characters"], tmp_path / "text.txt", []
    file.write_text(TEXT, "utf-8")
    report = evaluate(lm, file, batch_size=2, progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert len(told) > 3
    assert told[-1][0] == report.tokens


def test_a_hopeless_loss_has_a_finite_perplexity(tmp_path: Path) -> None:
    lm, file = models()["bytes"], tmp_path / "text.txt"
    file.write_text("ab", "utf-8")
    with torch.no_grad():
        lm.model.token.weight.mul_(1e4)
        assert lm.model.head is not None
        lm.model.head.projection.weight.mul_(1e4)
    assert math.isfinite(evaluate(lm, file).perplexity)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "does not exist"), (b"", "no text"), (b"a\x00b", "binary"), (b"\xff\xfe", "not UTF-8"), (b"T", "too few")],
    ids=["missing", "empty", "binary", "not UTF-8", "one character"],
)
def test_a_file_without_a_text_is_refused(content: bytes | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CutawayError, match=message):
        evaluate(models()["characters"], file)


def test_unknown_characters_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("Ω", "utf-8")
    with pytest.raises(CutawayError, match="Ω"):
        evaluate(models()["characters"], tmp_path / "text.txt")


@pytest.mark.parametrize("stacks", [{"encoder": tiny.stack()}, {"encoder": tiny.stack(), "decoder": tiny.stack()}])
def test_only_decoders_predict_a_text(stacks: dict[str, object], tmp_path: Path) -> None:
    tokenizer = train_tokenizer("byte", [])
    lm = LM(tiny.model(tiny.config(vocab_size=tokenizer.vocab_size, **stacks)), tokenizer, "other")  # type: ignore[arg-type]
    (tmp_path / "text.txt").write_text("text", "utf-8")
    with pytest.raises(CutawayError, match="no decoder-only model"):
        evaluate(lm, tmp_path / "text.txt")
