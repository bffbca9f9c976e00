"""What a model will cost, before it exists. In: a config. Out: parameters, FLOPs, bytes. Imports no torch.

Equations: a token costs 2 FLOPs per weight that it is multiplied with, and 4 · d_head per head and key that it meets (2 for
the score, 2 for the mix); the backward pass costs twice the forward (Kaplan et al. 2020 §2.1; Chowdhery et al. 2022, PaLM,
appendix B). As there, every token meets all `context` keys: the dense kernels compute what a mask or a window then hides.
A generated token reads every weight that it uses once, and the whole store, which bounds its speed (Pope et al. 2022 §2.1).
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

from .config import ModelConfig, NormConfig, StackConfig
from .errors import CutawayError

GROUP, SCALE = 32, 2  # weights that share a scale, and its bytes: `runtime.quantise`
MARGIN = 64  # tokens that layers with a window keep beyond it, so that a session can be rewound: see runtime/stores.py
SCALE_BYTES = 4  # of each vector of a token and head that is kept in int8


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """How many learned numbers each part of a model has. norm: all norms, those of queries and keys too.

    embedding: tables of tokens and of their types. head: its matrices, or those of pooler and labels; 0 when tied without bias or
    transform, for its matrix is the embedding.
    """

    embedding: int
    position: int
    attention: int
    feedforward: int
    norm: int
    head: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(astuple(self))


def parameters(config: ModelConfig) -> Parameters:
    """The learned numbers of the model by part, exactly those that `Transformer(config)` has."""
    stacks = config.stacks.items()
    return Parameters(
        embedding=config.vocab_size * config.main.d_model + sum(_types(stack) for _, stack in stacks),
        position=sum(_position(config, stack) for _, stack in stacks),
        attention=sum(stack.num_distinct * _num_attentions(config, name) * _attention(stack) for name, stack in stacks),
        feedforward=sum(stack.num_distinct * _feedforward(stack) for _, stack in stacks),
        norm=sum(_norms(config, name) for name, _ in stacks) + _transform_norm(config),
        head=_head(config) - (_matrix(config) if config.is_tied else 0) + _pooler(config) + _labels(config),
    )


def used_weights(config: ModelConfig) -> Parameters:
    """The learned numbers that one generated token uses, by part; a layer shared across depth counts at every depth.

    Of an untied embedding and of a learned table one row, of experts those active; cross-attention's keys and values were filled
    beforehand.
    """
    stack, num_layers = config.main, config.main.num_layers
    crossing = _attention(stack) - _key_value(stack) if config.has_cross else 0
    norms = _layer_norms(config, _main_name(config)) - (_key_norm(stack) if config.has_cross else 0)
    return Parameters(
        embedding=stack.d_model * (1 + int(stack.num_token_types > 0)),
        position=stack.d_model * int(stack.position.kind == "learned") + _relative(stack),
        attention=num_layers * (_attention(stack) + crossing),
        feedforward=num_layers * _active_feedforward(stack),
        norm=num_layers * norms + _end_norms(stack) + _transform_norm(config),
        head=_head(config),
    )


def num_parameters(config: ModelConfig) -> int:
    """All learned numbers of the model."""
    return parameters(config).total


def memory_bytes(config: ModelConfig, bytes_per_weight: float = 4.0) -> float:
    """Bytes of the weights alone: what a checkpoint weighs, and what the model occupies before it runs."""
    return num_parameters(config) * bytes_per_weight


def bytes_per_weight(bits: int) -> float:
    """Bytes of a weight that is kept in so many bits, and its share of a scale: below 16 bits, 32 of a row have one of fp16."""
    return bits / 8 + (SCALE / GROUP if bits < 16 else 0)


def flops_per_token(config: ModelConfig, context: int, *, training: bool = False) -> int:
    """FLOPs of the matrix products for one token among `context` tokens; training adds the backward pass (× 3).

    Experts count those active only; a pooler, which runs once a text, does not count. With two stacks: one source token and one
    target token, of `context` tokens each.
    Raises CutawayError for a context below 1.
    """
    _check_count("context", context, least=1)
    multiplied = sum(stack.num_layers * _layer_weights(config, name) for name, stack in config.stacks.items())
    met = sum(_met(config, name) for name in config.stacks)
    forward = 2 * (multiplied + _head_weights(config)) + 4 * context * met
    return 3 * forward if training else forward


def cache_bytes(
    config: ModelConfig,
    num_tokens: int,
    bytes_per_value: float = 4.0,
    *,
    num_source: int = 0,
    margin: int | None = None,
) -> float:
    """Bytes of keys and values that a session of `num_tokens` holds, and those of its source where there is one.

    bytes_per_value: see `bytes_of_cached_value`. margin: of a sliding store: layers with a window keep it, so many tokens more,
    and the sinks; None: the store keeps every token, because a rewind may need it. Raises CutawayError below 0.
    """
    _check_count("num_tokens", num_tokens, least=0)
    _check_count("num_source", num_source, least=0)
    _check_count("margin", margin or 0, least=0)
    return _entries(config, num_tokens, num_source, margin) * 2 * _d_key(config.main) * bytes_per_value


def bytes_of_cached_value(config: ModelConfig, bits: int) -> float:
    """Bytes of a number that a store of so many bits keeps. At 8, each token and head has a scale of 4 bytes beside its codes."""
    return bits / 8 + (SCALE_BYTES / config.main.d_head if bits == 8 else 0.0)


def bytes_per_generated_token(
    config: ModelConfig,
    context: int,
    bytes_per_weight: float = 4.0,
    bytes_per_cached_value: float = 4.0,
    *,
    num_source: int = 0,
    slides: bool = False,
) -> float:
    """Bytes moved to generate one token with `context` tokens in the store, the new one included.

    Weights: each that one token uses, once per use (a layer shared across depth is used at every depth; of an untied
    embedding and of a learned table, one row; cross-attention's keys and values were filled beforehand).
    Cache: all of it read, one token written; where the store slides, of layers with a window no more than they see.
    Raises CutawayError for a context below 1.
    """
    _check_count("context", context, least=1)
    sizes = (bytes_per_weight, bytes_per_cached_value)
    return bytes_per_pass(config, 1, context - 1, *sizes, num_source=num_source, slides=slides)


def bytes_per_pass(
    config: ModelConfig,
    num_read: int,
    num_kept: int = 0,
    bytes_per_weight: float = 4.0,
    bytes_per_cached_value: float = 4.0,
    *,
    num_source: int = 0,
    slides: bool = False,
) -> float:
    """Bytes moved by one pass that reads num_read tokens, with num_kept in the store before: what a pass gives several tokens
    for, where drafts are verified or holes are filled.

    Weights: as of `bytes_per_generated_token`, once for all tokens; of the tables, a row for each. Cache: all keys and values
    read (slides: as there), those of the tokens of the pass written too. Raises CutawayError for num_read below 1 and num_kept
    below 0.
    """
    _check_count("num_read", num_read, least=1)
    _check_count("num_kept", num_kept, least=0)
    used, stack = used_weights(config), config.main
    rows = used.embedding + stack.d_model * int(stack.position.kind == "learned")
    weights = used.total + (num_read - 1) * rows
    read = _entries(config, num_kept + num_read, num_source, num_read - 1 if slides else None)
    written = stack.num_layers * num_read
    return weights * bytes_per_weight + (read + written) * 2 * _d_key(stack) * bytes_per_cached_value


def _layer_weights(config: ModelConfig, name: str) -> int:
    stack = config.stacks[name]
    attention = _num_attentions(config, name) * (stack.d_model * 2 * (_d_query(stack) + _d_key(stack)))
    return attention + _feedforward_matrices(stack)


def _met(config: ModelConfig, name: str) -> int:
    stack = config.stacks[name]
    return stack.num_layers * _num_attentions(config, name) * _d_query(stack)


def _entries(config: ModelConfig, num_tokens: int, num_source: int, margin: int | None) -> int:
    """Tokens that each layer keeps, of all layers together. margin: beyond the window; None: everything is kept."""
    stack = config.main
    windows = [stack.layer_types[stack.kind(index)].window for index in range(stack.num_layers)]
    most = [None if window is None or margin is None else window + margin + stack.attention.sinks for window in windows]
    kept = sum(num_tokens if size is None else min(num_tokens, size) for size in most)
    return kept + (stack.num_layers * num_source if config.has_cross else 0)


def _d_query(stack: StackConfig) -> int:
    return stack.attention.num_heads * stack.d_head


def _d_key(stack: StackConfig) -> int:
    return stack.attention.kv_heads * stack.d_head


def _num_attentions(config: ModelConfig, name: str) -> int:
    """1, or 2 where a decoder looks at an encoder too. Stacks go by name: both may have equal configs."""
    return 2 if config.has_cross and name == "decoder" else 1


def _main_name(config: ModelConfig) -> str:
    return "encoder" if config.decoder is None else "decoder"


def _attention(stack: StackConfig) -> int:
    knobs, d_query = stack.attention, _d_query(stack)
    query = d_query * (stack.d_model + (1 if knobs.bias else 0))
    output = stack.d_model * (d_query + (1 if knobs.output_bias else 0))
    return query + _key_value(stack) + output


def _key_value(stack: StackConfig) -> int:
    return 2 * _d_key(stack) * (stack.d_model + (1 if stack.attention.bias else 0))


def _feedforward(stack: StackConfig) -> int:
    experts = stack.feedforward.experts
    if experts is None:
        return _network(stack)
    return experts.num_experts * (_network(stack) + stack.d_model)


def _active_feedforward(stack: StackConfig) -> int:
    experts = stack.feedforward.experts
    if experts is None:
        return _network(stack)
    return experts.num_active * _network(stack) + experts.num_experts * stack.d_model


def _feedforward_matrices(stack: StackConfig) -> int:
    experts = stack.feedforward.experts
    num_active = 1 if experts is None else experts.num_active
    return _active_feedforward(stack) - num_active * _network_biases(stack)


def _network(stack: StackConfig) -> int:
    num_matrices = 3 if stack.feedforward.is_gated else 2
    return num_matrices * stack.d_model * stack.feedforward.d_hidden + _network_biases(stack)


def _network_biases(stack: StackConfig) -> int:
    knobs = stack.feedforward
    return (2 if knobs.is_gated else 1) * knobs.d_hidden + stack.d_model if knobs.bias else 0


def _norms(config: ModelConfig, name: str) -> int:
    stack = config.stacks[name]
    return stack.num_distinct * _layer_norms(config, name) + _end_norms(stack)


def _layer_norms(config: ModelConfig, name: str) -> int:
    stack, num_attentions = config.stacks[name], _num_attentions(config, name)
    around = (num_attentions + 1) * (2 if stack.placement == "sandwich" else 1) * _norm(stack.norm, stack.d_model)
    return around + num_attentions * (_query_norm(stack) + _key_norm(stack))


def _end_norms(stack: StackConfig) -> int:
    return (int(stack.has_embedding_norm) + int(stack.has_final_norm)) * _norm(stack.norm, stack.d_model)


def _query_norm(stack: StackConfig) -> int:
    return _head_norm(stack, _d_query(stack))


def _key_norm(stack: StackConfig) -> int:
    return _head_norm(stack, _d_key(stack))


def _head_norm(stack: StackConfig, d_full: int) -> int:
    widths = {"none": 0, "head": stack.d_head, "full": d_full}
    return _norm(stack.norm, widths[stack.attention.query_key_norm])


def _norm(norm: NormConfig, width: int) -> int:
    return 2 * width if norm.kind == "layer" and norm.bias else width


def _position(config: ModelConfig, stack: StackConfig) -> int:
    rows = config.context + stack.position.offset if stack.position.kind == "learned" else 0
    return rows * stack.d_model + _relative(stack)


def _relative(stack: StackConfig) -> int:
    buckets = [p.num_buckets for p in stack.positions().values() if p.kind == "relative"]
    return stack.attention.num_heads * sum(buckets)


def _types(stack: StackConfig) -> int:
    return stack.num_token_types * stack.d_model


def _matrix(config: ModelConfig) -> int:
    return config.vocab_size * config.main.d_model if config.has_head else 0


def _head_weights(config: ModelConfig) -> int:
    return _matrix(config) + (0 if config.head_transform is None else config.main.d_model**2)


def _head(config: ModelConfig) -> int:
    biases = (config.vocab_size if config.has_head and config.head_bias else 0) + (
        0 if config.head_transform is None else config.main.d_model
    )
    return _head_weights(config) + biases


def _transform_norm(config: ModelConfig) -> int:
    return 0 if config.head_transform is None else _norm(config.main.norm, config.main.d_model)


def _pooler(config: ModelConfig) -> int:
    return config.main.d_model * (config.main.d_model + 1) if config.has_pooler else 0


def _labels(config: ModelConfig) -> int:
    return (config.main.d_model + 1) * config.num_labels


def _check_count(name: str, value: int, *, least: int) -> None:
    if value < least:
        raise CutawayError(f"{name} is {value}. It must be {least} or more tokens.")
