"""One safetensors file against the library that defines the format, and headers that lie."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cutaway.errors import CutawayError
from cutaway.weights.tensor_file import DTYPES, TensorFile, write_tensors
from tests.weights.hostile import little_memory, write_file_with

TENSORS = {
    **{f"t.{name}": torch.arange(6).reshape(2, 3).to(dtype) for name, dtype in DTYPES.items()},
    "scalar": torch.tensor(1.5),
    "empty": torch.zeros(0, 4),
}


def read_all(path: Path) -> dict[str, torch.Tensor]:
    with TensorFile(path) as file:
        return {name: file.read(name) for name in file.entries}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert tensor.dtype == other[name].dtype
        assert tensor.shape == other[name].shape
        assert torch.equal(tensor, other[name])


def test_we_read_what_the_library_writes(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "x", metadata={"a": "b"})
    assert_same(read_all(tmp_path / "x"), TENSORS)
    with TensorFile(tmp_path / "x") as file:
        assert file.metadata == {"a": "b"}


def test_the_library_reads_what_we_write(tmp_path: Path) -> None:
    whole = torch.randn(4, 6)
    views = {"view": whole[1:3], "turned": whole.t(), "one": whole, "two": whole}
    write_tensors(tmp_path / "x", {**TENSORS, **views}, {})
    assert_same(load_file(tmp_path / "x"), {**TENSORS, **views})


def test_the_file_is_cut_while_it_is_open(tmp_path: Path) -> None:
    save_file({"a": torch.randn(100_000)}, tmp_path / "x")
    with TensorFile(tmp_path / "x") as file:
        (tmp_path / "x").open("r+b").truncate(200)
        with pytest.raises(CutawayError, match="ends within the tensor a"):
            file.read("a")


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 50_000, "not JSON"),
        (b'{"a": 1, "a": 2}', "occurs twice"),
        ([], "not a table"),
        ({"a": 3}, "something else of a"),
        ({"a": {**ENTRY, "more": 1}}, "something else of a"),
        ({"a": {**ENTRY, "dtype": "F9"}}, "'F9'. Known types: F64"),
        ({"a": {**ENTRY, "dtype": ["F32"]}}, "has the type"),
        ({"a": {**ENTRY, "shape": [-2]}}, "whole numbers"),
        ({"a": {**ENTRY, "shape": [True, 2]}}, "whole numbers"),
        ({"a": {**ENTRY, "shape": [1] * 500 + [2]}}, "short list"),
        ({"a": {**ENTRY, "shape": [2**62, 2**62]}}, "has 8 bytes"),
        ({"a": {**ENTRY, "shape": [3]}}, "has 8 bytes, and its shape [3] of F32 needs 12"),
        ({"a": {**ENTRY, "data_offsets": [8, 0]}}, "has -8 bytes"),
        ({"a": {**ENTRY, "data_offsets": [8, 16]}}, "begins at byte"),
        ({"a": ENTRY, "b": ENTRY}, "begins at byte"),
        ({"a": {**ENTRY, "shape": [2**40], "data_offsets": [0, 2**42]}}, "tensors end at byte"),
        ({"a": ENTRY, "__metadata__": {"x": 1}}, "metadata"),
        ({"__metadata__": {}}, "tensors end at byte"),
    ],
)
def test_a_header_that_lies(header: object, message: str, tmp_path: Path) -> None:
    write_file_with(tmp_path / "x", header, bytes(8))
    with little_memory(), pytest.raises(CutawayError) as caught:
        TensorFile(tmp_path / "x")
    assert message in str(caught.value)
    assert str(tmp_path / "x") in str(caught.value)


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 101_000_000])
def test_a_header_length_beyond_the_file(length: int, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(length.to_bytes(8, "little") + b"{}")
    with little_memory(), pytest.raises(CutawayError, match=f"header should take {length} bytes"):
        TensorFile(tmp_path / "x")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CutawayError, match="No such file"):
        TensorFile(tmp_path / "x")


def test_a_file_may_be_read_by_whoever_may_read_others(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    write_tensors(tmp_path / "weights", {"x": torch.ones(2)}, {})
    assert (tmp_path / "weights").stat().st_mode == (tmp_path / "other").stat().st_mode
