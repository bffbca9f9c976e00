"""Hostile and broken checkpoints: each ends in one clear message, before anything large is allocated and without running code."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cutaway.errors import CutawayError
from cutaway.weights import checkpoint
from cutaway.weights.atomic import is_complete
from tests import tiny
from tests.weights.hostile import edit_json, header_of, little_memory, write_file_with
from tests.weights.samples import saved, wild


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CutawayError, match="nowhere does not exist"):
        checkpoint.load(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(CutawayError, match="file is not a directory"):
        checkpoint.load(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CutawayError, match=r"empty has no config\.json"):
        checkpoint.load(tmp_path / "empty")
    path = saved(tmp_path)
    (path / "model.safetensors").unlink()
    with pytest.raises(CutawayError, match="holds no weights"):
        checkpoint.load(path)


def test_a_pickle_runs_nothing(tmp_path: Path) -> None:
    path = saved(tmp_path)
    (path / "model.safetensors").unlink()

    class Bomb:
        def __reduce__(self) -> Any:
            return (Path(tmp_path / "exploded").touch, ())

    (path / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CutawayError, match=r"pytorch_model.bin is a pickle.*save_pretrained"):
        checkpoint.load(path)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ('{"model_type": "gpt2"', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"vocab_size": ' + "9" * 5000 + "}", "not JSON"),
        ("[1]", "holds list"),
        ("{}", "names no model_type"),
        ('{"model_type": "gtp2"}', "Did you mean 'gpt2'"),
        ('{"model_type": "mamba"}', "'mamba', an architecture that Cutaway does not know. Known: gpt2, llama, "),
        ('{"model_type": "cutaway"}', "'vocab_size' is missing"),
        ('{"model_type": "cutaway", "cutaway": {"vocab_sise": 3}}', "Did you mean 'vocab_size'"),
    ],
)
def test_a_bad_config_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = saved(tmp_path)
    (path / "config.json").write_text(text)
    with pytest.raises(CutawayError) as caught:
        checkpoint.load(path)
    assert message in str(caught.value)
    assert "config.json" in str(caught.value)


def test_a_huge_config_is_not_read(tmp_path: Path) -> None:
    path = saved(tmp_path)
    with (path / "config.json").open("r+b") as file:
        file.truncate(2**40)
    with little_memory(), pytest.raises(CutawayError, match=r"config\.json has 1099511627776 bytes"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    "claim",
    [
        {"n_layer": 10**9},
        {"n_layer": 3000},
        {"vocab_size": 10**12},
        {"n_embd": 4 * 10**9},
        {"n_positions": 10**13},
        {"n_inner": 10**12},
    ],
    ids=str,
)
def test_an_absurd_size_is_refused_before_anything_is_built(claim: dict[str, int], tmp_path: Path) -> None:
    path = saved(tmp_path)
    edit_json(path / "config.json", **claim)
    with little_memory(), pytest.raises(CutawayError, match=r"config.json asks for [\d,]+ numbers in"):
        checkpoint.load(path)


def test_absurd_experts_and_tables_are_refused_too(tmp_path: Path) -> None:
    path = saved(tmp_path, wild())
    data = json.loads((path / "config.json").read_text())
    data["cutaway"]["decoder"]["feedforward"]["experts"]["num_experts"] = 10**9
    (path / "config.json").write_text(json.dumps(data))
    with little_memory(), pytest.raises(CutawayError, match="asks for"):
        checkpoint.load(path)
    other = saved(tmp_path / "other", tiny.config(encoder=tiny.stack()))
    data = json.loads((other / "config.json").read_text())
    data["cutaway"]["context"] = 10**12
    (other / "config.json").write_text(json.dumps(data))
    with little_memory(), pytest.raises(CutawayError, match="asks for"):
        checkpoint.load(other)


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    raw = (path / "model.safetensors").read_bytes()
    for length in [*range(12), 100, 2000, 3000, len(raw) // 2, len(raw) - 1]:
        (path / "model.safetensors").write_bytes(raw[:length])
        assert not is_complete(path)
        with little_memory(), pytest.raises(CutawayError, match=r"model.safetensors is not a whole safetensors file"):
            checkpoint.load(path)
    (path / "model.safetensors").write_bytes(raw + b"x")
    with pytest.raises(CutawayError, match="tensors end at byte"):
        checkpoint.load(path)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose weights each example changes, and puts back."""
    return saved(tmp_path_factory.mktemp("good"), tiny.config(decoder=tiny.stack(num_layers=1), is_tied=True))


mutation = settings(max_examples=75, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def opens_or_says_why(path: Path) -> None:
    """Either a model with finite numbers, or one clear message that names the file."""
    message = None
    try:
        with little_memory():
            model = checkpoint.load(path)
    except CutawayError as error:
        message = str(error)
    if message is None:
        assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    else:
        assert "model.safetensors" in message


@mutation
@given(data=st.data())
def test_changed_bytes_open_or_say_why(good: Path, data: st.DataObject) -> None:
    weights = good / "model.safetensors"
    raw = weights.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    changed = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, 8 + length))] = data.draw(st.integers(0, 255))
    try:
        weights.write_bytes(changed)
        opens_or_says_why(good)
    finally:
        weights.write_bytes(raw)


absurd = st.one_of(
    st.integers(-(2**70), 2**70),
    st.sampled_from(["F32", "F16", "I64", "F8", "", None, True, 1.5, [], {}, "x" * 1000]),
    st.lists(st.integers(-1, 2**64), max_size=40),
)


@mutation
@given(data=st.data())
def test_changed_headers_open_or_say_why(good: Path, data: st.DataObject) -> None:
    weights = good / "model.safetensors"
    raw = weights.read_bytes()
    header, numbers = header_of(weights)
    name = data.draw(st.sampled_from(sorted(header)))
    key = data.draw(st.sampled_from(["dtype", "shape", "data_offsets", "name", "whole"]))
    if key == "name":
        header[data.draw(st.text(max_size=20))] = header.pop(name)
    elif key == "whole":
        header[name] = data.draw(absurd)
    else:
        header[name][key] = data.draw(absurd)
    try:
        write_file_with(weights, header, numbers)
        opens_or_says_why(good)
    finally:
        weights.write_bytes(raw)
