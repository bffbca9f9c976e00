"""Hostile and broken GGUF files: one message that names the file, at once, and before anything large is allocated."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cutaway.errors import CutawayError
from cutaway.weights.gguf import load
from cutaway.weights.gguf.reader import GgufFile
from tests.weights.gguf_files import F32, LIST, TEXT, U32, header, key, saved, tensor, text
from tests.weights.hostile import little_memory

HUGE = 2**60
ROW = (8,)
ROW_BYTES = bytes(32)

BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "its first word should take 4 bytes, and 0 are left"),
    "another file": (b"PK\x03\x04" + bytes(100), "begins with b'PK"),
    "version 1": (header(version=1), "it has version 1"),
    "big-endian": (header(version=3 << 24), "big-endian"),
    "too many keys": (header(keys=HUGE), "key 0 of"),
    "too many tensors": (header(tensors=HUGE), "tensor 0 of"),
    "a long key": (header(struct.pack("<Q", HUGE) + b"abc", keys=1), f"key 0 of 1 should take {HUGE} bytes"),
    "a long text": (header(text("a") + struct.pack("<IQ", TEXT, HUGE), keys=1), f"'a' should take {HUGE} bytes"),
    "a text of no UTF-8": (header(key("a", TEXT, text(b"\xff\xfe")), keys=1), "not UTF-8"),
    "a long list": (header(key("a", LIST, struct.pack("<IQ", F32, HUGE)), keys=1), f"should take {4 * HUGE} bytes"),
    "a long list of texts": (header(key("a", LIST, struct.pack("<IQ", TEXT, HUGE)), keys=1), f"take {8 * HUGE} bytes"),
    "a list of lists": (header(key("a", LIST, struct.pack("<IQ", LIST, 1) * 9), keys=1), "a list of lists"),
    "an unknown type": (header(key("a", 13, bytes(8)), keys=1), "has the type 13. Types are 0 to 12"),
    "an unknown type in a list": (header(key("a", LIST, struct.pack("<IQ", 77, 1)), keys=1), "has the type 77"),
    "a key twice": (header(key("a", U32, bytes(4)) * 2, keys=2), "the key 'a' occurs twice"),
    "no axis of so many": (header(tensor("t", (1,) * 5, 0, 0), tensors=1), "t has 5 axes"),
    "an unknown kind": (
        header(tensor("t", ROW, 99, 0), tensors=1, data=ROW_BYTES),
        "as kind 99, which Cutaway does not",
    ),
    "half a block": (header(tensor("t", ROW, 8, 0), tensors=1, data=ROW_BYTES), "Q8_0 has blocks of 32"),
    "a huge tensor": (header(tensor("t", (2**40, 2**40), 0, 0), tensors=1, data=ROW_BYTES), "and the file has"),
    "far away": (header(tensor("t", ROW, 0, 2**63), tensors=1, data=ROW_BYTES), "and the file has"),
    "between": (header(tensor("t", ROW, 0, 4), tensors=1, data=bytes(64)), "which is no multiple of 32"),
    "cut": (header(tensor("t", ROW, 0, 0), tensors=1, data=bytes(31)), "ends at byte 96, and the file has 95"),
    "overlapping": (
        header(tensor("t", (16,), 0, 0), tensor("u", ROW, 0, 32), tensors=2, data=bytes(96)),
        "u begins at byte",
    ),
    "a tensor twice": (header(tensor("t", ROW, 0, 0) * 2, tensors=2, data=bytes(96)), "the tensor 't' occurs twice"),
    "no alignment": (header(key("general.alignment", U32, struct.pack("<I", 3)), keys=1), "general.alignment is 3"),
}


@pytest.mark.parametrize(("raw", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_header_is_named(raw: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(raw)
    with little_memory(), pytest.raises(CutawayError) as caught:
        GgufFile(tmp_path / "m.gguf")
    assert message in str(caught.value)
    assert "m.gguf" in str(caught.value)


def architecture(name: str, **keys: int) -> list[bytes]:
    """The keys of a small file."""
    numbers = [key(f"gpt2.{each.replace('__', '.')}", U32, struct.pack("<I", value)) for each, value in keys.items()]
    return [key("general.architecture", TEXT, text(name)), *numbers]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ([], "does not say which architecture it has"),
        (architecture("gtp2"), "Did you mean 'gpt2'"),
        (architecture("mamba"), "'mamba', which Cutaway does not read from .gguf files. Known: gpt2"),
        (architecture("gpt2"), "no key 'gpt2.context_length'"),
        ([key("split.count", U32, struct.pack("<I", 3))], "one of 3 parts"),
    ],
    ids=["none", "misspelt", "unknown", "without keys", "split"],
)
def test_what_is_no_model_is_named(keys: list[bytes], message: str, tmp_path: Path) -> None:
    raw = header(*keys, tensor("token_embd.weight", (4, 2), 0, 0), keys=len(keys), tensors=1, data=ROW_BYTES)
    (tmp_path / "m.gguf").write_bytes(raw)
    with pytest.raises(CutawayError) as caught:
        load(tmp_path / "m.gguf")
    assert message in str(caught.value)
    assert "m.gguf" in str(caught.value)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CutawayError, match=r"Could not open .*none\.gguf: No such file"):
        load(tmp_path / "none.gguf")
    with pytest.raises(CutawayError, match=r"Could not open"):
        load(tmp_path)


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    raw = path.read_bytes()
    for length in [*range(30), 100, 1000, 5000, len(raw) // 2, len(raw) - 65]:
        path.write_bytes(raw[:length])
        with little_memory(), pytest.raises(CutawayError, match=r"m\.gguf is not a whole GGUF file"):
            load(path)


@pytest.mark.parametrize("name", ["block_count", "embedding_length", "feed_forward_length", "context_length"])
@pytest.mark.parametrize("value", [0, 2**31, 2**32 - 1])
def test_an_absurd_size_is_refused_before_anything_is_built(name: str, value: int, tmp_path: Path) -> None:
    path = saved(tmp_path)
    change(path, f"gpt2.{name}", struct.pack("<I", value))
    with little_memory(), pytest.raises(CutawayError, match=r"m\.gguf"):
        load(path)


def change(path: Path, name: str, value: bytes) -> None:
    """Put another value of the same length behind a key."""
    raw = path.read_bytes()
    at = raw.index(text(name)) + len(text(name)) + 4
    path.write_bytes(raw[:at] + value + raw[at + len(value) :])


@pytest.mark.parametrize("kind", ["f32", "f16", "bf16", "q8_0", "q4_0"])
def test_numbers_that_are_not_finite_are_named(kind: str, tmp_path: Path) -> None:
    path = saved(tmp_path, kind)
    with GgufFile(path) as file:
        entry = file.entries["blk.1.ffn_up.weight"]
    not_a_number = {"f32": b"\0\0\xc0\x7f", "bf16": b"\xc0\x7f"}.get(kind, b"\0\x7e")
    raw = bytearray(path.read_bytes())
    raw[entry.begin : entry.begin + len(not_a_number)] = not_a_number
    path.write_bytes(raw)
    with pytest.raises(CutawayError, match=r"blk\.1\.ffn_up\.weight holds numbers that are not finite.*m\.gguf"):
        load(path)


@pytest.mark.parametrize(
    "knobs", ["[]", "{", "[" * 100_000, '{"decoder": {"num_layers": 7}}', '{"layers": 1}'], ids=len
)
def test_our_own_key_is_not_trusted_either(knobs: str, tmp_path: Path) -> None:
    path = saved(tmp_path)
    raw = path.read_bytes()
    with GgufFile(path) as file:
        first = min(entry.begin for entry in file.entries.values())
    num_keys = struct.unpack("<Q", raw[16:24])[0]
    added = key("cutaway.knobs", TEXT, text(knobs))
    padding = key("cutaway.filler", TEXT, text("x" * (-(len(added) + 8 + 14 + 4 + 8) % 32)))
    path.write_bytes(raw[:16] + struct.pack("<Q", num_keys + 2) + added + padding + raw[24:])
    assert first % 32 == 0
    with pytest.raises(CutawayError, match=r"m\.gguf"):
        load(path)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that each example changes, and puts back."""
    return saved(tmp_path_factory.mktemp("good"), "q8_0")


mutation = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def opens_or_says_why(path: Path) -> None:
    """Either a model with finite numbers, or one clear message that names the file."""
    message = None
    try:
        with little_memory():
            model = load(path).model
    except CutawayError as error:
        message = str(error)
    if message is None:
        assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    else:
        assert "m.gguf" in message


@mutation
@given(data=st.data())
def test_changed_bytes_open_or_say_why(good: Path, data: st.DataObject) -> None:
    raw = good.read_bytes()
    with GgufFile(good) as file:
        end = min(entry.begin for entry in file.entries.values())
    changed = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, end + 200))] = data.draw(st.integers(0, 255))
    try:
        good.write_bytes(changed)
        opens_or_says_why(good)
    finally:
        good.write_bytes(raw)


KEYS = ("general.architecture", "gpt2.block_count", "gpt2.attention.head_count", "gpt2.attention.layer_norm_epsilon")
TOKENIZER_KEYS = tuple(
    f"tokenizer.ggml.{each}" for each in ("model", "pre", "tokens", "token_type", "merges", "bos_token_id")
)


@mutation
@given(data=st.data())
def test_changed_values_open_or_say_why(good: Path, data: st.DataObject) -> None:
    raw = good.read_bytes()
    name = data.draw(st.sampled_from([*KEYS, *TOKENIZER_KEYS]))
    words = data.draw(st.binary(min_size=1, max_size=24) | numbers())
    try:
        at = raw.index(text(name)) + len(text(name)) + data.draw(st.sampled_from([0, 4, 8, 12, 16]))
        good.write_bytes(raw[:at] + words + raw[at + len(words) :])
        opens_or_says_why(good)
    finally:
        good.write_bytes(raw)


def numbers() -> st.SearchStrategy[bytes]:
    """Lengths, counts and floats, as bytes."""
    whole = st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**60, 2**63, 2**64 - 1]).map(
        lambda value: struct.pack("<Q", value)
    )
    return whole | st.floats(width=32).map(lambda value: struct.pack("<f", value))


def test_the_list_of_a_key_stays_packed(tmp_path: Path) -> None:
    value: Any = np.arange(1000, dtype=np.uint8)
    raw = header(key("a", LIST, struct.pack("<IQ", 0, 1000) + value.tobytes()), keys=1)
    (tmp_path / "m.gguf").write_bytes(raw)
    with GgufFile(tmp_path / "m.gguf") as file:
        found = file.metadata["a"]
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.uint8
    assert np.array_equal(found, value)
