"""The list of sites is known before anything runs, and is exactly what a pass then reaches, in its order."""

from __future__ import annotations

import pytest
from torch import Tensor

from cutaway.config import ModelConfig, StackConfig
from cutaway.errors import CutawayError
from cutaway.lens import Site, match, sites
from cutaway.model import Call, visibility
from cutaway.runtime.attend import fused
from cutaway.runtime.stores import KVStore
from tests import tiny

SHAPES = {name: tiny.config(decoder=stack) for name, stack in tiny.variants().items()} | {
    name: tiny.config(decoder=tiny.stack(placement=name)) for name in tiny.PLACEMENTS
}


class Everything:
    """Notes the name and shape of every site, in order."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, tuple[int, ...]]] = []

    def wants(self, site: str) -> bool:
        return bool(site)

    def __call__(self, site: str, tensor: Tensor) -> Tensor:
        self.seen.append((site, tuple(tensor.shape)))
        return tensor


def listed(found: list[Site]) -> list[tuple[str, tuple[int, ...]]]:
    return [(site.name, site.shape) for site in found]


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_the_list_is_what_the_pass_reaches(config: ModelConfig) -> None:
    watch, ids = Everything(), tiny.ids(2, 5)
    tiny.model(config)(ids, Call(visibility.causal(5), attend=fused, watch=watch))
    assert watch.seen == listed(sites(config, 2, 5))


def test_with_tokens_in_the_store_the_queries_meet_more_keys() -> None:
    config, ids = tiny.config(), tiny.ids(1, 6)
    model, watch = tiny.model(config), Everything()
    store = KVStore(config.main, capacity=2)
    model(ids[:, :4], Call(visibility.causal(4), store=store))
    model(ids[:, 4:], Call(visibility.causal(2, 4), store=store, watch=watch))
    assert watch.seen == listed(sites(config, 1, 2, past=4))
    by_name = dict(listed(sites(config, 1, 2, past=4)))
    assert by_name["layers.0.attention.weights"] == (1, 4, 2, 6)
    assert by_name["layers.0.attention.key"] == (1, 4, 2, 4)


@pytest.mark.parametrize("placement", ["pre", "post"])
def test_two_stacks(placement: str) -> None:
    stack: StackConfig = tiny.stack(placement=placement)
    config = tiny.config(encoder=stack, decoder=stack)
    model, watch = tiny.model(config), Everything()
    memory = model.encode(tiny.ids(2, 7), Call(visibility.full(7), watch=watch))
    model(tiny.ids(2, 3), Call(visibility.causal(3), memory=memory, watch=watch))
    assert watch.seen == listed(sites(config, 2, 3, source=7))


def test_a_head_with_a_transform() -> None:
    watch, config = Everything(), tiny.config(encoder=tiny.stack(), head_transform="gelu")
    tiny.model(config)(tiny.ids(2, 5), Call(visibility.full(5), watch=watch))
    assert watch.seen == listed(sites(config, 2, 5))


def test_a_pooler() -> None:
    watch, config = Everything(), tiny.config(encoder=tiny.stack(), has_head=False, has_pooler=True)
    model, call = tiny.model(config), Call(visibility.full(5), watch=watch)
    model.pooled(model.states(tiny.ids(2, 5), call), call)
    assert watch.seen == listed(sites(config, 2, 5))


def test_a_model_without_head_has_no_logits() -> None:
    names = [site.name for site in sites(tiny.config(encoder=tiny.stack(), has_head=False), 1, 3)]
    assert names[-1] == "output.norm"


def test_axes_name_every_axis_of_every_shape() -> None:
    config = tiny.config(encoder=tiny.stack(), decoder=tiny.stack())
    for site in sites(config, 2, 3, past=1, source=7):
        assert len(site.axes) == len(site.shape), site.name
        assert site.axes[0] == "batch"
    axes = {site.name: site.axes for site in sites(config, 2, 3, source=7)}
    assert axes["decoder.layers.0.attention.weights"] == ("batch", "head", "query", "key")
    assert axes["decoder.layers.0.cross.weights"] == ("batch", "head", "query", "source")
    assert axes["decoder.layers.0.cross.key"] == ("batch", "kv_head", "source", "d_head")


@pytest.mark.parametrize(
    ("size", "part"),
    [
        ({"batch": 0, "length": 3}, "batch 0"),
        ({"batch": 1, "length": 0}, "length 0"),
        ({"batch": 1, "length": 3, "past": -1}, "past is -1"),
        ({"batch": 1, "length": 3, "source": 4}, "reads no source"),
    ],
)
def test_impossible_passes_are_refused(size: dict[str, int], part: str) -> None:
    with pytest.raises(CutawayError, match=part):
        sites(tiny.config(), **size)


def test_a_missing_source_is_refused() -> None:
    config = tiny.config(encoder=tiny.stack(), decoder=tiny.stack())
    with pytest.raises(CutawayError, match="source is 0"):
        sites(config, 1, 3)


NAMES = [site.name for site in sites(tiny.config(decoder=tiny.stack(num_layers=12)), 1, 3)]


def test_patterns_select_in_the_order_of_the_way() -> None:
    weights = match("layers.*.attention.weights", NAMES)
    assert weights == [f"layers.{layer}.attention.weights" for layer in range(12)]
    assert match(["output.*", "embedding.sum"], NAMES) == ["embedding.sum", "output.norm", "output.logits"]
    assert match("layers.1.residual.start", NAMES) == ["layers.1.residual.start"]
    assert match("*", NAMES) == NAMES
    assert match([], NAMES) == []


@pytest.mark.parametrize(
    ("pattern", "near"),
    [
        ("layers.*.attention.weight", "layers.*.attention.weights"),
        ("layers.12.attention.weights", "layers.*.attention.weights"),
        ("layer.3.residual.end", "layers.*.residual.end"),
        ("output.logit", "output.logits"),
        ("Output.Logits", "output.logits"),
    ],
)
def test_a_pattern_without_a_site_names_its_neighbours(pattern: str, near: str) -> None:
    with pytest.raises(CutawayError) as caught:
        match(["*", pattern], NAMES)
    assert f"No site matches '{pattern}'" in str(caught.value)
    assert f"'{near}'" in str(caught.value)
    assert len(str(caught.value)) < 300
