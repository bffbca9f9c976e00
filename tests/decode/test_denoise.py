"""Filling holes: every order draws what it should, pinned tokens stay, caches change nothing."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from cutaway.config import PositionConfig, TokenIds
from cutaway.decode import (
    ORDERS,
    Denoising,
    Engine,
    Event,
    Figures,
    Sampling,
    Session,
    denoise,
    distribution,
    replay,
    run,
)
from cutaway.errors import CutawayError
from cutaway.model import Call, Tokens, Transformer, layouts, visibility
from tests import tiny
from tests.decode.chances import outcomes

MASK = 2
GREEDY = Sampling(temperature=0)
ROTARY = tiny.stack(position=PositionConfig(kind="rotary"))
HOLES = [5, MASK, 3, MASK, MASK, 11]
KINDS: dict[str, dict[str, Any]] = {
    "whole": {"predicts": "masked"},
    "shifted": {"predicts": "masked_next"},
    "blocks": {"predicts": "masked", "block_size": 4},
}
kinds = pytest.mark.parametrize("knobs", KINDS.values(), ids=KINDS)
orders = pytest.mark.parametrize("order", ORDERS)


def model(**knobs: Any) -> Transformer:
    config = tiny.config(**{"decoder": ROTARY, "tokens": TokenIds(mask=MASK), "embedding_scale": 5.0, **knobs})
    return tiny.model(config, seed=4, dtype=torch.float64)


def fill(made: Transformer, ids: Sequence[int], sampling: Sampling = GREEDY, **knobs: Any) -> list[Event]:
    return list(run(denoise(Session(made), ids, sampling, **knobs)))


def text_of(ids: Sequence[int], events: Sequence[Event]) -> list[int]:
    places = {place: token for place, token in enumerate(ids) if token != MASK} | replay(events)
    return [places[place] for place in sorted(places)]


def said(made: Transformer, ids: Sequence[int], place: int) -> Tensor:
    """What a model says of one place, by a pass of its own that no cache serves: logits [vocab], the mask out of question."""
    config, end = made.config, len(ids)
    tokens, row = visibility.full(end), list(ids)
    if config.block_size is not None:
        size = config.block_size
        start, end = place // size * size, min((place // size + 1) * size, len(ids))
        parts = [layouts.blocks(0, start, size), layouts.noised_block(start, end, size)]
        tokens, row = Tokens(torch.cat([part.fields for part in parts], 2)), row[:end]
    logits = made(torch.tensor([row]), Call(tokens))[0, place - config.is_shifted]
    logits[MASK] = -torch.inf
    return logits


@orders
@kinds
def test_pinned_tokens_stay_and_every_hole_is_filled_once(knobs: dict[str, Any], order: Any) -> None:
    events = fill(model(**knobs), HOLES, Sampling(seed=3), max_tokens=5, denoising=Denoising(order=order))
    places = [event.position for event in events]
    assert sorted(places) == [1, 3, 4, *range(6, 11)]
    assert {event.kind for event in events} == {"commit"}
    assert all(event.new not in (None, MASK) and 0 < (event.probability or 0) <= 1 for event in events)


@kinds
def test_each_commit_is_what_a_fresh_pass_says(knobs: dict[str, Any]) -> None:
    """One token a pass, blocks in a store or not: the place surest of all, the token likeliest there."""
    made, ids = model(**knobs), [*HOLES, *[MASK] * 6]
    size = made.config.block_size or len(ids)
    for event in fill(made, HOLES, max_tokens=6):
        start = next(place for place, token in enumerate(ids) if token == MASK) // size * size
        holes = [place for place in range(start, min(start + size, len(ids))) if ids[place] == MASK]
        sure = {place: said(made, ids, place).softmax(-1).max() for place in holes}
        best = max(sure, key=lambda place: float(sure[place]))
        assert event.position == best
        assert event.new == int(said(made, ids, best).argmax())
        assert math.isclose(event.probability or 0, float(sure[best]), abs_tol=1e-9)
        ids[best] = event.new
    assert MASK not in ids


@pytest.mark.parametrize(
    ("order", "surest"),
    [
        ("margin", lambda p: p.topk(2).values[0] - p.topk(2).values[1]),
        ("entropy", lambda p: (p * p.clamp_min(1e-300).log()).sum()),
    ],
)
def test_the_surest_by_each_measure_come_first(order: Any, surest: Any) -> None:
    made, ids = model(predicts="masked"), [MASK] * 6
    firsts = []
    for event in fill(made, ids, max_tokens=0, denoising=Denoising(order=order)):
        holes = [place for place, token in enumerate(ids) if token == MASK]
        scores = {place: float(surest(said(made, ids, place).softmax(-1))) for place in holes}
        assert math.isclose(scores[event.position], max(scores.values()), abs_tol=1e-9)
        firsts.append(event.position)
        ids[event.position] = event.new or 0
    assert firsts != sorted(firsts)


@pytest.mark.parametrize(("num_passes", "counts"), [(1, [10]), (4, [3, 3, 2, 2]), (10, [1] * 10)])
def test_as_many_passes_as_asked_with_as_many_tokens(num_passes: int, counts: list[int]) -> None:
    figures, found = Figures(), Counter[int]()
    plan = Denoising(num_passes=num_passes)
    for event in run(denoise(Session(model(predicts="masked")), [5], GREEDY, max_tokens=10, denoising=plan), figures):
        assert event.kind == "commit"
        found[figures.num_passes] += 1
    assert [found[number] for number in sorted(found)] == counts
    assert figures.num_passes == num_passes


def test_a_threshold_takes_all_that_are_sure_enough() -> None:
    """At 1 none is, and the surest comes alone; near 0 all are, and one pass does."""
    made = model(predicts="masked")
    passes = []
    for threshold in (1.0, 0.3, 1e-9):
        figures, plan = Figures(), Denoising(order="threshold", threshold=threshold)
        list(run(denoise(Session(made), [5], GREEDY, max_tokens=12, denoising=plan), figures))
        passes.append(figures.num_passes)
    assert passes[0] == 12
    assert passes[2] == 1
    assert passes[0] >= passes[1] >= passes[2]
    ids = [5, *[MASK] * 12]
    plan = Denoising(order="threshold", threshold=0.3)
    first = next(iter(run(denoise(Session(made), [5], GREEDY, max_tokens=12, denoising=plan))))
    sure = {place: float(said(made, ids, place).softmax(-1).max()) for place in range(1, 13)}
    assert sure[first.position] >= 0.3 or sure[first.position] == max(sure.values())


VOCAB = 4


def small(**knobs: Any) -> Transformer:
    config = tiny.config(vocab_size=VOCAB, tokens=TokenIds(mask=0), **{"predicts": "masked", **knobs})
    return tiny.model(config, dtype=torch.float64)


def law_of(made: Transformer, num_passes: int, sampling: Sampling) -> dict[tuple[int, ...], float]:
    """p(text of 2) after [1], by ancestral sampling, written out: which holes are filled in each pass, and with what."""

    def token(ids: list[int], place: int) -> Tensor:
        logits = made(torch.tensor([ids]), Call(visibility.full(3)))[0, place]
        logits[0] = -torch.inf
        return distribution(logits, [], sampling)

    law: Counter[tuple[int, ...]] = Counter()

    def walk(ids: list[int], left: int, probability: float) -> None:
        holes = [place for place in (1, 2) if ids[place] == 0]
        if not holes:
            law[tuple(ids[1:])] += probability  # type: ignore[assignment]
            return
        for filled in itertools.product((False, True), repeat=len(holes)):
            chosen = [place for place, now in zip(holes, filled, strict=True) if now]
            share = math.prod(1 / left if now else 1 - 1 / left for now in filled)
            if share == 0:
                continue
            said = {place: token(ids, place) for place in chosen}
            for tokens in itertools.product(range(1, VOCAB), repeat=len(chosen)):
                after = list(ids)
                for place, new in zip(chosen, tokens, strict=True):
                    after[place] = new
                chance = math.prod(float(said[place][new]) for place, new in zip(chosen, tokens, strict=True))
                walk(after, left - 1, probability * share * chance)

    walk([1, 0, 0], num_passes, 1.0)
    return dict(law)  # type: ignore[arg-type]


@pytest.mark.parametrize("num_passes", [1, 2])
def test_ancestral_sampling_has_its_distribution(num_passes: int) -> None:
    """Every way that chance can go, added up."""
    made, sampling = small(), Sampling()
    plan = Denoising(order="ancestral", num_passes=num_passes)
    found = outcomes(lambda chance: denoise(Session(made), [1], sampling, max_tokens=2, denoising=plan, chance=chance))
    wanted = law_of(made, num_passes, sampling)
    assert found.keys() == wanted.keys()
    assert all(math.isclose(found[text], wanted[text], abs_tol=1e-12) for text in wanted)


def test_what_is_drawn_passes_the_chi_squared_test() -> None:
    """1,000 seeds against the enumerated distribution: χ² of 8 degrees of freedom is below 26.1 in 999 of 1,000."""
    made, plan = small(), Denoising(order="ancestral", num_passes=2)
    wanted = law_of(made, 2, Sampling())
    drawn = Counter(
        tuple(event.new or 0 for event in sorted(fill_small(made, seed, plan), key=lambda event: event.position))
        for seed in range(1000)
    )
    chi = sum((drawn[text] - 1000 * p) ** 2 / (1000 * p) for text, p in wanted.items())
    assert chi < 26.1
    uniform = sum((drawn[text] - 1000 / 9) ** 2 / (1000 / 9) for text in wanted)
    assert uniform > 26.1


def fill_small(made: Transformer, seed: int, plan: Denoising) -> list[Event]:
    return list(run(denoise(Session(made), [1], Sampling(seed=seed), max_tokens=2, denoising=plan)))


def test_first_hitting_is_the_mean_over_orders() -> None:
    """p(text) = the mean over orders of ∏ p(token | the others there): what `exact_nats` gives for the text whole."""
    from cutaway.train.likelihood import exact_nats

    made, plan = small(), Denoising(order="first_hitting")
    found = outcomes(lambda chance: denoise(Session(made), [], Sampling(), max_tokens=3, denoising=plan, chance=chance))
    assert len(found) == (VOCAB - 1) ** 3
    for text, probability in found.items():
        assert math.isclose(probability, math.exp(-exact_nats(made, text)), abs_tol=1e-12)


def test_blocks_follow_the_law_that_their_bound_is_of() -> None:
    from cutaway.train.likelihood import exact_nats

    made, plan = small(block_size=2), Denoising(order="first_hitting")
    found = outcomes(lambda chance: denoise(Session(made), [], Sampling(), max_tokens=3, denoising=plan, chance=chance))
    assert all(math.isclose(p, math.exp(-exact_nats(made, text)), abs_tol=1e-12) for text, p in found.items())


@orders
@kinds
def test_a_batch_is_what_each_is_alone(knobs: dict[str, Any], order: Any) -> None:
    made = model(**knobs)
    texts = [[5, MASK, 3], [8, 9, MASK, MASK, 4, 4, 4, MASK, 1], [7]]
    plan = Denoising(order=order)

    def decoder(index: int) -> Any:
        sampling = Sampling(seed=2)
        return denoise(Session(made), texts[index], sampling, max_tokens=3, denoising=plan, request=index)

    alone = [text_of(texts[index], list(run(decoder(index)))) for index in range(3)]
    engine: Engine[int] = Engine()
    found: list[list[Event]] = [[], [], []]
    for index, event in engine.run([decoder(index) for index in range(3)]):
        found[index].append(event)
    assert [text_of(texts[index], found[index]) for index in range(3)] == alone


def test_editing_takes_away_and_fills_again() -> None:
    made, text = model(predicts="masked"), [5, 9, 3, 7, 11]
    events = fill(made, text, rewritten=[1, 3])
    assert [(event.kind, event.position, event.old) for event in events[:2]] == [("remask", 1, 9), ("remask", 3, 7)]
    assert sorted(event.position for event in events[2:]) == [1, 3]
    holes = fill(made, [5, MASK, 3, MASK, 11])
    assert [event.new for event in events[2:]] == [event.new for event in holes]


def test_a_text_of_blocks_ends_with_the_block_that_ends_it() -> None:
    made = model(predicts="masked", block_size=4)
    whole = fill(made, [5, 9], max_tokens=18)
    end = next(event.new for event in whole if 4 <= event.position < 8)
    assert end is not None
    events = fill(made, [5, 9], max_tokens=18, eos_ids=[end])
    first = next(event.position for event in whole if event.new == end)
    assert max(event.position for event in events) == first // 4 * 4 + 3


def test_an_end_that_was_there_ends_nothing() -> None:
    made = model(predicts="masked", block_size=4)
    events = fill(made, [5, 9, MASK, 7], max_tokens=6, eos_ids=[9, 7])
    plain = fill(made, [5, 9, MASK, 7], max_tokens=6, eos_ids=[])
    assert {event.position for event in events} > {2, 4}
    assert events == plain[: len(events)]


def test_a_window_is_filled_before_what_lies_behind() -> None:
    filled = [
        event.position for event in fill(model(predicts="masked"), [5], max_tokens=9, denoising=Denoising(window=3))
    ]
    assert [sorted(filled[first : first + 3]) for first in (0, 3, 6)] == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert filled != sorted(filled)


def test_a_penalty_sees_what_stands_before_and_behind() -> None:
    made, sampling = model(predicts="masked"), Sampling(temperature=0, repetition_penalty=1e6)
    events = fill(made, [5, MASK, MASK, MASK, 8], sampling)
    assert len({event.new for event in events} - {5, 8}) == 3


def test_each_pass_draws_anew_which_holes_it_fills() -> None:
    """Of 4 passes every one has a quarter of the holes; each of the 6 orders of 3 holes comes as often."""
    made, counts = small(decoder=ROTARY), Counter[int]()
    plan = Denoising(order="ancestral", num_passes=4)
    for seed in range(8):
        figures = Figures()
        decoder = denoise(Session(made), [1], Sampling(seed=seed), max_tokens=40, denoising=plan)
        counts.update(figures.num_passes for _ in run(decoder, figures))
    assert all(abs(counts[number] - 80) < 40 for number in (1, 2, 3, 4))
    single = Denoising(order="first_hitting")
    orders = Counter(
        tuple(event.position for event in fill(made, [1], Sampling(seed=seed), max_tokens=3, denoising=single))
        for seed in range(90)
    )
    assert len(orders) == 6
    assert min(orders.values()) > 4


@pytest.mark.parametrize(
    ("knobs", "arguments", "message"),
    [
        ({"predicts": "next"}, {}, "trained to predict 'next'. Use the autoregressive"),
        ({"predicts": "hybrid", "block_size": 4}, {}, "Use the hybrid or autoregressive"),
        (
            {"predicts": "masked"},
            {"max_tokens": 0},
            r"Every token .* trained to fill in hidden tokens: nothing is left",
        ),
        ({"predicts": "masked"}, {"max_tokens": -1}, "max_tokens is -1"),
        ({"predicts": "masked"}, {"denoising": Denoising(num_passes=9)}, "Allowed: 1 to 3"),
        ({"predicts": "masked"}, {"rewritten": [7]}, "place 7 is to be rewritten"),
        ({"predicts": "masked_next"}, {"rewritten": [0]}, "the first of a text must be there"),
        ({"predicts": "masked", "decoder": tiny.stack()}, {"max_tokens": 60}, "positions end at 48"),
        ({"predicts": "masked", "tokens": TokenIds()}, {}, "names no mask token"),
    ],
)
def test_what_cannot_be_filled_is_refused(knobs: dict[str, Any], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(CutawayError, match=message):
        fill(model(**knobs), [5, 9], **{"max_tokens": 3, **arguments})


def test_a_session_in_use_is_refused() -> None:
    session = Session(model(predicts="masked"))
    session.extend([1, 2])
    with pytest.raises(CutawayError, match="holds 2 tokens"):
        list(run(denoise(session, [MASK], GREEDY)))


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"order": "random"}, "order is 'random'. Allowed: ancestral"),
        ({"num_passes": 0}, "num_passes is 0"),
        ({"num_passes": 3, "order": "threshold"}, "finds the number itself"),
        ({"threshold": 1.5}, "threshold is 1.5"),
    ],
)
def test_impossible_settings_are_refused(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(CutawayError, match=message):
        Denoising(**knobs)
