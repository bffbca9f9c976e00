"""Models to measure. In: the name of a shape. Out: a model of random weights, on which time does not depend.

Shapes are those of the Llama family (Touvron et al. 2023): rotary positions, RMS norms, gated feed-forward layers, no biases.
"""

from __future__ import annotations

import re
from typing import Final

import torch

from ...config import AttentionConfig, FeedForwardConfig, ModelConfig, NormConfig, PositionConfig, StackConfig
from ...cost import memory_bytes
from ...errors import CutawayError
from ...finding import read_config
from ...lm import load
from ...model import Transformer
from ...runtime.budget import bytes_left
from ...runtime.kernels import accelerate

SHAPES: Final = {
    "llama-15m": "6,288,6,6,768,32000",
    "llama-135m": "30,576,9,3,1536,49152",
    "llama-1.1b": "22,2048,32,4,5632,32000",
}
PARTS = ("layers", "width", "heads", "kv heads", "feed-forward width", "vocabulary")
CONTEXT = 2048
_SHAPE = re.compile(r"\d{1,9}(,\d{1,9}){5}")
SPREAD = 0.03  # of random weights, so that no number grows out of range


def is_shape(name: str) -> bool:
    """Whether a name is that of a shape, or six numbers."""
    return name in SHAPES or _SHAPE.fullmatch(name) is not None


def config_of(name: str) -> ModelConfig:
    """The architecture of a shape. Raises CutawayError for one that no model can have."""
    layers, width, heads, kv_heads, hidden, vocab = map(int, SHAPES.get(name, name).split(","))
    if heads == 0 or width % heads or (width // heads) % 2:
        raise CutawayError(
            f"The shape '{name}' has {heads} heads in {width} numbers: each head takes an equal, even share. "
            f"Give {', '.join(PARTS)}, for example {SHAPES['llama-15m']}."
        )
    stack = StackConfig(
        num_layers=layers,
        d_model=width,
        attention=AttentionConfig(num_heads=heads, num_kv_heads=kv_heads, bias=False, output_bias=False),
        feedforward=FeedForwardConfig(d_hidden=hidden, activation="silu", is_gated=True, bias=False),
        norm=NormConfig(kind="rms"),
        position=PositionConfig(kind="rotary"),
    )
    return ModelConfig(vocab_size=vocab, context=CONTEXT, decoder=stack, is_tied=False)


def model_of(name: str) -> Transformer:
    """The model of a shape, a path or a name. Raises CutawayError as `random_model` and `load` do."""
    return random_model(config_of(name)) if is_shape(name) else load(name).model


def architecture_of(name: str) -> ModelConfig:
    """Its config, without its weights."""
    return config_of(name) if is_shape(name) else read_config(name)


def random_model(config: ModelConfig) -> Transformer:
    """A model of random weights, ready to run. Raises CutawayError where the memory does not suffice."""
    needed, available = memory_bytes(config), bytes_left()
    if available is not None and needed > available:
        raise CutawayError(
            f"The model needs {needed / 1e9:,.1f} GB of memory, and {available / 1e9:,.1f} GB are available. "
            "Take a smaller shape, or end other programs."
        )
    made = Transformer(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for weight in made.parameters():
        if weight.dim() > 1:
            weight.uniform_(-SPREAD, SPREAD, generator=generator)
    accelerate(made)
    return made
