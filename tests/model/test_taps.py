"""Taps: every site with its shape, no bit changed by looking, and what a watcher returns takes the tensor's place."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cutaway.config import AttentionConfig, ExpertsConfig, FeedForwardConfig, ModelConfig, PositionConfig
from cutaway.model import Call, Transformer, visibility
from cutaway.model.call import Attend
from cutaway.runtime.attend import fused
from cutaway.runtime.stores import KVStore
from tests import tiny

BATCH, LENGTH, SOURCE = 2, 5, 7
ATTENTION = AttentionConfig(num_heads=4, num_kv_heads=2, d_head=6)
STACK = tiny.stack(attention=ATTENTION)
GATED = FeedForwardConfig(d_hidden=24, is_gated=True)
EXPERTS = FeedForwardConfig(d_hidden=24, experts=ExpertsConfig(num_experts=3, num_active=2))

STREAM = (BATCH, LENGTH, 16)
SELF = {
    "input": STREAM,
    "query": (BATCH, 4, LENGTH, 6),
    "key": (BATCH, 2, LENGTH, 6),
    "value": (BATCH, 2, LENGTH, 6),
    "scores": (BATCH, 4, LENGTH, LENGTH),
    "weights": (BATCH, 4, LENGTH, LENGTH),
    "mixed": (BATCH, 4, LENGTH, 6),
    "output": STREAM,
}
CROSS = {
    **SELF,
    "key": (BATCH, 2, SOURCE, 6),
    "value": (BATCH, 2, SOURCE, 6),
    "scores": (BATCH, 4, LENGTH, SOURCE),
    "weights": (BATCH, 4, LENGTH, SOURCE),
}
FEED = {"input": STREAM, "pre": (BATCH, LENGTH, 24), "active": (BATCH, LENGTH, 24), "output": STREAM}
ROUTED = {"input": STREAM, "router": (BATCH, LENGTH, 3), "output": STREAM}
EMBEDDING = {f"embedding.{part}": STREAM for part in ("token", "position", "sum")}
Shapes = dict[str, tuple[int, ...]]


def under(prefix: str, shapes: Shapes) -> Shapes:
    return {prefix + name: shape for name, shape in shapes.items()}


def layer(*, middle: bool = True, cross: bool = False, feed: Shapes = FEED) -> Shapes:
    """The sites of one layer as the design publishes them, in the order of the way."""
    shapes = {"residual.start": STREAM, **under("attention.", SELF)}
    shapes |= {"residual.middle": STREAM} if middle else {}
    shapes |= {**under("cross.", CROSS), "residual.crossed": STREAM} if cross else {}
    return {**shapes, **under("feedforward.", feed), "residual.end": STREAM}


def whole(one_layer: Shapes) -> Shapes:
    """A stack of two such layers."""
    return {**EMBEDDING, **under("layers.0.", one_layer), **under("layers.1.", one_layer), "output.norm": STREAM}


LOGITS = {"output.logits": (BATCH, LENGTH, tiny.VOCAB)}
ONE_STACK: dict[str, tuple[ModelConfig, Shapes]] = {
    "decoder": (tiny.config(decoder=STACK), whole(layer())),
    "encoder": (tiny.config(encoder=STACK), whole(layer())),
    "types": (
        tiny.config(encoder=tiny.stack(attention=ATTENTION, num_token_types=2)),
        {**dict(list(EMBEDDING.items())[:2]), "embedding.type": STREAM, **whole(layer())},
    ),
    "transformed": (
        tiny.config(encoder=STACK, head_transform="gelu"),
        {**whole(layer()), "output.transformed": STREAM},
    ),
    "rotary": (
        tiny.config(decoder=tiny.stack(attention=ATTENTION, position=PositionConfig(kind="rotary"))),
        whole(layer()),
    ),
    "post": (tiny.config(decoder=tiny.stack(attention=ATTENTION, placement="post")), whole(layer())),
    "sandwich": (tiny.config(decoder=tiny.stack(attention=ATTENTION, placement="sandwich")), whole(layer())),
    "parallel": (
        tiny.config(decoder=tiny.stack(attention=ATTENTION, placement="parallel")),
        whole(layer(middle=False)),
    ),
    "gated": (tiny.config(decoder=tiny.stack(attention=ATTENTION, feedforward=GATED)), whole(layer())),
    "experts": (tiny.config(decoder=tiny.stack(attention=ATTENTION, feedforward=EXPERTS)), whole(layer(feed=ROUTED))),
    "shared": (tiny.config(decoder=tiny.stack(attention=ATTENTION, num_shared=1)), whole(layer())),
}


class Watch:
    """Sees every site in turn; `edit` may replace one."""

    def __init__(self, edit: Callable[[str, Tensor], Tensor] = lambda _, tensor: tensor) -> None:
        self.edit = edit
        self.shapes: list[tuple[str, tuple[int, ...]]] = []

    def wants(self, site: str) -> bool:
        return bool(site)

    def __call__(self, site: str, tensor: Tensor) -> Tensor:
        self.shapes.append((site, tuple(tensor.shape)))
        return self.edit(site, tensor)


def tokens_for(config: ModelConfig) -> visibility.Tokens:
    return visibility.causal(LENGTH) if config.decoder else visibility.full(LENGTH)


@pytest.mark.parametrize("kernel", [None, fused], ids=["readable", "fused"])
@pytest.mark.parametrize(("config", "expected"), ONE_STACK.values(), ids=ONE_STACK)
def test_every_site_is_reached_once_with_its_shape(
    config: ModelConfig, expected: Shapes, kernel: Attend | None
) -> None:
    watch = Watch()
    tiny.model(config)(tiny.ids(BATCH, LENGTH), Call(tokens_for(config), attend=kernel, watch=watch))
    assert watch.shapes == list({**expected, **LOGITS}.items())


@pytest.mark.parametrize("is_filled", [False, True])
def test_two_stacks_prefix_their_sites(is_filled: bool) -> None:
    model, watch = tiny.model(tiny.config(encoder=STACK, decoder=STACK)), Watch()
    read_source(model, watch, is_filled=is_filled)
    source = whole(
        {name: tuple(SOURCE if size == LENGTH else size for size in shape) for name, shape in layer().items()}
    )
    ends = dict.fromkeys((*EMBEDDING, "output.norm"), (BATCH, SOURCE, 16))
    expected = {**under("encoder.", {**source, **ends}), **under("decoder.", whole(layer(cross=True))), **LOGITS}
    assert watch.shapes == list(expected.items())


def read_source(model: Transformer, watch: Watch | None, *, is_filled: bool = False) -> Tensor:
    call = Call(visibility.full(SOURCE), watch=watch)
    memory = model.encode(tiny.ids(BATCH, SOURCE, seed=3), call)
    if is_filled:
        memory = model.fill(memory, call)
    return model(tiny.ids(BATCH, LENGTH), Call(visibility.causal(LENGTH), watch=watch, memory=memory))


@pytest.mark.parametrize("config", [config for config, _ in ONE_STACK.values()], ids=ONE_STACK)
def test_watching_changes_no_bit(config: ModelConfig) -> None:
    """The readable kernel watched everywhere; the fused kernel watched where it can be."""
    model, ids, tokens = tiny.model(config), tiny.ids(BATCH, LENGTH), tokens_for(config)
    everything = tiny.recorder(model, BATCH, LENGTH)
    assert torch.equal(model(ids, Call(tokens, watch=everything)), model(ids, Call(tokens)))
    around = tiny.recorder(model, BATCH, LENGTH, "*[!s]")  # neither scores nor weights
    assert not any(around.wants(f"layers.0.attention.{name}") for name in ("scores", "weights"))
    off = model(ids, Call(tokens, attend=fused))
    assert torch.equal(model(ids, Call(tokens, attend=fused, watch=around)), off)
    tiny.assert_close(model(ids, Call(tokens, attend=fused, watch=everything)), off)


def test_watching_weights_replaces_the_kernel_of_that_layer_alone() -> None:
    model, calls = tiny.model(tiny.config(decoder=STACK)), []

    def counting(*arguments: object) -> Tensor:
        calls.append(arguments)
        return fused(*arguments)  # type: ignore[arg-type]

    watch = tiny.recorder(model, BATCH, LENGTH, "layers.1.attention.weights")
    model(tiny.ids(BATCH, LENGTH), Call(visibility.causal(LENGTH), attend=counting, watch=watch))
    assert len(calls) == 1
    assert list(watch.tensors) == ["layers.1.attention.weights"]


def test_watching_two_stacks_changes_no_bit() -> None:
    model = tiny.model(tiny.config(encoder=STACK, decoder=STACK))
    assert torch.equal(read_source(model, Watch()), read_source(model, None))


def noisy(name: str) -> Watch:
    def edit(site: str, tensor: Tensor) -> Tensor:
        noise = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(9))
        return tensor + noise if site == name else tensor

    return Watch(edit)


@pytest.mark.parametrize("kernel", [None, fused], ids=["readable", "fused"])
@pytest.mark.parametrize(("config", "expected"), ONE_STACK.values(), ids=ONE_STACK)
def test_what_a_watcher_returns_takes_the_place(config: ModelConfig, expected: Shapes, kernel: Attend | None) -> None:
    model, ids, tokens = tiny.model(config), tiny.ids(BATCH, LENGTH), tokens_for(config)
    plain = model(ids, Call(tokens, attend=kernel))
    for name in {**expected, **LOGITS}:
        edited = model(ids, Call(tokens, attend=kernel, watch=noisy(name)))
        assert not torch.isclose(edited, plain, atol=1e-3).all(), f"replacing {name} must be felt"


def test_edits_of_two_stacks_are_felt() -> None:
    model, watch = tiny.model(tiny.config(encoder=STACK, decoder=STACK)), Watch()
    plain = read_source(model, watch)
    for name, _ in watch.shapes:
        assert not torch.isclose(read_source(model, noisy(name)), plain, atol=1e-3).all(), (
            f"replacing {name} must be felt"
        )


@pytest.mark.parametrize("part", ["key", "value"])
@pytest.mark.parametrize("kernel", [None, fused], ids=["readable", "fused"])
def test_edits_of_keys_and_values_enter_the_store(part: str, kernel: Attend | None) -> None:
    """The next step, unwatched, still meets what was put in."""
    model, ids = tiny.model(tiny.config(decoder=STACK)), tiny.ids(1, LENGTH)
    site, step, marker = f"layers.1.attention.{part}", torch.tensor([[3]]), torch.full((1, 2, LENGTH, 6), 0.5)
    after = []
    for watch in (None, Watch(lambda name, tensor: marker if name == site else tensor)):
        store = KVStore(model.main.config, capacity=2)
        model(ids, Call(visibility.causal(LENGTH), attend=kernel, store=store, watch=watch))
        after.append(model(step, Call(visibility.causal(1, LENGTH), attend=kernel, store=store)))
        written = store.kept(1)[0 if part == "key" else 1][:, :, :LENGTH]
        assert torch.equal(written, marker) == (watch is not None)
    assert not torch.isclose(*after, atol=1e-3).all()


def test_an_edit_leaves_what_comes_before_it_alone() -> None:
    """An edit at layer 1 reaches what comes after it on the way, and nothing before."""
    model, ids = tiny.model(tiny.config(decoder=STACK)), tiny.ids(1, LENGTH)
    seen: list[dict[str, Tensor]] = []
    for name in ("", "layers.1.attention.input"):
        tensors: dict[str, Tensor] = {}
        noise = noisy(name)

        def edit(site: str, tensor: Tensor, tensors: dict[str, Tensor] = tensors, noise: Watch = noise) -> Tensor:
            tensors[site] = noise.edit(site, tensor)
            return tensors[site]

        model(ids, Call(visibility.causal(LENGTH), watch=Watch(edit)))
        seen.append(tensors)
    plain, edited = seen
    place = list(plain).index("layers.1.attention.input")
    assert all(torch.equal(plain[site], edited[site]) for site in list(plain)[:place])
    assert not any(torch.equal(plain[site], edited[site]) for site in list(plain)[place:])
