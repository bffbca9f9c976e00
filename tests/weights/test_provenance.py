"""What a checkpoint says of itself: family, kind of numbers, licence; whatever strangers wrote there stays short text."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cutaway.finding import bundled_models
from cutaway.lm import load
from cutaway.weights import checkpoint, gguf
from cutaway.weights.provenance import read_provenance
from tests import tiny
from tests.weights.samples import saved

CARD = "---\nlanguage: en\nlicense: {}\ntags:\n- x\n---\n# A model\n"


@pytest.mark.parametrize(
    ("name", "text", "licence"),
    [
        ("README.md", CARD.format("apache-2.0"), "apache-2.0"),
        ("README.md", CARD.format("'mit'"), "mit"),
        ("README.md", CARD.format("x" * 500), "x" * 80),
        ("README.md", "# A model\nlicense: mit\n", None),
        ("README.md", "---\nlicense: mit", None),
        ("LICENSE", "\n  Apache License\nVersion 2.0\n", "Apache License"),
        ("LICENSE.txt", "", None),
        ("notes.txt", "license: mit", None),
    ],
)
def test_a_licence_is_what_the_files_say(name: str, text: str, licence: str | None, tmp_path: Path) -> None:
    path = saved(tmp_path)
    (path / name).write_text(text)
    found = read_provenance(path)
    assert (found.family, found.licence) == ("GPT-2", licence)


def test_how_the_numbers_lie(tmp_path: Path) -> None:
    model = tiny.model(tiny.config(is_tied=True))
    for dtype, name in ((torch.float32, "float32"), (torch.bfloat16, "bfloat16")):
        checkpoint.save(tmp_path / name, model, dtype=dtype)
        size = (tmp_path / name / "model.safetensors").stat().st_size
        stored = read_provenance(tmp_path / name).stored
        assert list(stored) == [name]
        assert 0 < size - stored[name] < 10_000


def test_of_a_gguf_file(tmp_path: Path) -> None:
    lm = load(bundled_models()["stories"])
    gguf.save(tmp_path / "s.gguf", lm.model, lm.tokenizer, kind=gguf.WRITABLE["q8_0"])
    found = read_provenance(tmp_path / "s.gguf")
    assert found.family == "GGUF, gpt2"
    assert {"Q8_0", "F32"} <= set(found.stored)
