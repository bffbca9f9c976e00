"""Every knob of the architecture. In: keywords or a mapping. Out: frozen dataclasses, validated once. Imports no torch.

Config decides at construction; the forward pass stays straight. Causality is not architecture: it arrives with each call.
One `StackConfig` describes a stack of layers; a `ModelConfig` holds an encoder, a decoder, or both (cross-attention).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .errors import CutawayError, near
from .strict import build, plain

NormKind = Literal["layer", "rms"]
Placement = Literal["pre", "post", "sandwich", "inner", "parallel"]
PositionKind = Literal["none", "learned", "sinusoidal", "rotary", "relative", "alibi"]
QueryKeyNorm = Literal["none", "head", "full"]
Activation = Literal["gelu", "gelu_tanh", "relu", "relu_squared", "silu"]
ScalingKind = Literal["linear", "llama3", "yarn"]
Prediction = Literal["next", "masked", "masked_next"]


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
        _positive("norm.eps", self.eps)


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
        _positive("scaling.original_context", self.original_context)
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
        _positive("position.base", self.base)
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
        _positive("attention.num_heads", self.num_heads)
        if self.num_kv_heads is not None:
            _positive("attention.num_kv_heads", self.num_kv_heads)
        if self.d_head is not None:
            _positive("attention.d_head", self.d_head)
        if self.num_heads % self.kv_heads:
            raise CutawayError(
                f"attention.num_heads is {self.num_heads} and num_kv_heads is {self.kv_heads}. "
                f"The heads must divide evenly among the key-value heads; try {_divisors(self.num_heads)}."
            )
        if self.softcap is not None:
            _positive("attention.softcap", self.softcap)
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
        _positive("feedforward.d_hidden", self.d_hidden)
        if self.clamp is not None:
            _positive("feedforward.clamp", self.clamp)


@dataclass(frozen=True, kw_only=True)
class LayerType:
    """A named kind of layer. window: how many positions back it sees. position: replaces the stack's (rotary or none)."""

    window: int | None = None
    position: PositionConfig | None = None

    def __post_init__(self) -> None:
        if self.window is not None:
            _positive("window", self.window)
        if self.position is not None and self.position.is_table:
            raise CutawayError(
                f"A layer type's position is '{self.position.kind}', but a table is added once, before all layers. "
                "Allowed here: none, rotary, relative, alibi."
            )


@dataclass(frozen=True, kw_only=True)
class StackConfig:
    """One stack of layers: its size, norms, positions, sublayers, and the pattern of its layer types.

    pattern: layer type names, repeated to num_layers. num_shared: how many different layers there are when layers are
    shared across depth (Dehghani et al. 2019), cycled; None: every layer is its own. num_token_types: rows of a table of which
    one is added to each token, by the type that the call says (first or second text, Devlin et al. 2019); 0: no table.
    """

    num_layers: int
    d_model: int
    attention: AttentionConfig
    feedforward: FeedForwardConfig
    norm: NormConfig = field(default_factory=NormConfig)
    placement: Placement = "pre"
    position: PositionConfig = field(default_factory=PositionConfig)
    layer_types: Mapping[str, LayerType] = field(default_factory=lambda: {"full": LayerType()})
    pattern: tuple[str, ...] = ("full",)
    num_shared: int | None = None
    has_embedding_norm: bool = False
    has_final_norm: bool = True
    num_token_types: int = 0

    def __post_init__(self) -> None:
        _positive("num_layers", self.num_layers)
        _positive("d_model", self.d_model)
        if self.num_token_types < 0:
            raise CutawayError(f"num_token_types is {self.num_token_types}. It must be 0 or more rows.")
        self._check_heads()
        self._check_pattern()

    def _check_heads(self) -> None:
        heads = self.attention.num_heads
        if self.attention.d_head is None and self.d_model % heads:
            raise CutawayError(
                f"attention.num_heads is {heads}, which does not divide d_model = {self.d_model}. "
                f"Choose one of {_divisors(self.d_model)}, or set attention.d_head."
            )
        rotary = [p for p in self.positions().values() if p.kind == "rotary"]
        if any(int(self.d_head * p.fraction) < 2 or int(self.d_head * p.fraction) % 2 for p in rotary):
            raise CutawayError(
                f"Rotary positions turn pairs of numbers, and the turned part of a head of width {self.d_head} is odd or "
                "empty. Choose an even d_head, or a fraction that leaves an even part."
            )
        if self.position.kind == "sinusoidal" and self.d_model % 2:
            raise CutawayError(f"d_model is {self.d_model}. Sinusoidal positions need an even width.")

    def _check_pattern(self) -> None:
        if not self.pattern:
            raise CutawayError("pattern is empty. Name at least one layer type, for example pattern = ['full'].")
        for name in self.layer_types:
            if not name.isidentifier():
                raise CutawayError(f"layer_types names '{name}'. A name has letters, digits and underscores only.")
        for name in self.pattern:
            if name not in self.layer_types:
                raise CutawayError(f"pattern names the layer type '{name}'.{near(name, self.layer_types)}")
        shared = self.num_shared
        if shared is not None and not 1 <= shared <= self.num_layers:
            raise CutawayError(f"num_shared is {shared}. It must be from 1 to num_layers, {self.num_layers}.")

    @property
    def d_head(self) -> int:
        """The width of one head."""
        return self.attention.d_head or self.d_model // self.attention.num_heads

    @property
    def num_distinct(self) -> int:
        """How many layers have weights of their own."""
        return self.num_shared or self.num_layers

    def kind(self, layer: int) -> str:
        """The name of the layer type at depth `layer`."""
        return self.pattern[layer % len(self.pattern)]

    def positions(self) -> dict[str, PositionConfig]:
        """The position knobs of each layer type by name."""
        return {name: kind.position or self.position for name, kind in self.layer_types.items()}


@dataclass(frozen=True, kw_only=True)
class TokenIds:
    """The ids with a role. Written here from the tokenizer; no id appears in code."""

    bos: int | None = None
    eos: int | None = None
    pad: int | None = None
    mask: int | None = None
    decoder_start: int | None = None


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A whole model. vocab_size: ids. context: the most positions of a table or of training.

    tied: the head is the token embedding transposed. embedding_scale: on token embeddings. logit_scale, logit_softcap: on
    the logits. has_head: whether the model predicts tokens at all. predicts: what a decoder-only model was trained to
    predict; no layer reads it, it says how to call the model. next: the token after, from what came before; masked: a hidden
    token at its own place, seeing all (Nie et al. 2025); masked_next: the same, one place earlier (Ye et al. 2025).
    head_transform: the activation between a dense layer and a norm that stand before the head's matrix (Devlin et al. 2019);
    None: nothing does. has_pooler: whether a model without head makes one vector of a text from its first token's, by a dense
    layer and tanh. num_labels: scores of each token, without head (Devlin et al. 2019 §4.2: begin and end of an answer).
    """

    vocab_size: int
    context: int
    decoder: StackConfig | None = None
    encoder: StackConfig | None = None
    is_tied: bool = True
    embedding_scale: float = 1.0
    logit_scale: float = 1.0
    logit_softcap: float | None = None
    head_bias: bool = False
    has_head: bool = True
    head_transform: Activation | None = None
    has_pooler: bool = False
    num_labels: int = 0
    predicts: Prediction = "next"
    tokens: TokenIds = field(default_factory=TokenIds)

    def __post_init__(self) -> None:
        _positive("vocab_size", self.vocab_size)
        _positive("context", self.context)
        if self.decoder is None and self.encoder is None:
            raise CutawayError("The model has no stack. Give a [decoder], an [encoder], or both.")
        if self.decoder and self.encoder and self.decoder.d_model != self.encoder.d_model:
            raise CutawayError(
                f"decoder.d_model is {self.decoder.d_model} and encoder.d_model is {self.encoder.d_model}. "
                "They share one token embedding, so both must be equal."
            )
        if self.has_cross and self.main.placement == "parallel":
            raise CutawayError(
                "decoder.placement is 'parallel' and there is an encoder. A parallel block has no cross-attention. "
                "Allowed with an encoder: pre, post, sandwich, inner."
            )
        self._check_ends()
        for role, token_id in vars(self.tokens).items():
            if token_id is not None and not 0 <= token_id < self.vocab_size:
                raise CutawayError(f"tokens.{role} is {token_id}. Ids run from 0 to {self.vocab_size - 1}.")

    def _check_ends(self) -> None:
        if self.head_transform is not None and not self.has_head:
            raise CutawayError(
                f"head_transform is '{self.head_transform}' and has_head is false. It stands before a head: leave it out."
            )
        if self.num_labels and (self.num_labels < 0 or self.has_head or self.decoder is not None):
            raise CutawayError(
                f"num_labels is {self.num_labels}. It is 0, or above it for an encoder whose has_head is false."
            )
        if self.has_pooler and (self.has_head or self.decoder is not None):
            raise CutawayError(
                "has_pooler is true, and the model has a head or a decoder. A pooler ends an encoder: set has_head to false."
            )

    @property
    def stacks(self) -> dict[str, StackConfig]:
        """The stacks by name, in the order in which text passes through them."""
        pairs = (("encoder", self.encoder), ("decoder", self.decoder))
        return {name: stack for name, stack in pairs if stack is not None}

    @property
    def main(self) -> StackConfig:
        """The stack whose output becomes logits: the decoder where there is one."""
        stack = self.decoder or self.encoder
        assert stack is not None, "validated at construction"
        return stack

    @property
    def has_cross(self) -> bool:
        """Whether the decoder looks at an encoder's output."""
        return self.decoder is not None and self.encoder is not None

    @property
    def sees_ahead(self) -> bool:
        """Whether tokens were trained to see those after them: where there is no decoder, or hidden tokens are predicted."""
        return self.decoder is None or self.predicts != "next"

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, defaults left out; `from_dict` gives back an equal config."""
        return dict(plain(self))

    @staticmethod
    def from_dict(data: object) -> ModelConfig:
        """Build from a mapping; an unknown key is an error that names its nearest neighbour."""
        return build(ModelConfig, data)


def _positive(name: str, value: float) -> None:
    if not value > 0:
        raise CutawayError(f"{name} is {value}. It must be above 0.")


def _divisors(number: int) -> str:
    most = 512  # more heads than any model has; a hostile number must not be counted through
    return ", ".join(str(d) for d in range(1, min(number, most) + 1) if number % d == 0)
