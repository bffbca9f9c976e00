"""The hybrid decoder against the autoregressive one: greedy, the same tokens; sampled, the same distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from cutaway.config import PositionConfig, StackConfig, TokenIds
from cutaway.decode import (
    Drafting,
    Engine,
    Event,
    Figures,
    Sampling,
    Session,
    autoregressive,
    distribution,
    hybrid,
    replay,
    run,
)
from cutaway.decode.drafted import Wishes
from cutaway.decode.rounds import Rounds
from cutaway.decode.verify import Draft, verify
from cutaway.errors import CutawayError
from cutaway.model import Transformer
from tests import tiny
from tests.decode.chances import Scripted, outcomes
from tests.decode.guessers import check_drafts

MASK = 2
SIZE = 4
GREEDY = Sampling(temperature=0)
STACKS = {
    "sinusoidal": tiny.stack(),
    "rotary": tiny.stack(position=PositionConfig(kind="rotary")),
    "alibi": tiny.stack(position=PositionConfig(kind="alibi")),
    "window": tiny.stack(position=PositionConfig(kind="rotary"), layer_types=tiny.NEAR, pattern=("near", "full")),
}
PROMPT = [5, 9, 3, 7, 11]


def model(stack: StackConfig, predicts: str = "hybrid", **knobs: Any) -> Transformer:
    """A hybrid model whose greedy text varies."""
    config = tiny.config(
        decoder=stack, predicts=predicts, block_size=SIZE, tokens=TokenIds(mask=MASK), embedding_scale=5.0, **knobs
    )
    return tiny.model(config, seed=4, dtype=torch.float64)


def plain(model: Transformer, prompt: Sequence[int], max_tokens: int, **knobs: Any) -> list[Event]:
    return list(run(autoregressive(Session(model), prompt, GREEDY, max_tokens=max_tokens, **knobs)))


def final(events: Sequence[Event]) -> list[tuple[int, int | None]]:
    return [(event.position, event.new) for event in events if event.is_final]


@pytest.mark.parametrize("passes", ["one", "two"])
@pytest.mark.parametrize("predicts", ["hybrid", "hybrid_next"])
@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_greedy_is_the_autoregressive_text(stack: StackConfig, predicts: str, passes: Any) -> None:
    """Beyond the end of the position table too, where both read their last half again."""
    made = model(stack, predicts)
    wanted = final(plain(made, PROMPT, 50))
    assert len({token for _, token in wanted}) > 5
    events = list(run(hybrid(Session(made), PROMPT, GREEDY, max_tokens=50, drafting=Drafting(passes=passes))))
    assert final(events) == wanted
    assert {event.kind for event in events} >= {"draft", "reject", "commit"}


@pytest.mark.parametrize("passes", ["one", "two"])
@pytest.mark.parametrize("seed", range(6))
def test_greedy_stands_whatever_is_drafted(seed: int, passes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drafts that are right for a while, then wrong, or right again behind a wrong one."""
    made = model(STACKS["rotary"])
    wanted = plain(made, PROMPT, 40)
    truth = {event.position: event.new for event in wanted}
    generator = torch.Generator().manual_seed(seed)

    def adversary(rounds: Rounds, ids: Any, place: int, most: int) -> Wishes[list[Draft]]:  # noqa: ARG001
        yield from ()
        if rounds.proposals is None or not len(rounds.proposals):
            return []
        tokens = [truth.get(place + i) or 0 for i in range(min(most, 3))]
        lies = torch.rand(len(tokens), generator=generator) < 0.4
        return [
            Draft((token + 1) % tiny.VOCAB if lie else token) for token, lie in zip(tokens, lies.tolist(), strict=True)
        ]

    monkeypatch.setattr(Rounds, "drafts", adversary)
    figures = Figures()
    drafting = Drafting(num_drafts=3, passes=passes)
    events = list(run(hybrid(Session(made), PROMPT, GREEDY, max_tokens=40, drafting=drafting), figures))
    assert final(events) == final(wanted)
    assert {event.kind for event in events} == {"draft", "accept", "reject", "commit"}
    assert figures.num_tokens == 40
    assert figures.num_passes < 40
    probabilities = {event.position: event.probability for event in events if event.is_final}
    assert all(
        event.probability is not None
        and math.isclose(event.probability, probabilities[event.position] or 0, abs_tol=1e-9)
        for event in wanted
    )


def test_every_pass_makes_progress_and_drafts_are_accounted_for() -> None:
    """A draft is accepted or rejected at the place where it stood, and nothing else is."""
    made, figures = model(STACKS["rotary"], "hybrid_next"), Figures()
    check_drafts(run(hybrid(Session(made), PROMPT, Sampling(seed=3), max_tokens=30), figures))
    assert figures.num_passes <= 30


def test_the_end_of_a_text_takes_its_drafts_away() -> None:
    made = model(STACKS["rotary"])
    wanted = plain(made, PROMPT, 30)
    end = wanted[12].new
    assert end is not None
    events = list(run(hybrid(Session(made), PROMPT, GREEDY, max_tokens=30, eos_ids=[end])))
    assert final(events) == final(plain(made, PROMPT, 30, eos_ids=[end]))
    assert set(replay(events)) == {place for place, _ in final(events)}


@pytest.mark.parametrize("passes", ["one", "two"])
@pytest.mark.parametrize("predicts", ["hybrid", "hybrid_next"])
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=3.0, top_p=0.95)], ids=["plain", "filtered"])
def test_sampled_it_has_the_autoregressive_distribution(sampling: Sampling, predicts: str, passes: Any) -> None:
    """Every way that chance can go, added up; p(text) = ∏ p(token | before), by separate passes."""
    config = tiny.config(vocab_size=3, predicts=predicts, block_size=3, tokens=TokenIds(mask=0))
    made = tiny.model(config, dtype=torch.float64)
    drafting = Drafting(num_drafts=2, passes=passes)
    found = outcomes(
        lambda chance: hybrid(
            Session(made), [1, 2], sampling, max_tokens=4, drafting=drafting, eos_ids=[2], chance=chance
        )
    )
    assert math.isclose(sum(found.values()), 1, abs_tol=1e-12)
    assert len(found) > 10
    for text, probability in found.items():
        wanted = 1.0
        for index, token in enumerate(text):
            logits = Session(made).extend([1, 2, *text[:index]])[-1]
            wanted *= float(distribution(logits, [], sampling)[token])
        assert math.isclose(probability, wanted, abs_tol=1e-12), text


def test_the_drafts_matter_to_the_enumeration() -> None:
    """A verdict that accepts whatever is drafted has another distribution: the test above can fail."""
    p, q = torch.tensor([0.1, 0.9]), torch.tensor([0.8, 0.2])
    ways = {}
    for token in range(2):
        chance = Scripted([1])
        verdict = verify([p, p].__getitem__, [Draft(token, float(q[token]), q)], chance, 0)
        ways[token] = (verdict.num_accepted, chance.probability)
    assert ways[0][1] < 0.2  # 0.1 / 0.8 accepted, then a token
    assert ways[1][0] == 1  # p > q: accepted at once


def test_many_sessions_share_passes_and_say_what_each_says_alone() -> None:
    made = model(STACKS["rotary"], "hybrid_next")
    prompts = [[5, 9, 3], [8], [1, 2, 3, 4, 5, 6]]
    alone = [final(list(run(hybrid(Session(made), prompt, GREEDY, max_tokens=15)))) for prompt in prompts]
    engine: Engine[int] = Engine()
    found: list[list[Event]] = [[] for _ in prompts]
    for index, event in engine.run([hybrid(Session(made), prompt, GREEDY, max_tokens=15) for prompt in prompts]):
        found[index].append(event)
    assert [final(events) for events in found] == alone


@pytest.mark.parametrize(
    ("knobs", "drafting", "message"),
    [
        ({"predicts": "next"}, Drafting(), "trained to predict 'next'"),
        ({"predicts": "masked"}, Drafting(), "trained to predict 'masked'"),
        ({"predicts": "hybrid", "block_size": 4}, Drafting(num_drafts=4), "1 to 3 tokens ahead"),
        ({"predicts": "hybrid_next", "block_size": 4}, Drafting(num_drafts=5), "1 to 4 tokens ahead"),
    ],
)
def test_what_a_model_did_not_learn_is_refused(knobs: dict[str, Any], drafting: Drafting, message: str) -> None:
    made = tiny.model(tiny.config(tokens=TokenIds(mask=MASK), **knobs))
    with pytest.raises(CutawayError, match=message):
        list(run(hybrid(Session(made), PROMPT, GREEDY, max_tokens=5, drafting=drafting)))


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(CutawayError, match="num_drafts is 0"):
        Drafting(num_drafts=0)
    with pytest.raises(CutawayError, match="passes is 'three'"):
        Drafting(passes="three")  # type: ignore[arg-type]
