"""A long prompt, read once. In: tokens, and how many of them a pass holds. Out: seconds, and bytes beside weights and cache."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch

from cutaway.config import AttentionConfig, FeedForwardConfig, ModelConfig, NormConfig, PositionConfig, StackConfig
from cutaway.decode import Session
from cutaway.model import Transformer, initialise
from cutaway.runtime.cache import Cache
from cutaway.runtime.kernels import accelerate


def read_once(
    num_layers: int, d_model: int, vocab_size: int, num_tokens: int, chunk: int | None
) -> Callable[[], dict[str, float]]:
    """A session of a model of random weights, one short prompt read already. chunk: tokens of a pass; None: all in one."""
    decoder = StackConfig(
        num_layers=num_layers,
        d_model=d_model,
        attention=AttentionConfig(num_heads=d_model // 64, num_kv_heads=d_model // 192, bias=False, output_bias=False),
        feedforward=FeedForwardConfig(d_hidden=8 * d_model // 3, activation="silu", is_gated=True, bias=False),
        norm=NormConfig(kind="rms"),
        position=PositionConfig(kind="rotary"),
    )
    config = ModelConfig(vocab_size=vocab_size, context=2 * num_tokens, is_tied=True, decoder=decoder)
    model = initialise(Transformer(config), torch.Generator().manual_seed(1)).eval().requires_grad_(False)
    accelerate(model)
    ids = torch.randint(vocab_size, (num_tokens,), generator=torch.Generator().manual_seed(2)).tolist()
    Session(model).extend(ids[:16])

    def answer() -> dict[str, float]:
        session, before = Session(model, cache=Cache(chunk=chunk)), _kilobytes("VmRSS")
        start = time.perf_counter()
        session.extend(ids)
        seconds = time.perf_counter() - start
        peak = (_kilobytes("VmHWM") - before) * 1024
        return {"seconds": seconds, "bytes": peak - session.store.num_bytes, "cache": session.store.num_bytes}

    return answer


def _kilobytes(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))
