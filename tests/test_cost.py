"""What the config predicts, against what is there: parameters, FLOPs counted by torch, bytes of stores and of a step."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cutaway import cost
from cutaway.config import ModelConfig, PositionConfig, StackConfig
from cutaway.errors import CutawayError
from cutaway.model import Call, Transformer, visibility
from cutaway.model.attention import Attention
from cutaway.model.embedding import PositionTable, TokenEmbedding, TypeTable
from cutaway.model.feedforward import Experts, FeedForward
from cutaway.model.head import Head, Labels, Pooler
from cutaway.model.norm import LayerNorm, RmsNorm
from cutaway.model.position import RelativeBias
from cutaway.model.projection import Projection
from cutaway.runtime.stores import KVStore
from tests import tiny
from tests.model.test_config import models

SHAPES: dict[str, ModelConfig] = {name: tiny.config(decoder=stack) for name, stack in tiny.every_shape()}
SHAPES |= {name: tiny.config(decoder=stack) for name, stack in tiny.variants().items()}
SHAPES |= {
    "tied": tiny.config(is_tied=True),
    "tied with bias": tiny.config(is_tied=True, head_bias=True),
    "untied with bias": tiny.config(head_bias=True),
    "no head": tiny.config(encoder=tiny.stack(), has_head=False),
    "tied with transform": tiny.config(encoder=tiny.stack(), is_tied=True, head_bias=True, head_transform="gelu"),
    "labels": tiny.config(encoder=tiny.stack(), has_head=False, num_labels=2),
    "pooler": tiny.config(encoder=tiny.stack(num_token_types=2), has_head=False, has_pooler=True),
    "two stacks": tiny.config(encoder=tiny.stack(), decoder=tiny.stack(num_layers=3)),
    "two shared stacks": tiny.config(
        encoder=tiny.variants()["rms"],
        decoder=tiny.stack(num_layers=4, num_shared=2, position=PositionConfig(kind="learned")),
    ),
}
everywhere = pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)


TABLES = (TokenEmbedding, PositionTable, TypeTable)


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def owned(model: nn.Module, kinds: tuple[type[nn.Module], ...], *, only: type[nn.Module] = nn.Module) -> int:
    """Parameters of all modules of `only` inside modules of `kinds`, each once."""
    inside = {id(m): m for outer in model.modules() if isinstance(outer, kinds) for m in outer.modules()}
    leaves = [m for m in inside.values() if isinstance(m, only)]
    return sum({id(p): p.numel() for m in leaves for p in m.parameters(recurse=False)}.values())


@everywhere
def test_parameters_are_exact_in_sum_and_by_part(config: ModelConfig) -> None:
    model, predicted = Transformer(config), cost.parameters(config)
    assert cost.num_parameters(config) == predicted.total == count(model)
    assert predicted.embedding == owned(model, (TokenEmbedding, TypeTable))
    assert predicted.position == owned(model, (PositionTable, RelativeBias))
    assert predicted.attention == owned(model, (Attention,), only=Projection)
    assert predicted.feedforward == owned(model, (FeedForward, Experts))
    assert predicted.norm == owned(model, (LayerNorm, RmsNorm))
    tied = owned(model, (TokenEmbedding,)) if config.is_tied and config.has_head else 0
    assert predicted.head == owned(model, (Head, Pooler, Labels), only=Projection) - tied


@settings(max_examples=60)
@given(models)
def test_parameters_are_exact_for_any_knobs(config: ModelConfig) -> None:
    with torch.device("meta"):
        assert cost.num_parameters(config) == count(Transformer(config))


def counted_flops(config: ModelConfig, length: int) -> int:
    model, ids = tiny.model(config), tiny.ids(1, length)
    with FlopCounterMode(display=False) as counter:
        if config.has_cross:
            memory = model.encode(ids, Call(visibility.full(length)))
            model(ids, Call(visibility.causal(length), memory=memory))
        elif config.has_head:
            model(ids, Call(visibility.causal(length)))
        else:
            model.states(ids, Call(visibility.causal(length)))
    return counter.get_total_flops()


@everywhere
def test_flops_are_those_that_torch_counts(config: ModelConfig) -> None:
    """The readable pass over `length` tokens, experts routed: the prediction per token, times its tokens."""
    for length in (1, 7):
        assert length * cost.flops_per_token(config, length) == counted_flops(config, length)


def test_training_triples_the_flops() -> None:
    """Torch counts the backward pass too; it spares the gradient of the ids, which have none."""
    config, length = tiny.config(), 7
    model = tiny.model(config).requires_grad_(True)
    with FlopCounterMode(display=False) as counter:
        model(tiny.ids(1, length), Call(visibility.causal(length))).sum().backward()
    assert counter.get_total_flops() == length * cost.flops_per_token(config, length, training=True)


def test_flops_follow_the_equation_of_palm() -> None:
    """6 N + 12 · L · H · Q · T per trained token, N without what is looked up (PaLM, appendix B)."""
    bare = tiny.variants()["no biases"]
    config = tiny.config(decoder=bare)
    multiplied = sum(
        w.numel() for name, w in Transformer(config).named_parameters() if w.dim() == 2 and "token" not in name
    )
    assert cost.flops_per_token(config, 32, training=True) == 6 * multiplied + 12 * 2 * 4 * 4 * 32


@everywhere
def test_cache_bytes_are_those_of_the_store(config: ModelConfig) -> None:
    for dtype in (torch.float32, torch.float16):
        store = KVStore(config.main, capacity=4, dtype=dtype)
        assert cost.cache_bytes(config, 0, dtype.itemsize) == store.num_bytes == 0
        for num_tokens in (1, 9):
            store.begin(visibility.causal(num_tokens - store.length, store.length))
            assert cost.cache_bytes(config, num_tokens, dtype.itemsize) == store.num_bytes > 0


@everywhere
def test_a_sliding_store_reads_what_its_windows_show(config: ModelConfig) -> None:
    """A token meets the keys that the mask leaves it, and writes its own; counted with the mask itself."""
    stack, length = config.main, 9
    tokens = visibility.causal(length)
    met = 0
    for index in range(stack.num_layers):
        window = stack.layer_types[stack.kind(index)].window
        met += int(visibility.allow(tokens, tokens, window, stack.attention.sinks)[0, -1].sum()) + 1
    values = 2 * stack.attention.kv_heads * stack.d_head
    weights = cost.bytes_per_generated_token(config, length, 1.0, 0.0)
    assert cost.bytes_per_generated_token(config, length, 1.0, 4.0, slides=True) == weights + met * values * 4
    kept = cost.cache_bytes(config, length, margin=0)
    assert kept == (met - stack.num_layers) * values * 4
    assert kept <= cost.cache_bytes(config, length, margin=2) <= cost.cache_bytes(config, length)


def test_a_number_in_int8_has_a_share_of_its_scale() -> None:
    config = tiny.config(decoder=tiny.stack(d_model=64))
    assert [cost.bytes_of_cached_value(config, bits) for bits in (32, 16, 8)] == [4.0, 2.0, (16 + 4) / 16]


def test_a_source_is_cached_once_for_every_layer() -> None:
    config = SHAPES["two stacks"]
    model, call = tiny.model(config), Call(visibility.full(5))
    memory = model.fill(model.encode(tiny.ids(1, 5), call), call)
    held = sum(k.nbytes + v.nbytes for k, v in memory.filled)
    assert cost.cache_bytes(config, 3, num_source=5) == cost.cache_bytes(config, 3) + held
    assert cost.cache_bytes(tiny.config(), 3, num_source=5) == cost.cache_bytes(tiny.config(), 3)


def touched(model: Transformer, config: ModelConfig, context: int) -> int:
    """How many weights one cached step multiplies with or adds, counted where they are used; and a row of each table."""
    total = [0]

    def use(module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        if not output.numel():
            return  # an expert to which no token was routed reads no weight
        rows = 1 if isinstance(module, TABLES) else None
        total[0] += sum(p.numel() if rows is None else p.shape[1] for p in module.parameters(recurse=False))

    store, call = KVStore(config.main), Call(visibility.full(3))
    memory = model.fill(model.encode(tiny.ids(1, 3), call), call) if config.has_cross else None
    run = model if config.has_head else model.states
    run(tiny.ids(1, context - 1), Call(visibility.causal(context - 1), store=store, memory=memory))
    kinds = (Projection, *TABLES, LayerNorm, RmsNorm, RelativeBias)
    hooks = [module.register_forward_hook(use) for module in model.modules() if isinstance(module, kinds)]
    run(tiny.ids(1, 1), Call(visibility.causal(1, context - 1), store=store, memory=memory))
    for hook in hooks:
        hook.remove()
    return total[0]


@everywhere
def test_bytes_of_a_generated_token_are_what_a_step_uses(config: ModelConfig) -> None:
    context = 6
    weights = touched(tiny.model(config), config, context) * 2.0
    cached = cost.cache_bytes(config, context + 1, 4.0, num_source=3)
    assert cost.bytes_per_generated_token(config, context, 2.0, 4.0, num_source=3) == weights + cached


def test_memory_is_parameters_times_their_size() -> None:
    config = tiny.config()
    assert cost.memory_bytes(config, 0.5) == 0.5 * count(Transformer(config))


def test_a_known_model_is_counted_right() -> None:
    """GPT-2 small: 124,439,808 parameters (Radford et al. 2019, as released)."""
    stack = StackConfig(
        num_layers=12,
        d_model=768,
        attention=tiny.AttentionConfig(num_heads=12),
        feedforward=tiny.FeedForwardConfig(d_hidden=3072),
        position=PositionConfig(kind="learned"),
    )
    assert cost.num_parameters(ModelConfig(vocab_size=50257, context=1024, decoder=stack)) == 124_439_808


def test_impossible_sizes_are_refused() -> None:
    config = tiny.config()
    with pytest.raises(CutawayError, match="context is 0"):
        cost.flops_per_token(config, 0)
    with pytest.raises(CutawayError, match="context is 0"):
        cost.bytes_per_generated_token(config, 0)
    for numbers in ((0, 3), (1, -1)):
        with pytest.raises(CutawayError, match="tokens"):
            cost.bytes_per_pass(config, *numbers)
    with pytest.raises(CutawayError, match="num_tokens is -1"):
        cost.cache_bytes(config, -1)
    with pytest.raises(CutawayError, match="num_source is -1"):
        cost.cache_bytes(config, 1, num_source=-1)
    with pytest.raises(CutawayError, match="margin is -1"):
        cost.cache_bytes(config, 1, margin=-1)


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_a_pass_of_one_token_moves_what_a_token_does_and_more_tokens_share_the_weights(config: ModelConfig) -> None:
    one = cost.bytes_per_pass(config, 1, 6)
    assert one == cost.bytes_per_generated_token(config, 7)
    four = cost.bytes_per_pass(config, 4, 6)
    rows = 3 * cost.used_weights(config).embedding * 4 + (
        3 * config.main.d_model * 4 if config.main.position.kind == "learned" else 0
    )
    assert four - one == rows + cost.cache_bytes(config, 6)  # three more are written, and read
