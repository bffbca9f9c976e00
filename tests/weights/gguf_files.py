"""GGUF files for tests. In: tensors and keys. Out: files that the gguf package wrote, or bytes put together by hand."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from cutaway.config import FeedForwardConfig, ModelConfig, PositionConfig, TokenIds
from cutaway.model import Transformer
from cutaway.weights.gguf import WRITABLE, save
from tests import tiny
from tests.text.samples import trained

TEXT, LIST, U32, F32 = 8, 9, 4, 6


def config(**knobs: Any) -> ModelConfig:
    """A decoder-only model that llama.cpp knows, with a row for every token of the sample tokenizer, and a few more."""
    stack = tiny.stack(
        d_model=32,
        feedforward=FeedForwardConfig(d_hidden=64, activation="gelu_tanh"),
        position=PositionConfig(kind="learned"),
    )
    roles = trained("bpe").roles
    tokens = TokenIds(bos=roles.bos, eos=roles.eos, pad=roles.pad)
    return tiny.config(**{"decoder": stack, "vocab_size": 350, "is_tied": True, "tokens": tokens, **knobs})


def model(**knobs: Any) -> Transformer:
    """A random model of that config."""
    return tiny.model(config(**knobs))


def saved(directory: Path, kind: str = "f32", **knobs: Any) -> Path:
    """A small file with a model and the sample tokenizer."""
    path = directory / "m.gguf"
    save(path, model(**knobs), trained("bpe"), kind=WRITABLE[kind])
    return path


def blocks(kind: gguf.GGMLQuantizationType, rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """Random blocks of a quantised kind, whose scales are ordinary numbers: [rows, bytes]."""
    generator = np.random.default_rng(seed)
    block, size = gguf.GGML_QUANT_SIZES[kind]
    raw = generator.integers(0, 256, (rows * columns // block, size), dtype=np.uint8)
    scales = generator.normal(size=(len(raw), 2)).astype(np.float16).view(np.uint8).reshape(len(raw), 4)
    at_end = {"Q6_K": 2, "Q3_K": 2, "Q2_K": 4}.get(kind.name, 0)
    if at_end:
        raw[:, -at_end:] = scales[:, :at_end]
    else:
        count = 4 if kind.name in ("Q4_1", "Q5_1", "Q4_K", "Q5_K") else 2
        raw[:, :count] = scales[:, :count]
    return raw.reshape(rows, -1)


def text(value: str | bytes) -> bytes:
    """A text as a header has it."""
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def key(name: str, kind: int, value: bytes) -> bytes:
    """A key with its value."""
    return text(name) + struct.pack("<I", kind) + value


def tensor(name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    """What a header says of a tensor. shape: the innermost axis first."""
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def header(
    *parts: bytes, tensors: int = 0, keys: int = 0, magic: bytes = b"GGUF", version: int = 3, data: bytes = b""
) -> bytes:
    """A whole file."""
    raw = magic + struct.pack("<IQQ", version, tensors, keys) + b"".join(parts)
    return raw + bytes(-len(raw) % 32 if data else 0) + data
