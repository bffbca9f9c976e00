"""What tests of planned sessions share. In: configs and ids. Out: models, logits and texts, with plans and without."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from cutaway.config import (
    AttentionConfig,
    FeedForwardConfig,
    LayerType,
    ModelConfig,
    NormConfig,
    PositionConfig,
    RotaryScaling,
)
from cutaway.decode import Sampling, Session, autoregressive, run
from cutaway.model import Transformer
from cutaway.runtime.kernels import accelerate
from cutaway.runtime.native.loader import library, supported
from tests import tiny

ABSENT = library() if isinstance(library(), str) else ""
HAS_KERNELS = pytest.mark.skipif(bool(ABSENT) and not supported(), reason=f"No kernels here: {ABSENT}")

ROTARY, RMS = PositionConfig(kind="rotary"), NormConfig(kind="rms")
SWIGLU = FeedForwardConfig(d_hidden=40, activation="silu", is_gated=True, bias=False)
PLAIN = AttentionConfig(num_heads=4, num_kv_heads=2, bias=False, output_bias=False)
LLAMA = tiny.stack(position=ROTARY, norm=RMS, attention=PLAIN, feedforward=SWIGLU)
SHAPES: dict[str, ModelConfig] = {
    "learned positions, tied": tiny.config(
        decoder=tiny.stack(position=PositionConfig(kind="learned")), is_tied=True, embedding_scale=3.0
    ),
    "gated, grouped, rotary": tiny.config(decoder=LLAMA, embedding_scale=3.0),
    "stretched rotary": tiny.config(
        decoder=tiny.stack(
            position=PositionConfig(kind="rotary", scaling=RotaryScaling(kind="yarn", factor=4.0, original_context=8)),
            norm=RMS,
            attention=PLAIN,
        ),
        embedding_scale=3.0,
    ),
    "sandwich, windows, caps": tiny.config(
        decoder=tiny.stack(
            placement="sandwich",
            position=ROTARY,
            norm=NormConfig(kind="rms", offset=1.0),
            attention=AttentionConfig(num_heads=4, num_kv_heads=2, d_head=6, bias=False, softcap=5.0, scale=0.4),
            feedforward=FeedForwardConfig(d_hidden=24, is_gated=True, bias=False),
            layer_types={"near": LayerType(window=4), "far": LayerType()},
            pattern=("near", "far"),
        ),
        embedding_scale=4.0,
        logit_softcap=3.0,
        logit_scale=1.5,
    ),
    "parallel, partly rotary": tiny.config(
        decoder=tiny.stack(placement="parallel", position=PositionConfig(kind="rotary", fraction=0.5)),
        head_bias=True,
        embedding_scale=3.0,
    ),
    "slopes": tiny.config(
        decoder=tiny.stack(position=PositionConfig(kind="alibi"), has_embedding_norm=True), embedding_scale=5.0
    ),
}


def made(config: ModelConfig, *, is_native: bool = True, seed: int = 4) -> Transformer:
    model = tiny.model(config, seed=seed)
    if is_native:
        accelerate(model)
    return model


def feed(session: Session, ids: Sequence[int]) -> Tensor:
    """One token a pass: logits [position, vocab]."""
    return torch.cat([session.extend([token]) for token in ids])


def readable(model: Transformer, ids: Sequence[int]) -> Tensor:
    return feed(Session(model, is_planned=False), ids)


def written(session: Session, prompt: Sequence[int], count: int) -> list[int]:
    decoder = autoregressive(session, prompt, Sampling(temperature=1.0, seed=2), max_tokens=count, eos_ids=())
    return [event.new for event in run(decoder) if event.new is not None]


def tokens(count: int, seed: int = 5) -> list[int]:
    return tiny.ids(1, count, seed=seed)[0].tolist()
