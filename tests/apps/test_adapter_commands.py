"""`--adapter`: generate runs with it, convert writes the merged model, and a mistake is one message."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cutaway.apps.cli import main
from cutaway.lm import load
from cutaway.model.adapter import adapters
from cutaway.weights.adapters import save_adapter
from tests import tiny
from tests.apps.small import saved
from tests.apps.test_cli import Capture, ask
from tests.weights.adapter_files import trained

WORDS = ("The cat", "--max-tokens", "12", "--temperature", "0")


@pytest.fixture
def source(tmp_path: Path) -> str:
    """A model, and an adapter for it beside it, in `adapter`."""
    path = saved(tmp_path / "m")
    save_adapter(tmp_path / "adapter", trained(load(path).model, "query", "*.feedforward.*"), base=str(path))
    return str(path)


def test_generate_runs_with_an_adapter_and_convert_merges_it(source: str, tmp_path: Path, capsys: Capture) -> None:
    adapter, merged, file = (str(tmp_path / name) for name in ("adapter", "merged", "merged.gguf"))
    plain, wanted = (
        ask(capsys, "generate", source, *WORDS),
        ask(capsys, "generate", source, *WORDS, "--adapter", adapter),
    )
    assert plain != wanted
    for target, kind in ((merged, "f32"), (file, "f32")):
        told = ask(capsys, "convert", source, target, "--adapter", adapter, "--quantize", kind)
        assert told.startswith(f"{target}: {source} with {adapter} merged into it in f32, ")
        assert ask(capsys, "generate", target, *WORDS) == wanted
    one, other, ids = load(source, adapter=adapter), load(merged), tiny.ids(2, 9)
    assert adapters(one.model)
    assert not adapters(other.model)
    tiny.assert_close(other.logits(ids), one.logits(ids))


def test_many_prompts_share_passes_with_an_adapter(source: str, tmp_path: Path) -> None:
    lm, prompts = load(source, adapter=tmp_path / "adapter"), ["The cat", "A dog and", "The"]
    assert lm.generate_batch(prompts, max_tokens=9) == [lm.generate(prompt, max_tokens=9) for prompt in prompts]


def test_an_adapter_stands_beside_weights_in_half_precision(source: str, tmp_path: Path) -> None:
    lm = load(source, dtype=torch.bfloat16, adapter=tmp_path / "adapter")
    wanted = load(source, adapter=tmp_path / "adapter").logits(tiny.ids(1, 9))
    torch.testing.assert_close(lm.logits(tiny.ids(1, 9)).float(), wanted, rtol=0, atol=0.05 * wanted.abs().max().item())


@pytest.mark.parametrize("bits", [16, 8, 4])
def test_an_adapter_stands_beside_rounded_weights(bits: int, source: str, tmp_path: Path, capsys: Capture) -> None:
    plain, beside = load(source, bits=bits), load(source, adapter=tmp_path / "adapter", bits=bits)
    merged = load(source, adapter=tmp_path / "adapter")
    wanted, found = merged.logits(tiny.ids(1, 9)), beside.logits(tiny.ids(1, 9))
    near = {16: 0.05, 8: 0.1, 4: 0.6}[bits] * wanted.abs().max().item()
    torch.testing.assert_close(found, wanted, rtol=0, atol=near)
    assert (plain.logits(tiny.ids(1, 9)) - found).abs().max() > near
    assert ask(capsys, "generate", source, *WORDS, "--bits", str(bits), "--adapter", str(tmp_path / "adapter"))


@pytest.mark.parametrize(
    "command", [("generate", "SOURCE", "The"), ("convert", "SOURCE", "FOLDER/n")], ids=["generate", "convert"]
)
@pytest.mark.parametrize(
    ("adapter", "message"),
    [("FOLDER/none", "There is no adapter directory"), ("SOURCE", "holds no adapter_config.json, so it is no adapter")],
)
def test_a_mistake_is_one_message(
    command: tuple[str, ...], adapter: str, message: str, source: str, tmp_path: Path, capsys: Capture
) -> None:
    words = [word.replace("FOLDER", str(tmp_path)) for word in (*command, "--adapter", adapter)]
    assert main([source if word == "SOURCE" else word for word in words]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert not (tmp_path / "n").exists()
