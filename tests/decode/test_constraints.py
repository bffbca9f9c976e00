"""The rules for new tokens: each filter against a slow twin in plain Python, and one decoder under all of them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from cutaway.decode import Constraints, Sampling, Session, autoregressive, run
from cutaway.decode.constraints import constrain, only, without, without_repeats
from cutaway.errors import CutawayError
from tests import tiny
from tests.decode import decoder_only, prompt


def banned(logits: Tensor) -> list[set[int]]:
    """The ids at −inf in each row."""
    return [{index for index, value in enumerate(row.tolist()) if value == -torch.inf} for row in logits]


def would_repeat(ids: list[int], size: int) -> set[int]:
    """Slow twin: every id that would complete a sequence which is there already."""
    there = {tuple(ids[start : start + size]) for start in range(len(ids) - size + 1)}
    return {token for token in range(9) if tuple([*ids, token][-size:]) in there and len(ids) + 1 >= size}


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_no_sequence_stands_twice(size: int) -> None:
    found = 0
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(0, 3, (4, 1 + seed), generator=generator)
        logits = torch.randn(4, 9, generator=generator)
        kept = logits.clone()
        got = without_repeats(logits, ids, size)
        assert banned(got) == [would_repeat(row.tolist(), size) for row in ids]
        assert torch.equal(logits, kept), "filters change nothing in place"
        assert torch.equal(got[got > -torch.inf], logits[got > -torch.inf])
        assert torch.equal(without_repeats(logits[1], ids[1], size), got[1])
        found += sum(map(len, banned(got)))
    assert found > 20


def test_single_filters() -> None:
    logits = torch.arange(6.0).view(2, 3)
    assert only(logits, 1).tolist() == [[-torch.inf, 0, -torch.inf]] * 2
    assert without(logits, [0, 2]).tolist() == [[-torch.inf, 1, -torch.inf], [-torch.inf, 4, -torch.inf]]
    assert logits.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_which_rule_holds_when() -> None:
    rules = Constraints(no_repeat=1, min_tokens=2, first_id=3, last_id=4, banned_ids=(5,))
    shown = []
    for num_new in range(5):
        row = constrain(torch.zeros(7), [6], rules, num_new=num_new, max_tokens=5, end_ids=(0, 99))
        shown.append({index for index, value in enumerate(row.tolist()) if value > -torch.inf})
    assert shown == [{3}, {1, 2, 3, 4}, {0, 1, 2, 3, 4}, {0, 1, 2, 3, 4}, {4}]
    plain = torch.randn(7)
    assert constrain(plain, [6], Constraints(), num_new=0, max_tokens=5, end_ids=(0,)) is plain


@pytest.mark.parametrize("sampling", [Sampling(temperature=0), Sampling(temperature=1.5, top_p=0.9, seed=3)])
def test_one_token_after_another_obeys(sampling: Sampling) -> None:
    model, start = decoder_only(), prompt(6)
    rules = Constraints(no_repeat=2, min_tokens=20, first_id=9, last_id=8, banned_ids=(5, 6))
    events = list(
        run(autoregressive(Session(model), start, sampling, max_tokens=30, constraints=rules, eos_ids=(2, 7)))
    )
    tokens = [event.new for event in events]
    text = [*start, *tokens]
    pairs = list(pairwise(text))[5:]
    assert len(set(pairs[:-1])) == len(pairs) - 1, "no pair twice, but for a forced one"
    assert tokens[0] == 9
    assert events[0].probability == 1.0
    assert len(tokens) > 20
    assert tokens[-1] in (2, 7, 8)
    assert not {2, 5, 6, 7} & set(tokens[:-1])
    free = [event.new for event in run(autoregressive(Session(model), start, sampling, max_tokens=30, eos_ids=()))]
    assert free != tokens


def test_rules_that_leave_nothing_are_refused() -> None:
    rules = Constraints(banned_ids=tuple(range(tiny.VOCAB)))
    with pytest.raises(CutawayError, match="leave no token for position 2"):
        list(run(autoregressive(Session(decoder_only()), [4, 5], Sampling(), max_tokens=3, constraints=rules)))


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"no_repeat": 0}, "no_repeat is 0. Allowed: 1 and more tokens; leave it out to allow repeats"),
        ({"min_tokens": -1}, "min_tokens is -1"),
        ({"min_tokens": 4}, "min_tokens is 4. Allowed: at most max_tokens, 3"),
        ({"last_id": -1}, "last_id is -1. Allowed: ids from 0 to 30"),
        ({"banned_ids": (3, 31)}, "banned_ids is 31"),
    ],
)
def test_impossible_rules_are_refused(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(CutawayError) as caught:
        list(
            run(
                autoregressive(Session(decoder_only()), [4], Sampling(), max_tokens=3, constraints=Constraints(**knobs))
            )
        )
    assert message in str(caught.value)
