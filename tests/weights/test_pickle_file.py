"""Pickles of weights: the same model as from safetensors; nothing in them runs, and no claim of theirs is believed."""

from __future__ import annotations

import contextlib
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from cutaway.errors import CutawayError
from cutaway.weights import checkpoint
from cutaway.weights.pickle_file import PickleFile
from tests.weights.samples import saved


def as_pickle(path: Path, num_files: int = 1) -> Path:
    """The checkpoint with its weights in pickles instead."""
    weights = list(load_file(path / "model.safetensors").items())
    (path / "model.safetensors").unlink()
    if num_files == 1:
        torch.save(dict(weights), path / "pytorch_model.bin")
        return path
    names = [f"pytorch_model-{index}.bin" for index in range(num_files)]
    parts = [dict(weights[index::num_files]) for index in range(num_files)]
    for name, part in zip(names, parts, strict=True):
        torch.save(part, path / name)
    places = {tensor: name for name, part in zip(names, parts, strict=True) for tensor in part}
    (path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    return path


@pytest.mark.parametrize("num_files", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_same_model(num_files: int, dtype: torch.dtype, tmp_path: Path) -> None:
    path = saved(tmp_path)
    wanted = checkpoint.load(path, dtype).state_dict()
    found = checkpoint.load(as_pickle(path, num_files), dtype).state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_views_and_what_is_tied_come_apart(tmp_path: Path) -> None:
    base = torch.arange(12.0).view(3, 4)
    torch.save({"one": base, "turned": base.t(), "row": base[1]}, tmp_path / "w.bin")
    with PickleFile(tmp_path / "w.bin") as file:
        assert file.entries["turned"].shape == (4, 3)
        assert torch.equal(file.read("turned"), base.t())
        assert torch.equal(file.read("row", torch.empty(99, dtype=torch.uint8)), base[1])


class Bomb:
    """What runs as it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('it ran')",))


@pytest.mark.parametrize("as_zip", [True, False])
def test_nothing_in_it_runs(as_zip: bool, tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    if as_zip:
        torch.save({"a": torch.zeros(1), "b": Bomb()}, path)
    else:
        path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CutawayError, match=r"pytorch_model.bin is a pickle file that cannot be read.*safetensors"):
        PickleFile(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"w": torch.zeros(1).expand(10**12)}, "claim 4,000,000,000,000 bytes"),
        ({f"w{i}": torch.zeros(1).expand(1000) for i in range(9)}, "claim 36,000 bytes"),
        ([torch.zeros(3)], "not one table of tensors"),
        ({"w": 3}, "not one table of tensors"),
        ({1: torch.zeros(3)}, "not one table of tensors"),
    ],
)
def test_what_it_claims_is_held_against_its_size(content: object, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.bin")
    with pytest.raises(CutawayError, match=message):
        PickleFile(tmp_path / "w.bin")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CutawayError, match=r"Could not open .*w.bin"):
        PickleFile(tmp_path / "w.bin")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_file_ends_in_one_message(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("pickle") / "w.bin"
    torch.save({"w": torch.arange(50.0), "v": torch.zeros(3, 4)}, path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with contextlib.suppress(CutawayError), PickleFile(path) as file:
        for name in file.entries:
            file.read(name)
