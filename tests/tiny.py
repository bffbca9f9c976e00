"""Small models for tests. In: knobs. Out: configs, and models whose every weight is random, so that equality says much."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import torch
from torch import Tensor

from cutaway.config import (
    AttentionConfig,
    ExpertsConfig,
    FeedForwardConfig,
    LayerType,
    ModelConfig,
    NormConfig,
    PositionConfig,
    StackConfig,
)
from cutaway.lens import Recorder, sites
from cutaway.model import Transformer, initialise

VOCAB = 31
POSITIONS = ("none", "learned", "sinusoidal", "rotary", "relative", "alibi")
PLACEMENTS = ("pre", "post", "sandwich", "inner", "parallel")
NEAR = {"near": LayerType(window=3), "full": LayerType()}


def stack(**knobs: Any) -> StackConfig:
    """A stack of two layers, width 16, four heads; knobs replace any of it."""
    defaults: dict[str, Any] = {
        "num_layers": 2,
        "d_model": 16,
        "attention": AttentionConfig(num_heads=4),
        "feedforward": FeedForwardConfig(d_hidden=24),
    }
    return StackConfig(**{**defaults, **knobs})


def config(*, encoder: StackConfig | None = None, decoder: StackConfig | None = None, **knobs: Any) -> ModelConfig:
    """A model with an untied head; without a stack of its own, a decoder."""
    decoder = stack() if encoder is None and decoder is None else decoder
    return ModelConfig(
        **{"vocab_size": VOCAB, "context": 48, "is_tied": False, **knobs}, encoder=encoder, decoder=decoder
    )


def model(config: ModelConfig, *, seed: int = 1, std: float = 0.3, dtype: torch.dtype = torch.float32) -> Transformer:
    """A model with matrices of deviation `std`, and norms and biases that are random too; in evaluation mode, no gradients."""
    generator = torch.Generator().manual_seed(seed)
    made = initialise(Transformer(config), generator, std=std)
    for parameter in made.parameters():
        if parameter.dim() == 1:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return made.to(dtype).eval().requires_grad_(False)


def lively(stack: StackConfig) -> Transformer:
    """A model whose greedy text varies: its next token depends on the last one more than on the position."""
    return model(config(decoder=stack, embedding_scale=5.0), seed=4)


def ids(batch: int, length: int, *, seed: int = 5) -> Tensor:
    """Random ids: [batch, position]."""
    return torch.randint(0, VOCAB, (batch, length), generator=torch.Generator().manual_seed(seed))


def recorder(
    model: Transformer, batch: int, length: int, patterns: str = "*", *, past: int = 0, source: int = 0
) -> Recorder:
    """A watcher of every site of a pass, or of those that match."""
    available = sites(model.config, batch, length, past=past, source=source)
    return Recorder(patterns, [site.name for site in available])


def assert_close(one: Tensor, other: Tensor) -> None:
    """The design's tolerance: max|Δ| ≤ 1e-5 · max(1, max|logit|) in fp32, 1e-11 in fp64; and the logits must vary."""
    bound = (1e-11 if one.dtype == torch.float64 else 1e-5) * max(1.0, other.abs().max().item())
    assert other.std(dim=-1).min() > 1e-2, "logits that do not vary prove nothing"
    assert one.shape == other.shape
    gap = (one - other).abs().max().item()
    assert gap <= bound, f"max|Δ| is {gap:.2e}, allowed {bound:.2e}"


def every_shape() -> list[Any]:
    """Position kind × placement × window × grouped heads, as stack configs with names for pytest."""
    pairs = product(POSITIONS, PLACEMENTS, (False, True), (False, True))
    return [(_name(*choice), _shape(*choice)) for choice in pairs]


def variants() -> dict[str, StackConfig]:
    """One stack for each further knob: norms, heads, gates, experts, caps, sharing, patterns."""
    attention: Callable[..., AttentionConfig] = lambda **k: AttentionConfig(num_heads=4, **k)  # noqa: E731
    network: Callable[..., FeedForwardConfig] = lambda **k: FeedForwardConfig(d_hidden=24, **k)  # noqa: E731
    rotary, rms = PositionConfig(kind="rotary"), NormConfig(kind="rms", offset=1.0)
    mixed = {"near": LayerType(window=3, position=rotary), "far": LayerType(position=PositionConfig(kind="none"))}
    return {
        "rms": stack(norm=rms, placement="sandwich"),
        "layer norm without bias": stack(norm=NormConfig(bias=False)),
        "no biases": stack(attention=attention(bias=False, output_bias=False), feedforward=network(bias=False)),
        "one key-value head": stack(attention=attention(num_kv_heads=1)),
        "wide heads": stack(attention=attention(num_kv_heads=2, d_head=6)),
        "head norm": stack(attention=attention(query_key_norm="head", num_kv_heads=2), position=rotary),
        "full norm": stack(attention=attention(query_key_norm="full", num_kv_heads=2), norm=rms),
        "softcap": stack(attention=attention(softcap=2.0)),
        "scale": stack(attention=attention(scale=0.7)),
        "sinks": stack(attention=attention(sinks=2), layer_types=NEAR, pattern=("near",)),
        "gated": stack(feedforward=network(is_gated=True, activation="silu", clamp=0.5)),
        "experts": stack(feedforward=network(experts=ExpertsConfig(num_experts=4, num_active=2))),
        "gated experts": stack(
            feedforward=network(
                is_gated=True, bias=False, experts=ExpertsConfig(num_experts=3, num_active=1, renormalise=False)
            )
        ),
        "shared": stack(num_layers=5, num_shared=2),
        "mixed types": stack(num_layers=3, position=rotary, layer_types=mixed, pattern=("near", "near", "far")),
        "embedding norm": stack(has_embedding_norm=True, has_final_norm=False),
        "token types": stack(num_token_types=3),
        "halved sinusoids": stack(position=PositionConfig(halved=True)),
        "learned with offset": stack(position=PositionConfig(kind="learned", offset=2)),
        "two relative types": stack(
            position=PositionConfig(kind="relative", num_buckets=8, max_distance=12),
            layer_types=NEAR,
            pattern=("near",),
        ),
        "parallel": stack(placement="parallel", position=rotary),
    }


def _shape(kind: Any, placement: Any, has_window: bool, is_grouped: bool) -> StackConfig:
    return stack(
        placement=placement,
        position=PositionConfig(kind=kind, num_buckets=8, max_distance=12),
        attention=AttentionConfig(num_heads=4, num_kv_heads=2 if is_grouped else None),
        **({"layer_types": NEAR, "pattern": ("near", "full")} if has_window else {}),
    )


def _name(kind: str, placement: str, has_window: bool, is_grouped: bool) -> str:
    return f"{kind}-{placement}{'-window' if has_window else ''}{'-grouped' if is_grouped else ''}"
