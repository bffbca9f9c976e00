"""A large checkpoint, written and opened. In: a path. Out: its parameters; the seconds, memory and bytes of opening it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch

from cutaway.config import AttentionConfig, FeedForwardConfig, ModelConfig, NormConfig, PositionConfig, StackConfig
from cutaway.model import Transformer
from cutaway.weights import checkpoint


def write(path: str, *, is_small: bool) -> Callable[[], dict[str, float]]:
    """Random weights in the shape of a Llama with 1.1 billion parameters (Zhang et al. 2024)."""

    def answer() -> dict[str, float]:
        with torch.device("meta"):
            model = Transformer(config_of(num_layers=2 if is_small else 22, vocab_size=500 if is_small else 32_000))
        model = model.to(torch.bfloat16).to_empty(device="cpu")
        for parameter in model.parameters():
            parameter.data.uniform_(-0.02, 0.02)
        checkpoint.save(Path(path), model, dtype=torch.bfloat16)
        return {"parameters": sum(parameter.numel() for parameter in model.parameters())}

    return answer


def open_once(path: str) -> Callable[[], dict[str, float]]:
    """One opening, in the type in which the weights are stored."""
    size = (Path(path) / "model.safetensors").stat().st_size

    def answer() -> dict[str, float]:
        before, read = _kilobytes("VmRSS"), _bytes_read()
        start = time.perf_counter()
        model = checkpoint.load(Path(path), dtype=torch.bfloat16)
        seconds = time.perf_counter() - start
        assert not model.training, "ready to run"
        return {
            "seconds": seconds,
            "share_of_memory": (_kilobytes("VmHWM") - before) * 1024 / size,
            "share_read": (_bytes_read() - read) / size,
        }

    return answer


def config_of(*, num_layers: int, vocab_size: int) -> ModelConfig:
    """Grouped heads, gated feed-forward layers, rotary positions."""
    decoder = StackConfig(
        num_layers=num_layers,
        d_model=2048,
        attention=AttentionConfig(num_heads=32, num_kv_heads=4, bias=False, output_bias=False),
        feedforward=FeedForwardConfig(d_hidden=5632, activation="silu", is_gated=True, bias=False),
        norm=NormConfig(kind="rms"),
        position=PositionConfig(kind="rotary"),
    )
    return ModelConfig(vocab_size=vocab_size, context=2048, is_tied=False, decoder=decoder)


def _kilobytes(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def _bytes_read() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("rchar"))
