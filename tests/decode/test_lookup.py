"""Prompt lookup: what followed earlier, against a slow twin; the text of a seed; an encoder's source."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cutaway.decode import Figures, Lookup, Sampling, Session, Way, autoregressive, fastest, lookup, natural, run
from cutaway.decode.lookup import Text
from cutaway.decode.natural import opened
from cutaway.decode.trials import SIZES, trials, ways_to_draft
from cutaway.errors import CutawayError
from tests import tiny
from tests.decode import prompt, translator
from tests.decode.guessers import final, lively

GREEDY = Sampling(temperature=0)


def followed(ids: list[int], longest: int, most: int) -> list[int]:
    """Slow twin: the longest end of the text that stands earlier, where it stands last; the text goes on as it did there."""
    for size in range(min(longest, len(ids)), 0, -1):
        for start in reversed(range(len(ids) - size)):
            if ids[start : start + size] == ids[-size:]:
                text = list(ids)
                for _ in range(most):
                    text.append(text[start + size + len(text) - len(ids)])
                return text[len(ids) :]
    return []


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=30), st.integers(1, 4), st.integers(0, 12), st.integers(0, 30))
def test_what_followed_is_found(ids: list[int], longest: int, most: int, cut: int) -> None:
    """However the text came, in one part or in two."""
    text = Text(longest)
    text.add(ids[:cut])
    text.add(ids[cut:])
    assert text.following(most) == followed(ids, longest, most)


def test_the_longest_match_wins_then_the_latest() -> None:
    text = Text(3)
    text.add([1, 2, 3, 7, 9, 2, 3, 8, 2, 3, 6, 0, 1, 2, 3])
    assert text.following(2) == [7, 9], "three tokens, though two stand later"
    text = Text(2)
    text.add([2, 3, 8, 0, 2, 3, 6, 0, 2, 3])
    assert text.following(2) == [6, 0]
    text.add([5])
    assert text.following(2) == [], "a token that is new was followed by nothing"


def test_a_text_in_circles_is_drafted_beyond_its_end() -> None:
    text = Text(3)
    text.add([1, 2, 3, 1, 2, 3])
    assert text.following(7) == [1, 2, 3, 1, 2, 3, 1]


def test_nothing_is_looked_up_behind_what_ends_a_text() -> None:
    told = list(run(lookup(Session(lively()), [5, 2, 7, 8, 5], GREEDY, max_tokens=6)))
    assert [(event.kind, event.position, event.new) for event in told[:1]] == [("draft", 5, 2)]
    assert told[1].kind != "draft"


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(seed=5),
        Sampling(temperature=0.6, top_k=5, seed=6),
        Sampling(top_p=0.8, min_p=0.05, repetition_penalty=1.2),
    ],
    ids=["plain", "top-k", "filtered"],
)
def test_the_same_seed_gives_the_same_text(sampling: Sampling) -> None:
    """Drafts that are certain stand where the token drawn is theirs: nothing but the number of passes differs."""
    made, ids, figures = lively(), [5, 9, 5, 9, 5], Figures()
    wanted = list(run(autoregressive(Session(made), ids, sampling, max_tokens=48, eos_ids=(), request=2)))
    found = run(lookup(Session(made), ids, sampling, max_tokens=48, eos_ids=(), request=2), figures)
    assert final(list(found)) == final(wanted)
    assert figures.num_accepted > 0
    assert len({event.new for event in wanted}) > 5


def test_an_encoder_decoder_is_drafted_for_from_its_source() -> None:
    """A source that holds the reply saves passes, and changes no token."""
    made, wanted = translator().double(), list[int | None]()
    source = prompt(9, seed=3)
    for _ in range(2):
        session, ids, _ = opened(made, source)
        wanted = [e.new for e in run(autoregressive(session, ids, GREEDY, max_tokens=10, eos_ids=()))]
    passes = {}
    for name, known in (("own words", None), ("source", [3, *(token or 0 for token in wanted)])):
        figures = Figures()
        session, ids, _ = opened(made, source)
        told = run(lookup(session, ids, GREEDY, max_tokens=10, source_ids=known, eos_ids=()), figures)
        assert [event.new for event in told if event.is_final] == wanted
        passes[name] = figures.num_passes
    assert passes["source"] < min(passes["own words"], 5)


def test_by_name_an_encoder_decoder_looks_through_its_source() -> None:
    made, source = translator(), prompt(12, seed=3)
    session, ids, heard = opened(made, source)
    assert heard == source
    way = Way(decoder="lookup", looking=Lookup(longest=1))
    events = list(run(natural(session, ids, GREEDY, max_tokens=10, way=way, source_ids=heard, eos_ids=())))
    session, ids, _ = opened(made, source)
    assert final(events) == final(list(run(autoregressive(session, ids, GREEDY, max_tokens=10, eos_ids=()))))
    drafts = {event.new for event in events if event.kind == "draft"}
    said = {event.new for event in events if event.is_final}
    assert drafts <= {*source, *said}
    assert drafts - said, "nothing came from the source"


def test_the_number_of_drafts_is_measured() -> None:
    made, way = lively(), Way(decoder="lookup", looking=Lookup(longest=2))
    ways = ways_to_draft(made.config, way)
    assert [each.looking for each in ways] == [Lookup(num_drafts=size, longest=2) for size in SIZES]
    found = trials(made, [5, 9, 5, 9], GREEDY, ways, num_tokens=6)
    assert [trial.seconds_per_token for trial in found] == sorted(trial.seconds_per_token for trial in found)
    assert {trial.way for trial in found} == set(ways)
    assert fastest(made, [5, 9, 5, 9], GREEDY, way) in ways
    assert fastest(translator(), [5, 9, 5, 9], GREEDY, Way(decoder="lookup")).decoder == "lookup"


def test_what_cannot_be_looked_up_is_refused() -> None:
    with pytest.raises(CutawayError, match="longest is 0"):
        Lookup(longest=0)
    with pytest.raises(CutawayError, match="settings for lookup are given: looking"):
        Way(decoder="hybrid", looking=Lookup())
    with pytest.raises(CutawayError, match="settings for lookup are given: looking"):
        Way(looking=Lookup()).decoder_for(lively().config)
    masked = tiny.config(predicts="masked", tokens=lively().config.tokens)
    with pytest.raises(CutawayError, match="Use the diffusion decoder"):
        Way(decoder="lookup").decoder_for(masked)


def test_a_gradient_is_never_asked_for() -> None:
    made = lively().requires_grad_(True)
    for _ in run(lookup(Session(made), [5, 9, 5], Sampling(), max_tokens=4)):
        assert all(parameter.grad is None for parameter in made.parameters())
    assert torch.is_grad_enabled()
