"""The published table of sites is what the model taps: names, order of axes, nothing more and nothing less."""

from __future__ import annotations

import re

import pytest

from cutaway.config import ExpertsConfig, FeedForwardConfig, ModelConfig
from cutaway.lens import sites

from .. import tiny
from .rules import glossary_of
from .tree import ROOT

EXPERTS = FeedForwardConfig(d_hidden=24, experts=ExpertsConfig(num_experts=4, num_active=2))


def configs() -> dict[str, ModelConfig]:
    """Models that have, together, every site."""
    sizes = {"vocab_size": 31, "context": 32}
    return {
        "decoder": ModelConfig(**sizes, decoder=tiny.stack()),
        "encoder": ModelConfig(**sizes, encoder=tiny.stack()),
        "masked": ModelConfig(**sizes, encoder=tiny.stack(num_token_types=2), head_transform="gelu"),
        "labelled": ModelConfig(**sizes, encoder=tiny.stack(), has_head=False, num_labels=2),
        "pooled": ModelConfig(**sizes, encoder=tiny.stack(), has_head=False, has_pooler=True),
        "both": ModelConfig(**sizes, encoder=tiny.stack(), decoder=tiny.stack()),
        "parallel": ModelConfig(**sizes, decoder=tiny.stack(placement="parallel")),
        "experts": ModelConfig(**sizes, decoder=tiny.stack(feedforward=EXPERTS)),
    }


def table() -> dict[str, tuple[str, ...]]:
    """Site -> axes of the published page."""
    page = (ROOT / "docs" / "reference" / "sites.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.*]+)` \| \[([\w, ]+)\] \|", page, re.MULTILINE)
    return {name: tuple(axes.split(", ")) for name, axes in rows}


def tapped(config: ModelConfig) -> dict[str, tuple[str, ...]]:
    """Site -> axes of a model, without the stack's prefix and with `*` for the layer."""
    found = sites(config, 2, 5, source=3 if config.has_cross else 0)
    return {re.sub(r"\.\d+\.", ".*.", re.sub(r"^(en|de)coder\.", "", site.name)): site.axes for site in found}


@pytest.mark.parametrize("name", configs())
def test_every_site_stands_in_the_table(name: str) -> None:
    sites_of_model = tapped(configs()[name])
    assert sites_of_model.items() <= table().items()


def test_every_row_of_the_table_is_a_site() -> None:
    assert set(table()) == {name for config in configs().values() for name in tapped(config)}


def test_every_axis_of_the_table_stands_in_the_glossary() -> None:
    assert {axis for axes in table().values() for axis in axes} <= glossary_of(ROOT)
