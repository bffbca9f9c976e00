"""GGUF files: every kind of numbers as the gguf package reads it, and models that come back as they went."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

from cutaway.config import AttentionConfig, FeedForwardConfig, PositionConfig, TokenIds
from cutaway.errors import CutawayError
from cutaway.weights import checkpoint
from cutaway.weights.gguf import WRITABLE, load, save
from cutaway.weights.gguf import reader as reading
from cutaway.weights.gguf.kinds import KINDS
from cutaway.weights.gguf.reader import GgufFile
from cutaway.weights.places import Places
from tests import tiny
from tests.text.samples import trained
from tests.weights import gguf_files
from tests.weights.test_gpt2 import greedy, logits

TYPES = gguf.GGMLQuantizationType
QUANTISED = ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")


def test_the_table_of_kinds_is_the_library_s() -> None:
    assert {kind.name for kind in KINDS.values()} == {"F32", "F16", "BF16", *QUANTISED}
    for number, kind in KINDS.items():
        assert TYPES[kind.name] == number == kind.number
        assert gguf.GGML_QUANT_SIZES[TYPES[kind.name]] == (kind.block, kind.size)


@pytest.mark.parametrize("piece", [reading.PIECE, 512])
@pytest.mark.parametrize("name", ["F32", "F16", "BF16", *QUANTISED])
def test_every_kind_reads_as_the_library_does(
    name: str, piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, path = TYPES[name], tmp_path / "m.gguf"
    monkeypatch.setattr(reading, "PIECE", piece)
    numbers = np.random.default_rng(1).normal(size=(6, 512)).astype(np.float32)
    raw = gguf_files.blocks(kind, 6, 512) if name in QUANTISED else gguf.quants.quantize(numbers, kind)
    writer = gguf.GGUFWriter(path, "gpt2")
    writer.add_tensor("first", np.ones(3, dtype=np.float32))
    writer.add_tensor("second", raw, raw_dtype=kind)
    write(writer)
    wanted = torch.from_numpy(gguf.quants.dequantize(raw, kind))
    assert wanted.std() > 0.1
    with GgufFile(path) as file:
        assert file.entries["second"].shape == (6, 512)
        found = file.read("second")
        assert found.dtype == KINDS[kind].dtype
        assert torch.equal(found.float(), wanted)
        assert torch.equal(file.read("second", torch.bfloat16), wanted.bfloat16())
        assert torch.equal(file.read("first"), torch.ones(3))


def write(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_keys_of_every_type_are_read(tmp_path: Path) -> None:
    path, writer = tmp_path / "m.gguf", gguf.GGUFWriter(tmp_path / "m.gguf", "gpt2")
    numbers = {"uint8": 250, "int8": -3, "uint16": 65000, "int16": -300, "uint32": 2**32 - 1, "int32": -(2**31)}
    wanted: dict[str, Any] = {**numbers, "uint64": 2**64 - 1, "int64": -(2**63), "float32": 1e-5, "float64": 0.1}
    wanted |= {"bool": True, "string": "Ünï\0"}
    for name, value in wanted.items():
        getattr(writer, f"add_{name}")(f"x.{name}", value)
    writer.add_array("x.words", ["a", "", "ü"])
    writer.add_array("x.numbers", [3, -4])
    write(writer)
    with GgufFile(path) as file:
        found = {key.removeprefix("x."): value for key, value in file.metadata.items()}
    assert {name: found[name] for name in wanted} == wanted
    assert [type(found[name]) for name in wanted] == [type(value) for value in wanted.values()]
    assert found["words"] == ["a", "", "ü"]
    assert found["numbers"].tolist() == [3, -4]


@pytest.mark.parametrize("is_tied", [True, False])
@pytest.mark.parametrize("position", ["learned", "sinusoidal"])
def test_a_model_comes_back_with_its_tokenizer(position: Any, is_tied: bool, tmp_path: Path) -> None:
    stack = replace(gguf_files.config().main, position=PositionConfig(kind=position, scale=0.3, base=700.0))
    roles = trained("bpe").roles
    tokens = TokenIds(bos=roles.bos, eos=roles.eos, pad=roles.pad, mask=roles.mask)
    model = gguf_files.model(decoder=stack, is_tied=is_tied, tokens=tokens)
    save(tmp_path / "m.gguf", model, trained("bpe"), kind=WRITABLE["f32"], name="tiny")
    opened = load(tmp_path / "m.gguf")
    assert opened.model.config == model.config
    assert opened.tokenizer == trained("bpe")
    ids = tiny.ids(3, 20)
    assert torch.equal(logits(opened.model, ids), logits(model, ids))
    assert torch.equal(greedy(opened.model, ids, 10), greedy(model, ids, 10))
    assert is_tied or len(set(greedy(model, ids, 10)[:, 20:].flatten().tolist())) > 5


@pytest.mark.parametrize("kind", WRITABLE)
def test_numbers_come_back_as_their_kind_holds_them(kind: str, tmp_path: Path) -> None:
    model = gguf_files.model(is_tied=False)
    path = tmp_path / "m.gguf"
    save(path, model, trained("bpe"), kind=WRITABLE[kind])
    found, ours = Places(load(path).model).tensors, Places(model).tensors
    assert found.keys() == ours.keys()
    with GgufFile(path) as file:
        kinds = {name: entry.kind.name for name, entry in file.entries.items()}
    head = "Q8_0" if kind == "q4_0" else kind.upper()
    assert kinds["output.weight"] == head
    assert {kinds[name] for name in kinds if ".attn_qkv.weight" in name} == {kind.upper()}
    for name, tensor in ours.items():
        is_plain = tensor.dim() < 2 or "position" in name
        type_ = TYPES["F32" if is_plain else head if name.startswith("head") else kind.upper()]
        wanted = gguf.quants.dequantize(gguf.quants.quantize(tensor.detach().numpy(), type_), type_)
        assert torch.equal(found[name].detach(), torch.from_numpy(wanted)), name


def test_rows_that_are_not_in_blocks_stay_fp16(tmp_path: Path) -> None:
    stack = tiny.stack(
        position=PositionConfig(kind="learned"), feedforward=FeedForwardConfig(d_hidden=32, activation="gelu_tanh")
    )
    path = gguf_files.saved(tmp_path, "q8_0", decoder=stack)
    with GgufFile(path) as file:
        kinds = {name: entry.kind.name for name, entry in file.entries.items()}
    assert (kinds["blk.0.ffn_up.weight"], kinds["blk.0.ffn_down.weight"]) == ("F16", "Q8_0")
    assert load(path).model.config.main.d_model == 16


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_file_opens_in_the_type_asked_for(dtype: torch.dtype, tmp_path: Path) -> None:
    path = gguf_files.saved(tmp_path, "q8_0")
    wide, narrow = load(path).model, load(path, dtype).model
    assert {parameter.dtype for parameter in narrow.parameters()} == {dtype}
    for name, parameter in wide.named_parameters():
        assert torch.equal(narrow.get_parameter(name), parameter.to(dtype))


def test_a_half_precision_table_of_sinusoids_stays_one(tmp_path: Path) -> None:
    stack = replace(gguf_files.config().main, position=PositionConfig(kind="sinusoidal", scale=0.3))
    checkpoint.save(tmp_path / "half", gguf_files.model(decoder=stack), dtype=torch.float16)
    half = checkpoint.load(tmp_path / "half")
    save(tmp_path / "m.gguf", half, None)
    opened = load(tmp_path / "m.gguf")
    assert opened.model.config == half.config
    assert opened.tokenizer is None
    assert torch.equal(logits(opened.model, tiny.ids(1, 9)), logits(half, tiny.ids(1, 9)))


def test_a_second_table_of_tokens_is_an_untied_head(tmp_path: Path) -> None:
    model = gguf_files.model(is_tied=False)
    save(tmp_path / "m.gguf", model, None, kind=WRITABLE["f32"])
    assert not load(tmp_path / "m.gguf").model.config.is_tied


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        (
            {"feedforward": FeedForwardConfig(d_hidden=64, activation="relu")},
            "feedforward.activation would be gelu_tanh, and in this model it is relu",
        ),
        (
            {"attention": AttentionConfig(num_heads=4, scale=1.0)},
            "attention.scale would be none, and in this model it is 1.0",
        ),
        (
            {"attention": AttentionConfig(num_heads=4, num_kv_heads=2, softcap=3.0)},
            "No architecture of llama.cpp is",
        ),
    ],
    ids=["activation", "scale", "heads"],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(knobs: Any, message: str, tmp_path: Path) -> None:
    model = gguf_files.model(decoder=replace(gguf_files.config().main, **knobs))
    with pytest.raises(CutawayError, match=message):
        save(tmp_path / "m.gguf", model, None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", WRITABLE)
@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e30])
def test_numbers_that_a_kind_cannot_hold_are_refused(number: float, kind: str, tmp_path: Path) -> None:
    model = gguf_files.model()
    model.get_parameter("decoder.layers.0.feedforward.sublayer.input.weight").data[3, 4] = number
    if number == 1e30 and kind in ("f32", "bf16"):
        save(tmp_path / "m.gguf", model, None, kind=WRITABLE[kind])
        return
    with pytest.raises(CutawayError, match=r"blk\.0\.ffn_up\.weight holds numbers that are not finite"):
        save(tmp_path / "m.gguf", model, None, kind=WRITABLE[kind])
    assert list(tmp_path.iterdir()) == []


def test_only_a_gguf_file_is_replaced(tmp_path: Path) -> None:
    path = gguf_files.saved(tmp_path)
    before = path.read_bytes()
    save(path, gguf_files.model(), trained("bpe"), kind=WRITABLE["f16"])
    assert path.read_bytes() != before
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(CutawayError, match=r"notes exists and is no \.gguf file"):
        save(tmp_path / "notes", gguf_files.model(), None)
    with pytest.raises(CutawayError, match="is a directory"):
        save(tmp_path, gguf_files.model(), None)
    assert (tmp_path / "notes").read_text() == "mine"


def test_without_the_library_one_message_names_the_command(tmp_path: Path) -> None:
    path = gguf_files.saved(tmp_path, "q8_0")
    code = (
        "import sys; sys.modules['gguf'] = None\n"
        "from pathlib import Path; from cutaway.weights.gguf import load\n"
        f"try: load(Path({str(path)!r}))\n"
        "except ValueError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "pip install 'cutaway[gguf]'" in done.stdout


def test_memory_holds_the_model_once(tmp_path: Path) -> None:
    stack = replace(gguf_files.config().main, num_layers=12, feedforward=FeedForwardConfig(d_hidden=2048), d_model=512)
    stack = replace(stack, feedforward=replace(stack.feedforward, activation="gelu_tanh"))
    path = gguf_files.saved(tmp_path, "q8_0", decoder=stack)
    code = (
        "import resource, sys; from pathlib import Path; import gguf; from cutaway.weights.gguf import load\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        f"before = peak(); model = load(Path({str(path)!r})).model\n"
        "print(peak() - before, sum(p.numel() * 4 for p in model.parameters()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    grown, needed = map(int, done.stdout.split())
    assert grown < 1.25 * needed + 30e6
