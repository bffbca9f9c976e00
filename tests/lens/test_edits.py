"""Edits: each does what it says and nothing else, in one pass as in cached generation, and no edit is silently lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor

from cutaway.config import AttentionConfig, PositionConfig
from cutaway.decode import Session
from cutaway.errors import CutawayError
from cutaway.lens.edits import Edit
from cutaway.lens.trace import Trace
from cutaway.lm import LM
from tests import tiny

from .models import BYTES, one_stack, two_stacks

TEXT = "the cat"
DIRECTION = torch.linspace(-2, 2, 16)


def edited(lm: LM, *edits: Any, sites: str = "*") -> Trace:
    return lm.trace(TEXT, sites, edits=edits)


def test_a_head_that_is_off_writes_nothing() -> None:
    lm = one_stack()
    found = edited(lm, {"site": "layers.1.attention.mixed", "op": "zero", "heads": [2]})["output.logits"]
    width = lm.config.main.d_head
    with torch.no_grad():
        for block in [lm.model.main.layers[1]]:
            block.attention.sublayer.output.weight[:, 2 * width : 3 * width] = 0  # type: ignore[union-attr, index, operator]
    tiny.assert_close(found, lm.trace(TEXT, "output.logits")["output.logits"])


OPS: dict[str, tuple[dict[str, Any], Callable[[Tensor], Tensor]]] = {
    "zero": ({"op": "zero"}, lambda x: 0 * x),
    "scale": ({"op": "scale", "value": -1.5}, lambda x: -1.5 * x),
    "add a number": ({"op": "add", "value": 2}, lambda x: x + 2),
    "add a direction": ({"op": "add", "value": DIRECTION.tolist()}, lambda x: x + DIRECTION),
    "set": ({"op": "set", "value": 0.25}, lambda x: torch.full_like(x, 0.25)),
    "a function": ({"op": lambda x: x.abs()}, lambda x: x.abs()),
}


@pytest.mark.parametrize("positions", [None, 3, [0, 4], "2:5", "5:", -1])
@pytest.mark.parametrize("op", OPS)
def test_what_is_chosen_changes_and_nothing_else(op: str, positions: Any) -> None:
    lm, site = one_stack(), "layers.0.residual.end"
    keys, change = OPS[op]
    plain = lm.trace(TEXT)
    found = edited(lm, {"site": site, "positions": positions, **keys})
    where = torch.zeros(7, dtype=torch.bool)
    where[
        slice(None) if positions is None else {"2:5": slice(2, 5), "5:": slice(5, None)}.get(str(positions), positions)
    ] = True
    assert torch.equal(found[site][0, where], change(plain[site][0, where]))
    assert torch.equal(found[site][0, ~where], plain[site][0, ~where])
    before = plain.names[: plain.names.index(site)]
    assert all(torch.equal(found[name], plain[name]) for name in before), "nothing before the edit moves"
    assert not torch.allclose(found["output.logits"], plain["output.logits"])


@pytest.mark.parametrize("part", ["query", "key", "value", "scores", "weights", "mixed"])
def test_heads_are_chosen_at_every_site_that_has_them(part: str) -> None:
    lm, site = one_stack(attention=AttentionConfig(num_heads=4, num_kv_heads=2)), f"layers.0.attention.{part}"
    plain = lm.trace(TEXT)[site]
    found = edited(lm, {"site": site, "op": "scale", "value": 3, "heads": 1})[site]
    assert torch.equal(found[:, 1], 3 * plain[:, 1])
    rest = [head for head in range(plain.shape[1]) if head != 1]
    assert torch.equal(found[:, rest], plain[:, rest])


def test_two_positions_or_two_heads_change_places() -> None:
    lm = one_stack()
    site = "embedding.sum"
    plain, found = lm.trace(TEXT)[site], edited(lm, {"site": site, "op": "swap", "positions": [1, 4]})[site]
    assert torch.equal(found[0], plain[0, [0, 4, 2, 3, 1, 5, 6]])
    site = "layers.1.attention.mixed"
    plain, found = lm.trace(TEXT)[site], edited(lm, {"site": site, "op": "swap", "heads": [0, 3]})[site]
    assert torch.equal(found[0], plain[0, [3, 1, 2, 0]])


def test_what_is_frozen_stays_as_it_is_where_nothing_is_edited() -> None:
    lm = one_stack()
    noise = {"site": "embedding.sum", "op": "add", "value": DIRECTION.tolist(), "positions": 2}
    plain, loose = lm.trace(TEXT), edited(lm, noise)
    found = edited(lm, noise, {"site": "layers.*.attention.weights", "op": "freeze", "heads": [0, 1]})
    for layer in range(2):
        site = f"layers.{layer}.attention.weights"
        assert torch.equal(found[site][:, :2], plain[site][:, :2])
        assert not torch.allclose(found[site][:, 2:], plain[site][:, 2:])
    assert not torch.allclose(found["output.logits"], loose["output.logits"])


def test_a_pass_that_is_set_to_what_it_holds_is_the_same_pass() -> None:
    lm = one_stack()
    plain = lm.trace(TEXT)
    for site in plain.names:
        found = edited(lm, Edit(site=site, op="set", value=plain[site]))
        torch.testing.assert_close(found["output.logits"], plain["output.logits"], rtol=0, atol=1e-4)


def test_edits_of_one_site_are_made_in_their_order() -> None:
    lm, site = one_stack(), "layers.0.residual.end"
    add, double = (
        {"site": site, "op": "add", "value": 1.0},
        {"site": "layers.*.residual.end", "op": "scale", "value": 2.0},
    )
    plain = lm.trace(TEXT)[site]
    assert torch.equal(edited(lm, add, double)[site], 2 * (plain + 1))
    assert torch.equal(edited(lm, double, add)[site], 2 * plain + 1)


def test_both_stacks_are_edited() -> None:
    lm = two_stacks()
    plain = lm.trace(TEXT, target="die")
    for site in ("encoder.layers.1.residual.end", "decoder.layers.2.cross.weights", "decoder.layers.0.cross.key"):
        found = lm.trace(TEXT, target="die", edits=[{"site": site, "op": "scale", "value": 0.5, "positions": [1]}])
        assert torch.equal(found[site].select(-2, 1), 0.5 * plain[site].select(-2, 1))
        assert not torch.allclose(found["output.logits"], plain["output.logits"])


EDITS: dict[str, list[dict[str, Any]]] = {
    "a head off": [{"site": "layers.1.attention.mixed", "op": "zero", "heads": [2]}],
    "a direction from a token on": [
        {"site": "layers.0.residual.end", "op": "add", "value": DIRECTION.tolist(), "positions": "6:"}
    ],
    "one written token": [{"site": "embedding.token", "op": "zero", "positions": [9]}],
    "keys of the prompt": [{"site": "layers.0.attention.key", "op": "scale", "value": -3, "positions": [1, 2]}],
    "a weight": [{"site": "layers.*.attention.weights", "op": "scale", "value": -4.0, "positions": "3:9", "heads": 0}],
    "two tokens change places": [{"site": "embedding.sum", "op": "swap", "positions": [0, 5]}],
    "frozen attention": [
        {"site": "embedding.token", "op": "add", "value": (6 * DIRECTION).tolist(), "positions": "4:"},
        {"site": "layers.1.attention.weights", "op": "freeze"},
    ],
    "logits": [{"site": "output.logits", "op": "set", "value": -100.0, "positions": [8]}],
}


@pytest.mark.parametrize("kind", ["learned", "rotary"])
@pytest.mark.parametrize("case", EDITS)
def test_generation_is_edited_as_one_pass_over_all_of_it_would_be(case: str, kind: Any) -> None:
    lm, edits = one_stack(position=PositionConfig(kind=kind)), EDITS[case]
    found = [piece.event.new for piece in lm.stream(TEXT, max_tokens=6, edits=edits) if piece.event is not None]
    ids = BYTES.encode(TEXT)
    for _ in range(6):
        logits = lm.trace(ids, "output.logits", edits=reached(edits, len(ids)))["output.logits"]
        ids.append(int(logits[0, -1].argmax()))
    assert found == ids[7:]
    plain = [piece.event.new for piece in lm.stream(TEXT, max_tokens=6) if piece.event is not None]
    assert found != plain, "an edit that changes nothing proves nothing"


def reached(edits: list[dict[str, Any]], length: int) -> list[dict[str, Any]]:
    """The edits of which a pass over so many tokens holds a place."""
    return [edit for edit in edits if not isinstance(edit.get("positions"), list) or max(edit["positions"]) < length]


def test_an_encoder_decoder_speaks_as_it_is_edited() -> None:
    lm = two_stacks()
    edits = [
        {"site": "encoder.output.norm", "op": "swap", "positions": [0, 3]},
        {"site": "decoder.layers.1.cross.mixed", "op": "zero", "heads": [0, 1]},
        {"site": "decoder.layers.2.attention.weights", "op": "freeze"},
    ]
    found = [piece.event.new for piece in lm.stream(TEXT, max_tokens=6, edits=edits) if piece.event is not None]
    said: list[int] = []
    for _ in range(6):
        logits = lm.trace(TEXT, "output.logits", target=said or "", edits=edits)["output.logits"]
        said.append(int(logits[0, -1].argmax()))
    assert found == said
    assert found != [piece.event.new for piece in lm.stream(TEXT, max_tokens=6) if piece.event is not None]


def test_a_batch_of_prompts_is_edited_as_each_alone() -> None:
    lm, edits = one_stack(), EDITS["a direction from a token on"]
    prompts = ["the cat", "a", "dogs and cats"]
    texts = lm.generate_batch(prompts, max_tokens=5, edits=edits)
    assert texts == [lm.generate(prompt, max_tokens=5, edits=edits) for prompt in prompts]


def test_positions_are_places_of_the_whole_text_when_its_end_is_read_again() -> None:
    """Where the table of positions is full, the last half of the text is read once more: a place keeps its number."""
    lm, seen = one_stack(), dict[int, list[int]]()
    assert lm.config.context == 48

    def edits(place: int) -> list[dict[str, Any]]:
        def look(part: Tensor) -> Tensor:
            seen.setdefault(place, []).append(part.shape[1])
            return part

        return [{"site": "layers.1.residual.end", "op": look, "positions": [place]}]

    for place in (2, 30, 50, 70):
        lm.generate(TEXT, max_tokens=80, edits=edits(place))
    assert [len(each) for each in seen.values()] == [1, 2, 2, 2], "once, and again whenever it is read again"
    assert {size for each in seen.values() for size in each} == {1}


REFUSED: dict[str, tuple[Any, str]] = {
    "a misspelt site": (
        {"site": "layers.1.atention.mixed", "op": "zero"},
        r"Did you mean 'layers\.\*\.attention\.mixed'",
    ),
    "a layer that is not there": ({"site": "layers.7.residual.end", "op": "zero"}, "No site matches"),
    "a site of another stack": ({"site": "encoder.output.norm", "op": "zero"}, "No site matches 'encoder.output.norm'"),
    "a misspelt operation": ({"site": "output.norm", "op": "zeroo"}, "Did you mean 'zero'"),
    "a misspelt key": (
        {"site": "output.norm", "op": "zero", "position": 1},
        "no key 'position'. Did you mean 'positions'",
    ),
    "no operation": ({"site": "output.norm"}, "has no 'op'"),
    "no mapping": ("output.norm", "An edit is 'output.norm'"),
    "no value": ({"site": "output.norm", "op": "add"}, "'add' of 'output.norm' needs a value"),
    "a value too many": ({"site": "output.norm", "op": "zero", "value": 1}, "takes no value"),
    "a value that is a word": ({"site": "output.norm", "op": "set", "value": "x"}, "Give numbers"),
    "a value too wide": (
        {"site": "output.norm", "op": "add", "value": [1.0] * 5},
        r"gives \[5\] numbers for a part of \[1, 7, 16\]",
    ),
    "a head too many": (
        {"site": "layers.0.attention.mixed", "op": "zero", "heads": 4},
        "heads names 4, and there are 4: 0 to 3",
    ),
    "heads where none are": ({"site": "output.norm", "op": "zero", "heads": 0}, "'output.norm' has no heads"),
    "a token too many": ({"site": "output.norm", "op": "zero", "positions": 9}, "positions names 9, and there are"),
    "a token too far": (
        {"site": "output.norm", "op": "zero", "positions": [0, 99]},
        "positions names 99, and there are [78]",
    ),
    "a truth value": ({"site": "output.norm", "op": "zero", "positions": [True]}, "It takes a number, several"),
    "half a place": ({"site": "output.norm", "op": "zero", "positions": 1.5}, "It takes a number, several"),
    "a span behind the end": ({"site": "output.norm", "op": "zero", "positions": "7:"}, "holds nothing: there are 7"),
    "a place that is a word": ({"site": "output.norm", "op": "zero", "positions": "two"}, "It takes a number, several"),
    "a span of nothing": ({"site": "output.norm", "op": "zero", "positions": "4:2"}, "holds nothing"),
    "no place": ({"site": "output.norm", "op": "zero", "positions": []}, "positions is empty"),
    "a swap of one": ({"site": "output.norm", "op": "swap", "positions": 1}, "takes two positions or two heads"),
    "a swap of both": (
        {"site": "layers.0.attention.mixed", "op": "swap", "positions": [0, 1], "heads": [0, 1]},
        "takes two positions or two heads",
    ),
    "a function that cuts": (
        {"site": "output.norm", "op": lambda x: x[:, :1]},
        r"was given \[1, 7, 16\] and returned \[1, 1, 16\]",
    ),
    "a function of nothing": ({"site": "output.norm", "op": lambda _: None}, "returned NoneType"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_edit_that_cannot_be_made_is_said(case: str) -> None:
    edit, message = REFUSED[case]
    for ask in (lambda lm: lm.trace(TEXT, edits=[edit]), lambda lm: lm.generate(TEXT, max_tokens=2, edits=[edit])):
        if case == "a span behind the end" and ask.__code__.co_names[0] == "generate":
            continue  # while it writes, more tokens follow
        with pytest.raises(CutawayError, match=message):
            ask(one_stack())


def test_numbers_of_any_library_are_places() -> None:
    lm, edit = one_stack(), {"site": "output.norm", "op": "zero"}
    expected = edited(lm, {**edit, "positions": [1, 4], "heads": None})["output.norm"]
    for positions in (numpy.array([1, 4]), torch.tensor([1, 4]), (numpy.int64(1), 4), range(1, 5, 3)):
        assert torch.equal(edited(lm, {**edit, "positions": positions})["output.norm"], expected)
    one = edited(lm, {**edit, "positions": 3})["output.norm"]
    assert torch.equal(edited(lm, {**edit, "positions": numpy.int64(3)})["output.norm"], one)
    assert torch.equal(edited(lm, {**edit, "positions": torch.tensor(-4)})["output.norm"], one)


def test_edits_are_a_list_and_begin_with_the_prompt() -> None:
    lm = one_stack()
    with pytest.raises(CutawayError, match="Give a list of edits"):
        lm.trace(TEXT, edits={"site": "output.norm", "op": "zero"})  # type: ignore[arg-type]
    with pytest.raises(CutawayError, match="Give the whole prompt instead"):
        list(lm.stream(TEXT, session=Session(lm.model), edits=EDITS["a head off"]))
    with pytest.raises(CutawayError, match="names token 9, and the prompt has 7"):
        lm.generate(TEXT, edits=[{"site": "embedding.sum", "op": "swap", "positions": [0, 9]}])
