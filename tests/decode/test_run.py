"""The plain decoder alone: equal to picking tokens from full passes; where it ends; what it says; lists of Steps share passes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from cutaway.config import TokenIds
from cutaway.decode import (
    Decoder,
    Event,
    Figures,
    Sampling,
    Session,
    Step,
    ask,
    ask_all,
    autoregressive,
    choose,
    distribution,
    replay,
    run,
)
from cutaway.errors import CutawayError
from cutaway.model import Call, Transformer, visibility
from tests import tiny
from tests.decode import decoder_only, prompt, translator

GREEDY = Sampling(temperature=0.0)
SAMPLINGS = [
    GREEDY,
    Sampling(seed=4),
    Sampling(temperature=1.5, top_k=9, top_p=0.95, min_p=0.01, repetition_penalty=1.2, seed=5),
]


def generate(session: Session, ids: list[int], sampling: Sampling = GREEDY, **knobs: object) -> list[Event]:
    """All events of the plain decoder; no token ends it unless told."""
    return list(run(autoregressive(session, ids, sampling, **{"max_tokens": 20, "eos_ids": (), **knobs})))  # type: ignore[arg-type]


def tokens_of(events: list[Event]) -> list[int]:
    return [event.new for event in events if event.new is not None]


def by_full_passes(model: Transformer, ids: list[int], sampling: Sampling, count: int, request: int = 0) -> list[int]:
    """Slow twin: the whole text again for every token."""
    ids, start = list(ids), len(ids)
    for position in range(start, start + count):
        logits = model(torch.tensor([ids]), Call(visibility.causal(len(ids))))[0, -1]
        ids.append(choose(logits, ids, sampling, request, position)[0])
    return ids[start:]


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("kind", ["learned", "rotary", "relative"])
def test_cached_generation_equals_full_passes(kind: str, sampling: Sampling) -> None:
    model, ids = decoder_only(kind), prompt(6)
    tokens = tokens_of(generate(Session(model), ids, sampling, request=3))
    assert tokens == by_full_passes(model, ids, sampling, 20, request=3)
    assert len(set(tokens)) > 3, "tokens that do not vary prove nothing"


def test_an_encoder_decoder_starts_with_its_own_id() -> None:
    model, source = translator(), prompt(8, seed=2)
    tokens = tokens_of(generate(Session(model, source_ids=source), []))
    memory = model.encode(torch.tensor([source]), Call(visibility.full(8)))
    ids = [3]
    for _ in range(20):
        ids.append(int(model(torch.tensor([ids]), Call(visibility.causal(len(ids)), memory=memory))[0, -1].argmax()))
    assert tokens == ids[1:]
    assert len(set(tokens)) > 3, "tokens that do not vary prove nothing"


def test_events_replay_the_sequence_with_its_probabilities() -> None:
    model, ids, sampling = decoder_only(), prompt(6), SAMPLINGS[2]
    session = Session(model)
    events = generate(session, ids, sampling)
    assert [event.position for event in events] == list(range(6, 26))
    assert all((event.kind, event.old, event.is_final) == ("commit", None, True) for event in events)
    assert list(replay(events).values()) == tokens_of(events)
    assert session.ids == [*ids, *tokens_of(events)[:-1]], "the last token needed no pass"
    text = [*ids, *tokens_of(events)]
    logits = model(torch.tensor([text]), Call(visibility.causal(len(text))))[0]
    for event in events:
        wanted = distribution(logits[event.position - 1], text[: event.position], sampling)
        assert event.probability == pytest.approx(float(wanted[event.new]), rel=1e-3)


def test_a_stop_id_ends_it_and_is_told() -> None:
    model, ids = decoder_only(), prompt(6)
    free = tokens_of(generate(Session(model), ids))
    end = free[5]
    assert tokens_of(generate(Session(model), ids, eos_ids={end})) == free[: free.index(end) + 1]


def test_the_models_own_end_id_is_the_default() -> None:
    ids = prompt(6)
    free = tokens_of(generate(Session(decoder_only()), ids))
    model = decoder_only(tokens=TokenIds(eos=free[4]))
    assert tokens_of(generate(Session(model), ids, eos_ids=None)) == free[: free.index(free[4]) + 1]


def test_an_empty_prompt_begins_with_the_models_own_id() -> None:
    model = decoder_only()
    events = generate(Session(model), [])
    assert tokens_of(events) == tokens_of(generate(Session(model), [1]))
    assert events[0].position == 1
    with pytest.raises(CutawayError, match="no id that begins a text"):
        generate(Session(decoder_only(tokens=TokenIds())), [])


def test_a_session_goes_on_where_it_was() -> None:
    model, ids = decoder_only(), prompt(6)
    session = Session(model)
    first = tokens_of(generate(session, ids, max_tokens=5))
    second = generate(session, [first[-1]], max_tokens=5)
    assert [*first, *tokens_of(second)] == tokens_of(generate(Session(model), ids, max_tokens=10))
    with pytest.raises(CutawayError, match="session's 15 tokens have already been run"):
        generate(session, [])


def test_a_full_position_table_is_begun_again_with_the_last_half() -> None:
    model, ids, context = decoder_only(), prompt(44), 48
    events = generate(Session(model), ids, max_tokens=60)
    assert [event.position for event in events] == list(range(44, 104))
    window, tokens = list(ids), []
    for _ in range(60):
        logits = model(torch.tensor([window]), Call(visibility.causal(len(window))))[0, -1]
        tokens.append(int(logits.argmax()))
        window.append(tokens[-1])
        if len(window) > context:
            window = window[-((context + 1) // 2) :]
    assert tokens_of(events) == tokens
    assert len(set(tokens)) > 3, "the tokens vary"


def test_a_prompt_longer_than_the_position_table_is_refused() -> None:
    with pytest.raises(CutawayError, match="would have 49 tokens"):
        generate(Session(decoder_only()), prompt(49))


def test_figures() -> None:
    figures = Figures()
    events = run(autoregressive(Session(decoder_only()), [4, 5], GREEDY, max_tokens=7, eos_ids=()), figures)
    next(events)
    first = figures.seconds_to_first
    assert (figures.num_passes, figures.num_tokens) == (1, 1)
    assert len(list(events)) == 6
    assert (figures.num_passes, figures.num_tokens, figures.tokens_per_pass) == (7, 7, 1.0)
    assert first is not None
    assert figures.seconds_to_first == first
    assert 0 < first < figures.seconds
    assert figures.tokens_per_second == pytest.approx(7 / figures.seconds)


def test_figures_count_places_that_are_final() -> None:
    def decoder() -> Decoder:
        yield from (Event("draft", 3, None, 9, 0.5), Event("draft", 4, None, 8, 0.5), Event("draft", 5, None, 7, 0.5))
        yield from (Event("accept", 3, 9, 9), Event("reject", 4, 8, None), Event("reject", 5, 7, None))
        yield from (Event("commit", 4, None, 6, 0.5), Event("commit", 6, None, 5), Event("remask", 6, 5, 0))

    figures = Figures()
    events = list(run(decoder(), figures))
    assert figures.num_tokens == 2
    assert figures.tokens_per_pass == 0.0
    assert replay(events) == {3: 9, 4: 6, 6: 0}


def beams(sessions: list[Session], ids: list[int], answers: list[list[Tensor]]) -> Decoder:
    """Every session gets the prompt, then goes its own way."""
    logits = yield from ask_all([Step(session, ids) for session in sessions])
    for rank in range(4):
        answers.append(logits)
        steps = [
            Step(session, [int(row[-1].topk(rank + 1).indices[-1])])
            for session, row in zip(sessions, logits, strict=True)
        ]
        logits = yield from ask_all(steps)
        yield Event("commit", sessions[0].length, None, steps[0].ids[0])


def test_a_list_of_steps_shares_a_pass_where_the_model_is_the_same() -> None:
    model, other = decoder_only(), decoder_only("rotary", seed=2)
    shared, figures, ids = [], Figures(), prompt(5)
    list(run(beams([Session(model), Session(other), Session(model)], ids, shared), figures))
    assert figures.num_passes == 2 * 5
    for index, one in enumerate((model, other, model)):
        alone: list[list[Tensor]] = []
        list(run(beams([Session(one)], ids, alone)))
        for got, want in zip(shared, alone, strict=True):
            tiny.assert_close(got[index], want[0])


def test_kernels_do_not_share_a_pass() -> None:
    model, figures = decoder_only(), Figures()
    list(run(beams([Session(model), Session(model, attend=None)], prompt(5), []), figures))
    assert figures.num_passes == 2 * 5


def test_steps_on_one_session_run_in_order() -> None:
    model, ids, answers = decoder_only(), prompt(8), []

    def decoder(session: Session) -> Decoder:
        steps = [Step(session, ids[:4], read="all"), Step(session, [9, 9], keep=0), Step(session, ids[4:], read="all")]
        answers.extend((yield from ask_all(steps)))
        answers.extend((yield from ask_all([])))
        answers.append((yield from ask(Step(session, [5], read=[]))))
        yield Event("commit", 0, None, 0)

    figures = Figures()
    list(run(decoder(Session(model)), figures))
    assert figures.num_passes == 4
    want = model(torch.tensor([ids]), Call(visibility.causal(8)))[0]
    tiny.assert_close(torch.cat([answers[0], answers[2]]), want)
    assert [tuple(answer.shape) for answer in answers] == [(4, 31), (1, 31), (4, 31), (0, 31)]


def test_leaving_early_closes_the_decoder() -> None:
    closed = []

    def decoder() -> Decoder:
        try:
            yield Event("commit", 0, None, 4)
            yield Event("commit", 1, None, 5)
        finally:
            closed.append(True)

    events: Iterator[Event] = run(decoder())
    assert next(events).new == 4
    events.close()  # type: ignore[attr-defined]
    assert closed == [True]


def test_an_error_of_a_step_is_raised_where_it_happens() -> None:
    def decoder() -> Decoder:
        yield Event("commit", 0, None, 4)
        yield from ask(Step(Session(decoder_only()), [99]))

    events = run(decoder())
    assert next(events).new == 4
    with pytest.raises(CutawayError, match="The id 99"):
        next(events)
