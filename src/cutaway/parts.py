"""The knobs of what a layer is made of: norm, positions, attention, feed-forward. In: keywords. Out: frozen, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .errors import CutawayError

NormKind = Literal["layer", "rms"]
PositionKind = Literal["none", "learned", "sinusoidal", "rotary", "relative", "alibi"]
QueryKeyNorm = Literal["none", "head", "full"]
Activation = Literal["gelu", "gelu_tanh", "relu", "relu_squared", "silu"]
ScalingKind = Literal["linear", "llama3", "yarn"]


@dataclass(frozen=True, kw_only=True)
class NormConfig:
    """Layer normalisation (Ba et al. 2016) or root-mean-square normalisation (Zhang & Sennrich 2019).

    offset: added to the learned scale (1.0 where a checkpoint stores scale − 1). bias: layer kind only.
    """

    kind: NormKind = "layer"
    eps: float = 1e-5
    offset: float = 0.0
    bias: bool = True

    def __post_init__(self) -> None:
        positive("norm.eps", self.eps)


@dataclass(frozen=True, kw_only=True)
class RotaryScaling:
    """How rotary frequencies are stretched for contexts longer than those trained on.

    linear: all frequencies divided by `factor` (Chen et al. 2023). llama3: long waves divided, short kept, a ramp between
    `low` and `high` wavelengths per original context. yarn: the same by parts with an attention factor (Peng et al. 2023).
    """

    kind: ScalingKind
    factor: float
    original_context: int = 8192
    low: float = 1.0
    high: float = 4.0
    attention_factor: float | None = None

    def __post_init__(self) -> None:
        if self.factor < 1.0:
            raise CutawayError(f"scaling.factor is {self.factor}. It must be at least 1.0: it stretches the context.")
        positive("scaling.original_context", self.original_context)
        if self.low >= self.high:
            raise CutawayError(f"scaling.low is {self.low} and scaling.high is {self.high}. low must be below high.")


@dataclass(frozen=True, kw_only=True)
class PositionConfig:
    """How order reaches the stack.

    learned, sinusoidal: a table added to the token embedding (`offset` rows skipped, sinusoids times `scale`;
    Vaswani et al. 2017 §3.5). rotary: queries and keys turned by position (Su et al. 2021); `fraction` of each head,
    `interleaved` pairs or halves. halved: sines fill the first half of a sinusoidal row and cosines the second, instead of
    taking turns (Junczys-Dowmunt et al. 2018). relative: learned bias per bucketed distance (Raffel et al. 2020). alibi: a fixed
    slope per head (Press et al. 2022).
    """

    kind: PositionKind = "sinusoidal"
    offset: int = 0
    scale: float = 1.0
    base: float = 10_000.0
    fraction: float = 1.0
    interleaved: bool = False
    halved: bool = False
    scaling: RotaryScaling | None = None
    num_buckets: int = 32
    max_distance: int = 128
    bidirectional: bool = False

    def __post_init__(self) -> None:
        positive("position.base", self.base)
        if not 0.0 < self.fraction <= 1.0:
            raise CutawayError(f"position.fraction is {self.fraction}. It must be above 0 and at most 1.")
        if self.offset < 0:
            raise CutawayError(f"position.offset is {self.offset}. It must be 0 or more rows.")
        if self.halved and self.kind != "sinusoidal":
            raise CutawayError(
                f"position.halved is true and position.kind is '{self.kind}'. Only sinusoidal rows have halves."
            )
        if self.kind == "relative" and self.num_buckets < 4:
            raise CutawayError(f"position.num_buckets is {self.num_buckets}. It must be at least 4.")
        num_exact = self.num_buckets // (4 if self.bidirectional else 2)
        if self.kind == "relative" and self.max_distance <= num_exact:
            raise CutawayError(
                f"position.max_distance is {self.max_distance}. It must be above {num_exact}, the distances with a bucket each."
            )

    @property
    def is_table(self) -> bool:
        """Whether a table of positions is added to the token embedding."""
        return self.kind in ("learned", "sinusoidal")


@dataclass(frozen=True, kw_only=True)
class AttentionConfig:
    """Multi-head attention (Vaswani et al. 2017), grouped when num_kv_heads < num_heads (Ainslie et al. 2023).

    d_head: width of one head, d_model / num_heads if None. scale: of the scores, 1/sqrt(d_head) if None.
    query_key_norm: a norm on queries and keys, per head or over the full width. softcap: tanh cap on scores.
    sinks: how many first positions stay visible through every window (Xiao et al. 2023).
    """

    num_heads: int
    num_kv_heads: int | None = None
    d_head: int | None = None
    bias: bool = True
    output_bias: bool = True
    query_key_norm: QueryKeyNorm = "none"
    scale: float | None = None
    softcap: float | None = None
    sinks: int = 0

    def __post_init__(self) -> None:
        positive("attention.num_heads", self.num_heads)
        if self.num_kv_heads is not None:
            positive("attention.num_kv_heads", self.num_kv_heads)
        if self.d_head is not None:
            positive("attention.d_head", self.d_head)
        if self.num_heads % self.kv_heads:
            raise CutawayError(
                f"attention.num_heads is {self.num_heads} and num_kv_heads is {self.kv_heads}. "
                f"The heads must divide evenly among the key-value heads; try {divisors(self.num_heads)}."
            )
        if self.softcap is not None:
            positive("attention.softcap", self.softcap)
        if self.sinks < 0:
            raise CutawayError(f"attention.sinks is {self.sinks}. It must be 0 or more positions.")

    @property
    def kv_heads(self) -> int:
        """The number of key-value heads."""
        return self.num_heads if self.num_kv_heads is None else self.num_kv_heads


@dataclass(frozen=True, kw_only=True)
class ExpertsConfig:
    """A mixture of experts in place of one feed-forward network (Shazeer et al. 2017; Jiang et al. 2024).

    Each token goes to its `num_active` most likely experts; renormalise: their weights are made to add up to 1.
    """

    num_experts: int
    num_active: int
    renormalise: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.num_active <= self.num_experts:
            raise CutawayError(
                f"experts.num_active is {self.num_active}. It must be from 1 to num_experts, {self.num_experts}."
            )


@dataclass(frozen=True, kw_only=True)
class FeedForwardConfig:
    """Two projections with an activation between; gated: the activation multiplies a second one (Shazeer 2020).

    clamp: limit on the values before the activation (gate from above, the other side on both sides).
    """

    d_hidden: int
    activation: Activation = "gelu_tanh"
    is_gated: bool = False
    bias: bool = True
    clamp: float | None = None
    experts: ExpertsConfig | None = None

    def __post_init__(self) -> None:
        positive("feedforward.d_hidden", self.d_hidden)
        if self.clamp is not None:
            positive("feedforward.clamp", self.clamp)


@dataclass(frozen=True, kw_only=True)
class LayerType:
    """A named kind of layer. window: how many positions back it sees. position: replaces the stack's (rotary or none)."""

    window: int | None = None
    position: PositionConfig | None = None

    def __post_init__(self) -> None:
        if self.window is not None:
            positive("window", self.window)
        if self.position is not None and self.position.is_table:
            raise CutawayError(
                f"A layer type's position is '{self.position.kind}', but a table is added once, before all layers. "
                "Allowed here: none, rotary, relative, alibi."
            )


def positive(name: str, value: float) -> None:
    """Raises CutawayError unless the value is above 0."""
    if not value > 0:
        raise CutawayError(f"{name} is {value}. It must be above 0.")


def divisors(number: int) -> str:
    """The divisors of a number, in words."""
    most = 512  # more heads than any model has; a hostile number must not be counted through
    return ", ".join(str(d) for d in range(1, min(number, most) + 1) if number % d == 0)
