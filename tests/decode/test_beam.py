"""Beam search: exact where it can see all, greedy where it sees one; what it says, leaves behind and refuses."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest
import torch

from cutaway.config import TokenIds
from cutaway.decode import (
    Beam,
    Constraints,
    Engine,
    Event,
    Figures,
    Hypothesis,
    Sampling,
    Session,
    autoregressive,
    beam_search,
    hypotheses,
    replay,
    run,
)
from cutaway.errors import CutawayError
from cutaway.model import Call, Transformer, visibility
from tests import tiny
from tests.decode import decoder_only, prompt, translator

END, VOCAB, LONGEST = 2, 4, 3
PENALTIES = (0.0, 0.6, 1.0, 2.0, -1.0)
SOURCE = [0, 3, 1]


def log_probs(model: Transformer, session: Session, start: list[int], ids: tuple[int, ...]) -> list[float]:
    """Of each new token, by one full pass."""
    text = [*start, *ids]
    logits = model(torch.tensor([text]), Call(visibility.causal(len(text)), memory=session.memory))[0]
    rows = logits[len(start) - 1 : -1].double().log_softmax(-1)
    return [float(row[token]) for row, token in zip(rows, ids, strict=True)]


def small(kind: str) -> tuple[Transformer, Session, list[int]]:
    """A model of four ids, a session, and what its texts begin with."""
    tokens = TokenIds(bos=1, eos=END, decoder_start=3)
    encoder = {"encoder": tiny.stack()} if kind == "translator" else {}
    config = tiny.config(**encoder, decoder=tiny.stack(), vocab_size=VOCAB, tokens=tokens)
    model = tiny.model(config, std=0.5, seed=3)
    return model, Session(model, source_ids=SOURCE if encoder else None), [3] if encoder else [1, 0]


def every_text() -> list[tuple[int, ...]]:
    """All texts that end by themselves, or are as long as allowed."""
    texts = [ids for length in range(1, LONGEST + 1) for ids in product(range(VOCAB), repeat=length)]
    return [ids for ids in texts if END not in ids[:-1] and (ids[-1] == END or len(ids) == LONGEST)]


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("kind", ["decoder", "translator"])
def test_as_many_beams_as_texts_find_the_best_of_all(kind: str, penalty: float) -> None:
    model, session, start = small(kind)
    texts = every_text()
    scored = {ids: sum(log_probs(model, session, start, ids)) / len(ids) ** penalty for ids in texts}
    best = sorted(texts, key=lambda ids: -scored[ids])
    assert len(texts) == 40
    beam = Beam(num_beams=40, num_return=40, length_penalty=penalty, early_stopping="never")
    found = hypotheses(session, start, beam, max_tokens=LONGEST)
    assert [text.ids for text in found] == best
    assert [text.score for text in found] == pytest.approx([scored[ids] for ids in best], abs=1e-5)


def test_more_beams_find_what_one_misses() -> None:
    """The best token first is not the best text."""
    model = decoder_only()
    scores = [
        hypotheses(Session(model), prompt(6), Beam(num_beams=beams, length_penalty=0.0), max_tokens=10, eos_ids=())[0]
        for beams in (1, 8)
    ]
    assert scores[1].score > scores[0].score + 0.1


RULES = [
    Constraints(),
    Constraints(no_repeat=2, min_tokens=8),
    Constraints(first_id=9, last_id=END, banned_ids=(4, 5)),
]


@pytest.mark.parametrize("rules", RULES, ids=str)
@pytest.mark.parametrize("kind", ["learned", "rotary", "relative"])
def test_one_beam_is_greedy(kind: str, rules: Constraints) -> None:
    cases: list[tuple[Transformer, list[int], dict[str, Any]]] = [
        *((decoder_only(kind), prompt(6, seed=seed), {}) for seed in range(3)),
        *((translator(kind), [], {"source_ids": prompt(8, seed=seed)}) for seed in range(3)),
    ]
    seen: set[int | None] = set()
    for model, start, source in cases:
        greedy = autoregressive(
            Session(model, **source), start, Sampling(temperature=0), max_tokens=16, constraints=rules
        )
        tokens = tuple(event.new for event in run(greedy))
        beam = Beam(num_beams=1, constraints=rules)
        assert hypotheses(Session(model, **source), start, beam, max_tokens=16)[0].ids == tokens
        seen |= set(tokens)
    assert len(seen) > 3, "tokens that do not vary prove nothing"


def test_what_is_found() -> None:
    """Scores are the model's own, best first, no text twice, the end id last or the length reached."""
    model, start = decoder_only(), prompt(6)
    beam = Beam(num_beams=5, num_return=5, length_penalty=0.6)
    found = hypotheses(Session(model), start, beam, max_tokens=12)
    assert [text.score for text in found] == sorted((text.score for text in found), reverse=True)
    assert len({text.ids for text in found}) == 5
    for text in found:
        assert text.ids[-1] == END or len(text.ids) == 12
        assert END not in text.ids[:-1]
        exact = log_probs(model, Session(model), start, text.ids)
        assert list(text.log_probs) == pytest.approx(exact, abs=1e-4)
        assert text.score == pytest.approx(sum(text.log_probs) / len(text.ids) ** 0.6)


def test_events_are_the_best_text_and_the_session_keeps_the_prompt() -> None:
    model, start = decoder_only(), prompt(6)
    session, found, figures = Session(model), list[Hypothesis](), Figures()
    decoder = beam_search(session, start, Beam(num_beams=3, num_return=2), max_tokens=9, eos_ids=(), found=found)
    events = list(run(decoder, figures))
    assert len(found) == 2
    assert replay(events) == dict(enumerate(found[0].ids, start=6))
    assert all((event.kind, event.old) == ("commit", None) for event in events)
    assert [event.probability for event in events] == pytest.approx([math.exp(value) for value in found[0].log_probs])
    assert session.ids == start
    assert figures.num_passes == 9, "all beams of a step share a pass"
    again = hypotheses(session, found[0].ids[:1], Beam(num_beams=1), max_tokens=3, eos_ids=())
    greedy = autoregressive(
        Session(model), [*start, found[0].ids[0]], Sampling(temperature=0), max_tokens=3, eos_ids=()
    )
    assert again[0].ids == tuple(event.new for event in run(greedy))


def test_many_searches_share_an_engine() -> None:
    model, beam = decoder_only(), Beam(num_beams=3)
    starts = [prompt(length, seed=length) for length in (3, 7, 5, 4)]
    engine: Engine[int] = Engine()
    events: list[list[Event]] = [[] for _ in starts]
    for key, event in engine.run([beam_search(Session(model), start, beam, max_tokens=10) for start in starts]):
        events[key].append(event)
    for start, own in zip(starts, events, strict=True):
        alone = hypotheses(Session(model), start, beam, max_tokens=10)[0]
        assert tuple(event.new for event in own) == alone.ids
    assert engine.num_passes <= 11


def test_the_end_of_the_position_table_ends_the_texts() -> None:
    model, start = decoder_only(), prompt(44)
    beam = Beam(num_beams=3, num_return=3, constraints=Constraints(last_id=END, min_tokens=4))
    found = hypotheses(Session(model), start, beam, max_tokens=60)
    assert [(len(text.ids), text.ids[-1]) for text in found] == [(5, END)] * 3
    with pytest.raises(CutawayError, match="would have 49 tokens"):
        hypotheses(Session(model), prompt(49), Beam(), max_tokens=5)


def test_a_text_to_which_nothing_may_be_added_ends() -> None:
    beam = Beam(num_beams=2, num_return=2, constraints=Constraints(no_repeat=1))
    found = hypotheses(Session(decoder_only()), [4], beam, max_tokens=40, eos_ids=())
    assert [sorted(text.ids) for text in found] == [[token for token in range(tiny.VOCAB) if token != 4]] * 2


@pytest.mark.parametrize("early_stopping", [True, False, "never"])
def test_stopping_earlier_never_runs_longer(early_stopping: Any) -> None:
    """Where lengths cost nothing, stopping by score alone is exact; stopping at once is never slower."""
    model, passes, scores = decoder_only(), [], []
    for choice in (early_stopping, "never"):
        figures, found = Figures(), list[Hypothesis]()
        beam = Beam(num_beams=3, length_penalty=0.0, early_stopping=choice)
        list(run(beam_search(Session(model), prompt(5), beam, max_tokens=16, found=found, eos_ids=(END, 7)), figures))
        passes.append(figures.num_passes)
        scores.append(found[0].score)
    assert passes[0] <= passes[1]
    assert scores[0] <= scores[1]
    if early_stopping is False:
        assert scores[0] == scores[1]


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"num_beams": 0}, "num_beams is 0"),
        ({"num_return": 5}, "num_return is 5. Allowed: from 1 to num_beams, 4"),
        ({"length_penalty": math.nan}, "length_penalty is nan"),
        ({"length_penalty": 1e9}, "length_penalty is"),
        ({"early_stopping": "sometimes"}, "early_stopping is sometimes. Allowed: true, false, never"),
        ({"repetition_penalty": 0.0}, "repetition_penalty is 0.0"),
    ],
)
def test_impossible_settings_are_refused(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(CutawayError) as caught:
        Beam(**knobs)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("start", "knobs", "message"),
    [
        ([4], {"max_tokens": 0}, "max_tokens is 0"),
        ([99], {"max_tokens": 4}, "The id 99 is not in the vocabulary"),
        ([4], {"max_tokens": 4, "rules": Constraints(first_id=31)}, "first_id is 31. Allowed: ids from 0 to 30"),
        ([4], {"max_tokens": 4, "rules": Constraints(min_tokens=5)}, "min_tokens is 5. Allowed: at most max_tokens, 4"),
    ],
)
def test_impossible_wishes_are_refused(start: list[int], knobs: dict[str, Any], message: str) -> None:
    beam = Beam(constraints=knobs.pop("rules", Constraints()))
    with pytest.raises(CutawayError) as caught:
        hypotheses(Session(decoder_only()), start, beam, **knobs)
    assert message in str(caught.value)


def test_logits_that_are_not_numbers_are_refused() -> None:
    model = decoder_only()
    model.token.weight.data[5] = torch.nan
    with pytest.raises(CutawayError, match="not numbers"):
        hypotheses(Session(model), [5], Beam(), max_tokens=3)
