"""`cutaway convert`: both formats, every kind of numbers, and a model that answers the same afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from cutaway.apps.cli import main
from cutaway.apps.cli.convert import KINDS
from cutaway.errors import CutawayError
from cutaway.finding import find
from cutaway.lm import load
from cutaway.weights.gguf import WRITABLE, save
from cutaway.weights.gguf.reader import GgufFile
from cutaway.weights.provenance import read_provenance
from tests import tiny
from tests.apps.test_cli import Capture, ask
from tests.text.samples import trained
from tests.weights import gguf_files
from tests.weights.samples import wild

WORDS = ("--max-tokens", "12", "--temperature", "0")


def checkpoint(directory: Path, **knobs: object) -> str:
    """A checkpoint directory with a tokenizer."""
    from cutaway.weights.checkpoint import save

    model = gguf_files.model(vocab_size=trained("bpe").vocab_size, **knobs)
    save(directory / "m", model, tokenizer_files=trained("bpe").save)
    return str(directory / "m")


def test_a_chat_template_and_a_licence_go_along(tmp_path: Path, capsys: Capture) -> None:
    source, template = checkpoint(tmp_path), "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"
    (Path(source) / "chat_template.jinja").write_text(template)
    (Path(source) / "README.md").write_text("---\nlicense: 'apache: 2.0'\n---\n")
    ask(capsys, "convert", source, str(tmp_path / "copy"), "--to", "hf")
    ask(capsys, "convert", str(tmp_path / "copy"), str(tmp_path / "copy.gguf"))
    ask(capsys, "convert", str(tmp_path / "copy.gguf"), str(tmp_path / "back"))
    for name in ("copy", "copy.gguf", "back"):
        found = load(str(tmp_path / name)).chat_template
        assert found is not None
        assert (
            found.render([{"role": "user", "content": "Ah "}])
            == f"Ah {trained('bpe').spelling(trained('bpe').roles.eos)}"
        )
        assert read_provenance(tmp_path / name).licence == "apache: 2.0"


def test_a_template_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    save(file, gguf_files.model(), trained("bpe"), template=7)  # type: ignore[arg-type]
    with pytest.raises(CutawayError, match="is no text"):
        _ = load(str(file)).chat_template


def test_there_and_back(tmp_path: Path, capsys: Capture) -> None:
    source, file, back = checkpoint(tmp_path, is_tied=False), str(tmp_path / "n.gguf"), str(tmp_path / "back")
    assert ask(capsys, "convert", source, file, "--quantize", "f32").startswith(f"{file}: {source} in f32, 0.")
    assert ask(capsys, "convert", file, back, "--to", "hf").startswith(f"{back}: {file} in f32, 0.")
    texts = {ask(capsys, "generate", model, "The cat", *WORDS) for model in (source, file, back)}
    assert len(texts) == 1
    assert load(back).config == load(file).config == load(source).config
    assert load(back).tokenizer == load(file).tokenizer == load(source).tokenizer


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_written_and_every_command_opens_it(kind: str, tmp_path: Path, capsys: Capture) -> None:
    file = str(tmp_path / "m.gguf")
    ask(capsys, "convert", checkpoint(tmp_path), file, "--to", "gguf", "--quantize", kind)
    with GgufFile(Path(file)) as opened:
        assert opened.entries["blk.0.attn_qkv.weight"].kind is WRITABLE[kind]
        assert opened.metadata["general.name"] == "m"
    (tmp_path / "text.txt").write_text("The cat and the dog went up the hill. " * 20, "utf-8")
    assert "perplexity" in ask(capsys, "evaluate", file, str(tmp_path / "text.txt"))
    assert "The cat" in ask(capsys, "generate", file, "The cat", "--max-tokens", "3")
    assert ask(capsys, "inspect", file, "The cat")
    assert ask(capsys, "inspect", file, "--config")


def test_halves_are_the_default_of_a_file(tmp_path: Path, capsys: Capture) -> None:
    ask(capsys, "convert", checkpoint(tmp_path), str(tmp_path / "n.gguf"))
    with GgufFile(tmp_path / "n.gguf") as opened:
        assert opened.entries["token_embd.weight"].kind.name == "F16"


def test_a_file_is_found_by_its_path_alone(tmp_path: Path) -> None:
    path = gguf_files.saved(tmp_path)
    assert find(str(path)) == path
    assert load(path).logits(tiny.ids(1, 5)).shape == (1, 5, 350)


MISTAKES = (
    (("SOURCE", "FOLDER/n.gguf", "--to", "hf"), "is named NAME.gguf, a directory is not"),
    (("SOURCE", "FOLDER/n", "--to", "gguf"), "is named NAME.gguf, a directory is not"),
    (("SOURCE", "FOLDER/n", "--quantize", "q8_0"), "--quantize q8_0 is for .gguf files"),
    (("nowhere", "FOLDER/n.gguf"), "There is no model 'nowhere'"),
    (("FOLDER/none.gguf", "FOLDER/n"), "no such directory or .gguf file"),
    (("FOLDER/cut.gguf", "FOLDER/n"), "cut.gguf is not a whole GGUF file"),
    (("SOURCE", "FOLDER/notes.gguf"), "exists and is no .gguf file"),
    (("WILD", "FOLDER/n.gguf"), "No architecture of llama.cpp is this model"),
    (("WILD", "FOLDER/n"), "No other program opens this model"),
)


@pytest.mark.parametrize(("words", "message"), MISTAKES, ids=[message for _, message in MISTAKES])
def test_a_mistake_is_one_message(words: tuple[str, ...], message: str, tmp_path: Path, capsys: Capture) -> None:
    from cutaway.weights.checkpoint import save

    source = checkpoint(tmp_path)
    save(tmp_path / "wild", tiny.model(wild()))
    (tmp_path / "notes.gguf").write_text("mine")
    (tmp_path / "cut.gguf").write_bytes(gguf_files.saved(tmp_path).read_bytes()[:-100])
    names = {"SOURCE": source, "WILD": str(tmp_path / "wild")}
    typed = [names.get(word, word.replace("FOLDER", str(tmp_path))) for word in words]
    assert main(["convert", *typed]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert not (tmp_path / "n").exists()
    assert not (tmp_path / "n.gguf").exists()
