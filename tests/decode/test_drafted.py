"""Lookup and draft decoders against the autoregressive one: greedy, the same tokens; sampled, the same distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch

from cutaway.config import PositionConfig, StackConfig, TokenIds
from cutaway.decode import (
    Constraints,
    Engine,
    Event,
    Figures,
    Sampling,
    Session,
    autoregressive,
    distribution,
    replay,
    run,
)
from cutaway.decode.constraints import constrain
from cutaway.errors import CutawayError
from cutaway.model import Transformer
from tests import tiny
from tests.decode.chances import outcomes
from tests.decode.guessers import NAMES, check_drafts, final, guesser, lively

GREEDY = Sampling(temperature=0)
ROTARY = tiny.stack(position=PositionConfig(kind="rotary"))
STACKS = {
    "sinusoidal": tiny.stack(),
    "rotary": ROTARY,
    "alibi": tiny.stack(position=PositionConfig(kind="alibi")),
    "window": tiny.stack(position=PositionConfig(kind="rotary"), layer_types=tiny.NEAR, pattern=("near", "full")),
}
PROMPT = [5, 9, 3, 7, 11]
RULES = {
    "no repeats": Constraints(no_repeat=2),
    "forced ends": Constraints(first_id=9, last_id=6),
    "a minimum": Constraints(min_tokens=9, banned_ids=(5, 7)),
}


def plain(model: Transformer, ids: Sequence[int], sampling: Sampling, max_tokens: int, **knobs: Any) -> list[Event]:
    return list(run(autoregressive(Session(model), ids, sampling, max_tokens=max_tokens, **knobs)))


def assert_same(events: Sequence[Event], wanted: Sequence[Event]) -> None:
    """Tokens, places, and how likely each was."""
    assert final(events) == final(wanted)
    probabilities = [event.probability for event in events if event.is_final]
    assert probabilities == pytest.approx([event.probability for event in wanted], abs=1e-9)


@pytest.mark.parametrize(
    ("stack", "num_drafts"),
    [*((stack, 3) for stack in STACKS.values()), (STACKS["sinusoidal"], 1), (STACKS["rotary"], 1000)],
    ids=[*STACKS, "one draft", "as many as there is room for"],
)
@pytest.mark.parametrize("name", NAMES)
def test_greedy_is_the_autoregressive_text(name: str, stack: StackConfig, num_drafts: int) -> None:
    """Beyond the end of the position table too, where all read their last half again."""
    made, figures = lively(stack), Figures()
    max_tokens = 50 if num_drafts < 100 else 16
    wanted = plain(made, PROMPT, GREEDY, max_tokens, eos_ids=())
    assert len({token for _, token in final(wanted)}) > 5
    decoder = guesser(name, made, num_drafts)(Session(made), PROMPT, GREEDY, max_tokens=max_tokens, eos_ids=())
    events = list(run(decoder, figures))
    assert_same(events, wanted)
    assert figures.num_passes < max_tokens
    assert {event.kind for event in events} == {"draft", "accept", "reject", "commit"}
    assert (figures.num_draft_passes > 0) == (name == "draft")


@pytest.mark.parametrize("name", NAMES)
def test_drafts_are_accounted_for(name: str) -> None:
    """A draft is accepted or rejected at the place where it stood, and nothing else is; every pass makes progress."""
    made, figures = lively(), Figures()
    decoder = guesser(name, made, 4)(Session(made), PROMPT, Sampling(seed=3), max_tokens=40, eos_ids=())
    check_drafts(run(decoder, figures))
    assert figures.num_tokens == 40
    assert figures.num_passes <= 40


@pytest.mark.parametrize("name", NAMES)
def test_a_text_ends_within_accepted_drafts(name: str) -> None:
    """By an end id or whoever reads: what stands is what was said, and the session holds it but for the last token."""
    made, within = lively(ROTARY), 0
    wanted = [token for _, token in final(plain(made, PROMPT, GREEDY, 24, eos_ids=()))]
    for number, end in list(enumerate(wanted))[15::2]:
        is_first = end not in wanted[:number]
        for ends in ([end], []) if is_first else ([],):
            session = Session(made)
            events = run(guesser(name, made)(session, PROMPT, GREEDY, max_tokens=24, eos_ids=ends))
            told = []
            for event in events:
                told.append(event)
                if not ends and event.is_final and event.position == len(PROMPT) + number:
                    events.close()  # type: ignore[attr-defined]
            assert [token for _, token in final(told)] == wanted[: number + 1]
            assert session.ids == [*PROMPT, *wanted[:number]]
            assert session.length == len(session.ids)
            if ends:
                assert set(replay(told)) == {place for place, _ in final(told)}
                kinds = [event.kind for event in told]
                assert kinds.count("draft") == kinds.count("accept") + kinds.count("reject")
                behind = [after.kind for event, after in pairwise(told) if event.kind == "draft" and event.new in ends]
                assert "draft" not in behind, "nothing is guessed behind an end"
            within += [event.kind for event in told if event.is_final][-1] == "accept"
    assert within > 1, "texts that end behind their drafts prove nothing"


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
@pytest.mark.parametrize("name", NAMES)
def test_greedy_keeps_the_rules_and_the_penalty(name: str, rules: Constraints) -> None:
    made, sampling, ends = lively(), Sampling(temperature=0, repetition_penalty=1.3), [19] if rules.min_tokens else []
    wanted = plain(made, PROMPT, sampling, 24, constraints=rules, eos_ids=ends)
    assert final(wanted) != final(plain(made, PROMPT, sampling, 24, eos_ids=ends))
    decoder = guesser(name, made)(Session(made), PROMPT, sampling, max_tokens=24, constraints=rules, eos_ids=ends)
    assert_same(list(run(decoder)), wanted)


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(top_p=0.9, top_k=20)], ids=["greedy", "drawn"])
@pytest.mark.parametrize("name", NAMES)
def test_rules_that_leave_nothing_are_said_where_they_do(name: str, sampling: Sampling) -> None:
    """No token twice: after all 31, nothing is left."""
    made = lively()
    knobs: dict[str, Any] = {"constraints": Constraints(no_repeat=1), "eos_ids": ()}
    messages = []
    for make in (autoregressive, guesser(name, made)):
        with pytest.raises(CutawayError) as found:
            list(run(make(Session(made), PROMPT, sampling, max_tokens=40, **knobs)))
        messages.append(str(found.value))
    assert messages[0] == messages[1]
    assert "position 31" in messages[0]


@pytest.mark.parametrize(
    ("sampling", "rules"),
    [
        (Sampling(), Constraints()),
        (Sampling(temperature=3.0, top_p=0.9), Constraints()),
        (Sampling(temperature=2.0, top_k=2, repetition_penalty=1.5), Constraints()),
        (Sampling(temperature=3.0, min_p=0.2), Constraints(min_tokens=2, last_id=1)),
    ],
    ids=["plain", "top-p", "top-k", "rules"],
)
@pytest.mark.parametrize("name", NAMES)
def test_sampled_it_has_the_autoregressive_distribution(name: str, sampling: Sampling, rules: Constraints) -> None:
    """Every way that chance can go, added up; p(text) = ∏ p(token | before), by separate passes."""
    made = tiny.model(tiny.config(vocab_size=3, tokens=TokenIds()), dtype=torch.float64)
    make, start = guesser(name, made, 2, noise=0.4), [1, 2, 1]
    kinds: set[str] = set()

    def decoder(chance: Any) -> Any:
        told = make(Session(made), start, sampling, max_tokens=3, eos_ids=[2], constraints=rules, chance=chance)
        answer = None
        while True:
            try:
                wish = told.send(answer)
            except StopIteration:
                return
            kinds.update([wish.kind] if isinstance(wish, Event) else [])
            answer = yield wish

    found = outcomes(decoder)
    assert math.isclose(sum(found.values()), 1, abs_tol=1e-12)
    assert len(found) > 2
    assert kinds == {"draft", "accept", "reject", "commit"}
    for text, probability in found.items():
        wanted = 1.0
        for index, token in enumerate(text):
            before = [*start, *text[:index]]
            logits = Session(made).extend(before)[-1]
            ruled = constrain(logits, before, rules, num_new=index, max_tokens=3, end_ids=[2])
            wanted *= float(distribution(ruled, before, sampling)[token])
        assert math.isclose(probability, wanted, abs_tol=1e-12), text


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(temperature=0.7, top_p=0.95, seed=8)], ids=["greedy", "seeded"])
@pytest.mark.parametrize("name", NAMES)
def test_a_batch_says_what_each_says_alone(name: str, sampling: Sampling) -> None:
    """Prompts and acceptance are ragged; passes are shared, and counted for each as if it were alone."""
    made = lively(ROTARY)
    make = guesser(name, made, 4)
    prompts = [[5, 9, 3], [8], [1, 2, 3, 4, 5, 6], [7, 7, 7, 7], PROMPT]

    def decoder(index: int) -> Any:
        return make(Session(made), prompts[index], sampling, max_tokens=14, request=index, eos_ids=())

    alone, figures = [], []
    for index in range(len(prompts)):
        figures.append(Figures())
        alone.append(list(run(decoder(index), figures[index])))
    engine: Engine[int] = Engine(max_row_tokens=16)
    found: list[list[Event]] = [[] for _ in prompts]
    for index, event in engine.run([decoder(index) for index in range(len(prompts))]):
        found[index].append(event)
    for mine, wanted in zip(found, alone, strict=True):
        assert [(e.kind, e.position, e.old, e.new) for e in mine] == [
            (e.kind, e.position, e.old, e.new) for e in wanted
        ]
    assert len({(each.num_passes, each.num_accepted) for each in figures}) > 1, "acceptance is not ragged"
    for index, each in enumerate(figures):
        mine = engine.figures[index]
        assert (mine.num_drafted, mine.num_accepted) == (each.num_drafted, each.num_accepted)
        assert mine.num_passes + mine.num_draft_passes >= each.num_passes + each.num_draft_passes
        assert (mine.num_draft_passes > 0) == (name == "draft")
    assert engine.num_passes < sum(each.num_passes + each.num_draft_passes for each in figures)


@pytest.mark.parametrize("name", NAMES)
def test_a_session_goes_on(name: str) -> None:
    """What it holds already is read by nobody again but the draft model."""
    made = lively()
    session = Session(made)
    session.extend([4, 8, 4, 8])
    wanted = plain(made, [4, 8, 4, 8, *PROMPT], GREEDY, 20, eos_ids=())
    figures = Figures()
    events = list(run(guesser(name, made)(session, PROMPT, GREEDY, max_tokens=20, eos_ids=()), figures))
    assert_same(events, wanted)
    assert session.ids == [4, 8, 4, 8, *PROMPT, *(token for _, token in final(wanted)[:-1])]


@pytest.mark.parametrize("ids", [[], [6], [6, 6]], ids=["none", "one", "two"])
@pytest.mark.parametrize("name", NAMES)
def test_a_prompt_shorter_than_what_is_looked_for(name: str, ids: list[int]) -> None:
    made = lively()
    wanted = plain(made, ids, GREEDY, 12, eos_ids=())
    assert_same(list(run(guesser(name, made)(Session(made), ids, GREEDY, max_tokens=12, eos_ids=()))), wanted)


@pytest.mark.parametrize("length", [45, 46, 47, 48])
@pytest.mark.parametrize("name", NAMES)
def test_drafts_end_where_the_position_table_ends(name: str, length: int) -> None:
    made = lively()
    ids = (PROMPT * 10)[:length]
    wanted = plain(made, ids, GREEDY, 8, eos_ids=())
    assert_same(list(run(guesser(name, made, 1000)(Session(made), ids, GREEDY, max_tokens=8, eos_ids=()))), wanted)
    with pytest.raises(CutawayError, match="positions end at 48"):
        list(run(guesser(name, made)(Session(made), [*PROMPT * 9, 1, 2, 3, 4], GREEDY, max_tokens=1)))


@pytest.mark.parametrize("name", NAMES)
def test_logits_that_are_not_numbers_are_said(name: str) -> None:
    made = lively()
    made.token.weight.data[9] = math.nan
    for sampling in (GREEDY, Sampling(seed=1)):
        with pytest.raises(CutawayError, match="not numbers"):
            list(run(guesser(name, made, noise=0.0)(Session(made), PROMPT, sampling, max_tokens=4)))


@pytest.mark.parametrize("name", NAMES)
def test_impossible_numbers_are_refused(name: str) -> None:
    made = lively()
    with pytest.raises(CutawayError, match=r"num_drafts is 0. Allowed: 1 token and more"):
        guesser(name, made, 0)
    with pytest.raises(CutawayError, match="max_tokens is 0"):
        list(run(guesser(name, made)(Session(made), PROMPT, GREEDY, max_tokens=0)))
