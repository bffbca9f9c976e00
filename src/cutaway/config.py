"""Every knob of the architecture. In: keywords or a mapping. Out: frozen dataclasses, validated once. Imports no torch.

Config decides at construction; the forward pass stays straight. Causality is not architecture: it arrives with each call.
One `StackConfig` describes a stack of layers; a `ModelConfig` holds an encoder, a decoder, or both (cross-attention).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .errors import CutawayError, near
from .parts import (
    Activation,
    AttentionConfig,
    ExpertsConfig,
    FeedForwardConfig,
    LayerType,
    NormConfig,
    NormKind,
    PositionConfig,
    PositionKind,
    QueryKeyNorm,
    RotaryScaling,
    ScalingKind,
    divisors,
    positive,
)
from .strict import build, plain

__all__ = [
    "Activation",
    "AttentionConfig",
    "ExpertsConfig",
    "FeedForwardConfig",
    "LayerType",
    "ModelConfig",
    "NormConfig",
    "NormKind",
    "Placement",
    "PositionConfig",
    "PositionKind",
    "Prediction",
    "QueryKeyNorm",
    "RotaryScaling",
    "ScalingKind",
    "StackConfig",
    "TokenIds",
]

Placement = Literal["pre", "post", "sandwich", "inner", "parallel"]
Prediction = Literal["next", "masked", "masked_next", "hybrid", "hybrid_next"]


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
        positive("num_layers", self.num_layers)
        positive("d_model", self.d_model)
        if self.num_token_types < 0:
            raise CutawayError(f"num_token_types is {self.num_token_types}. It must be 0 or more rows.")
        self._check_heads()
        self._check_pattern()

    def _check_heads(self) -> None:
        heads = self.attention.num_heads
        if self.attention.d_head is None and self.d_model % heads:
            raise CutawayError(
                f"attention.num_heads is {heads}, which does not divide d_model = {self.d_model}. "
                f"Choose one of {divisors(self.d_model)}, or set attention.d_head."
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
    token at its own place, seeing all (Nie et al. 2025), or, with a block_size, the blocks before and its own (Arriola et al.
    2025); hybrid: the token after, and the hidden tokens of a block of at most block_size that follows (Liu et al. 2025). Those
    with _next say a hidden token one place earlier (Ye et al. 2025).
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
    block_size: int | None = None
    tokens: TokenIds = field(default_factory=TokenIds)

    def __post_init__(self) -> None:
        positive("vocab_size", self.vocab_size)
        positive("context", self.context)
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
        self._check_prediction()
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

    def _check_prediction(self) -> None:
        if self.predicts != "next" and (self.decoder is None or self.has_cross):
            raise CutawayError(
                f"predicts is '{self.predicts}', and there is an encoder. Allowed with an encoder: next. Leave it out."
            )
        if self.block_size is not None:
            positive("block_size", self.block_size)
            if self.predicts == "masked_next":
                raise CutawayError(
                    f"predicts is 'masked_next' and block_size is {self.block_size}. One place before a block lies another, "
                    "which does not see it: blocks say hidden tokens at their own places. Allowed with a block_size: masked."
                )
        is_right = self.predicts.startswith("masked") or (self.block_size is None) == (self.predicts == "next")
        if not is_right:
            raise CutawayError(
                f"predicts is '{self.predicts}' and block_size is {self.block_size}. A hybrid has a block_size, and what "
                "predicts the next token alone has none."
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
    def says_next(self) -> bool:
        """Whether the model was trained to say the next token from what came before it."""
        return self.decoder is not None and not self.predicts.startswith("masked")

    @property
    def says_masked(self) -> bool:
        """Whether the model was trained to say hidden tokens, as diffusion and hybrid models are."""
        return self.predicts != "next"

    @property
    def is_shifted(self) -> bool:
        """Whether a hidden token is said one place earlier."""
        return self.predicts.endswith("_next")

    @property
    def taught(self) -> str:
        """What the model was trained to do, for a reader: "fill in hidden tokens, in blocks of 4"."""
        words = {
            "next": "say the next token",
            "masked": "fill in hidden tokens",
            "masked_next": "fill in hidden tokens, each said one place earlier",
        }
        blocks = "" if self.block_size is None else f", in blocks of {self.block_size}"
        return words.get(self.predicts, "say the next token and to draft those behind it") + blocks

    @property
    def sees_ahead(self) -> bool:
        """Whether every token of a text was trained to see every other."""
        return self.decoder is None or (self.predicts.startswith("masked") and self.block_size is None)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, defaults left out; `from_dict` gives back an equal config."""
        return dict(plain(self))

    @staticmethod
    def from_dict(data: object) -> ModelConfig:
        """Build from a mapping; an unknown key is an error that names its nearest neighbour."""
        return build(ModelConfig, data)
