"""Mappings to frozen dataclasses: what is taken, and what every refusal says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from cutaway.errors import CutawayError
from cutaway.strict import build, plain


@dataclass(frozen=True, kw_only=True)
class Wheel:
    spokes: int
    kind: Literal["round", "square"] = "round"


@dataclass(frozen=True, kw_only=True)
class Cart:
    name: str
    speed: float = 1.5
    is_red: bool = False
    wheel: Wheel | None = None
    spare: Mapping[str, Wheel] = field(default_factory=dict)
    sizes: tuple[int, ...] = ()
    load: int | str = 0
    anything: Any = None


def test_every_kind_of_value_is_taken() -> None:
    data = {
        "name": "a",
        "speed": 2,
        "is_red": True,
        "wheel": {"spokes": 3},
        "spare": {"left": {"spokes": 4, "kind": "square"}},
        "sizes": [1, 2],
        "load": "hay",
        "anything": [1, "x"],
    }
    cart = build(Cart, data)
    assert cart == Cart(
        name="a",
        speed=2.0,
        is_red=True,
        wheel=Wheel(spokes=3),
        spare={"left": Wheel(spokes=4, kind="square")},
        sizes=(1, 2),
        load="hay",
        anything=[1, "x"],
    )
    assert isinstance(cart.speed, float)
    assert isinstance(cart.sizes, tuple)
    assert build(Cart, plain(cart)) == cart


def test_defaults_are_left_out_of_the_plain_form() -> None:
    assert plain(Cart(name="a")) == {"name": "a"}
    assert plain(Cart(name="a", wheel=Wheel(spokes=3))) == {"name": "a", "wheel": {"spokes": 3}}


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        ([1], ["Cart must be a table", "[1]"]),
        ({}, ["Key 'name' is missing", "a text"]),
        ({"name": "a", "sped": 1.0}, ["Unknown key 'sped'", "'speed'"]),
        ({"name": "a", "wheel": {"spoke": 3}}, ["Unknown key 'wheel.spoke'", "'spokes'"]),
        ({"name": "a", "wheel": {}}, ["Key 'wheel.spokes' is missing", "a whole number"]),
        ({"name": 3}, ["'name' is 3", "a text"]),
        ({"name": "a", "speed": "fast"}, ["'speed' is 'fast'", "a number"]),
        ({"name": "a", "speed": True}, ["'speed' is True", "a number"]),
        ({"name": "a", "is_red": 1}, ["'is_red' is 1", "true or false"]),
        ({"name": "a", "wheel": {"spokes": 3.0}}, ["'wheel.spokes' is 3.0", "a whole number"]),
        ({"name": "a", "wheel": {"spokes": True}}, ["'wheel.spokes' is True", "a whole number"]),
        ({"name": "a", "wheel": {"spokes": 3, "kind": "rund"}}, ["'wheel.kind' is 'rund'", "round, square", "'round'"]),
        ({"name": "a", "spare": {"left": 3}}, ["spare.left must be a table", "3"]),
        ({"name": "a", "spare": 3}, ["'spare' is 3", "a table"]),
        ({"name": "a", "sizes": [1, "two"]}, ["'sizes[1]' is 'two'", "a whole number"]),
        ({"name": "a", "sizes": 3}, ["'sizes' is 3", "a list"]),
        ({"name": "a", "load": 1.5}, ["'load' is 1.5", "a whole number or a text"]),
        ({"name": "a", "wheel": 3}, ["wheel must be a table", "3"]),
    ],
)
def test_refusals_name_the_key_the_value_and_what_is_allowed(data: object, parts: list[str]) -> None:
    with pytest.raises(CutawayError) as caught:
        build(Cart, data)
    for part in parts:
        assert part in str(caught.value)
