"""Many decoders at once: the tokens of single runs, whatever shares their passes; budgets; joining, leaving, failing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cutaway.config import StackConfig
from cutaway.decode import Decoder, Engine, Event, Sampling, Session, Step, ask, ask_all, autoregressive, pack, run
from cutaway.decode.session import Piece, forward
from cutaway.errors import CutawayError
from cutaway.model import visibility
from tests import tiny
from tests.decode import decoder_only, prompt, translator
from tests.decode.test_session import CASES, Recorder

GREEDY = Sampling(temperature=0.0)
SEEDED = Sampling(temperature=1.2, top_p=0.95, seed=8)
LENGTHS = [5, 1, 17, 9, 30, 3]


def decoder_for(model: object, index: int, sampling: Sampling, max_tokens: int = 12) -> Decoder:
    """Prompts of ragged lengths."""
    ids = prompt(LENGTHS[index % len(LENGTHS)], seed=index)
    return autoregressive(Session(model), ids, sampling, max_tokens=max_tokens, eos_ids=(), request=index)  # type: ignore[arg-type]


def together(decoders: object, **knobs: int) -> dict[object, list[Event]]:
    """The events of each decoder."""
    events: dict[object, list[Event]] = {}
    for key, event in Engine(**knobs).run(decoders):  # type: ignore[arg-type, var-annotated]
        events.setdefault(key, []).append(event)
    return events


def assert_same(got: list[Event], want: list[Event]) -> None:
    """Same tokens at the same places; probabilities within tolerance."""
    assert [(e.kind, e.position, e.old, e.new) for e in got] == [(e.kind, e.position, e.old, e.new) for e in want]
    for one, other in zip(got, want, strict=True):
        assert one.probability == pytest.approx(other.probability, rel=1e-3, abs=1e-6)


@pytest.fixture
def row_lengths(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of tokens of every pass."""
    lengths: list[int] = []

    def counted(pieces: list[Piece]) -> list[Tensor]:
        lengths.append(sum(len(piece.ids) for piece in pieces))
        return forward(pieces)

    monkeypatch.setattr(pack, "forward", counted)
    return lengths


@pytest.mark.parametrize("stack", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("sampling", [GREEDY, SEEDED], ids=["greedy", "seeded"])
def test_a_batch_of_prompts_equals_single_runs(stack: StackConfig, sampling: Sampling) -> None:
    model = tiny.model(tiny.config(decoder=stack), std=0.6)
    got = together([decoder_for(model, index, sampling) for index in range(6)])
    for index in range(6):
        assert_same(got[index], list(run(decoder_for(model, index, sampling))))
    assert len({event.new for events in got.values() for event in events}) > 3, "tokens that do not vary prove nothing"


def test_one_pass_serves_all() -> None:
    engine: Engine[int] = Engine()
    model = decoder_only()
    list(engine.run([decoder_for(model, index, GREEDY) for index in range(6)]))
    assert engine.num_passes == 12
    assert all((figures.num_passes, figures.num_tokens) == (12, 12) for figures in engine.figures.values())
    assert not engine.is_busy


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 70), st.integers(1, 7), st.lists(st.integers(0, 20), min_size=1, max_size=7))
def test_any_budget_and_any_number_at_once(max_row_tokens: int, max_active: int, indices: list[int]) -> None:
    models = [decoder_only(), decoder_only("rotary", seed=2)]
    sizes = [3 + index % 6 for index in indices]
    pairs = list(zip(indices, sizes, strict=True))
    decoders = [decoder_for(models[index % 2], index, SEEDED, size) for index, size in pairs]
    got = together(decoders, max_row_tokens=max_row_tokens, max_active=max_active)
    for key, (index, size) in enumerate(pairs):
        assert_same(got[key], list(run(decoder_for(models[index % 2], index, SEEDED, size))))


@pytest.mark.parametrize("max_row_tokens", [1, 4, 16, 40])
def test_a_row_never_exceeds_the_budget(max_row_tokens: int, row_lengths: list[int]) -> None:
    model = decoder_only()
    together([decoder_for(model, index, GREEDY) for index in range(6)], max_row_tokens=max_row_tokens)
    assert max(row_lengths) <= max_row_tokens
    assert sum(row_lengths) == sum(LENGTHS) + 6 * 11


def test_short_steps_do_not_wait_for_a_long_prompt() -> None:
    engine: Engine[str] = Engine(max_row_tokens=4)
    model = decoder_only()
    engine.add("long", autoregressive(Session(model), prompt(30), GREEDY, max_tokens=1))
    engine.add("short", autoregressive(Session(model), [4], GREEDY, max_tokens=8, eos_ids=()))
    order = []
    while engine.is_busy:
        order += [key for key, _ in engine.step()]
    assert order == ["short"] * 8 + ["long"]
    assert engine.num_passes == 10, "three tokens of the prompt a pass"


def test_a_step_with_its_own_visibility_is_cut_only_where_nobody_looks_across(row_lengths: list[int]) -> None:
    model, ids, answers = decoder_only(), prompt(9), []

    def decoder() -> Decoder:
        session = Session(model)
        answers.append((yield from ask(Step(session, ids, visibility.prefix([6], 9), "all", keep=6))))
        answers.append((yield from ask(Step(session, ids[6:], read="all"))))
        yield Event("commit", 9, None, 4)

    alone = list(run(decoder()))
    row_lengths.clear()
    got = together([decoder_for(model, 2, GREEDY), decoder()], max_row_tokens=4)
    assert 6 in row_lengths, "the prefix, whose tokens see each other"
    assert all(length <= 4 or length == 6 for length in row_lengths)
    assert got[1] == alone
    assert_same(got[0], list(run(decoder_for(model, 2, GREEDY))))
    for one, other in zip(answers[2:], answers[:2], strict=True):
        tiny.assert_close(one, other)


@pytest.mark.parametrize(("read", "keep"), [("all", None), ([0, 4, 5, 10], 7), ("none", 0), ("last", 3)])
def test_a_cut_step_is_answered_whole(read: object, keep: int | None) -> None:
    model, ids, answers = decoder_only(), prompt(11), []

    def decoder() -> Decoder:
        session = Session(model)
        answers.append((yield from ask(Step(session, ids, read=read, keep=keep))))  # type: ignore[arg-type]
        yield Event("commit", session.length, None, 4)

    events = [*run(decoder()), *together([decoder()], max_row_tokens=3)[0]]
    assert events[0] == events[1]
    assert answers[0].shape == answers[1].shape
    if len(answers[0]):
        tiny.assert_close(answers[1], answers[0])


def test_lists_of_steps_join_the_same_rows(row_lengths: list[int]) -> None:
    model, other = decoder_only(), decoder_only("rotary", seed=2)

    def decoder(models: list[object], seed: int) -> Decoder:
        sessions = [Session(one) for one in models]  # type: ignore[arg-type]
        many = yield from ask_all([Step(session, prompt(4 + i, seed)) for i, session in enumerate(sessions)])
        for _ in range(5):
            tokens = [int(logits[-1].argmax()) for logits in many]
            for session, token in zip(sessions, tokens, strict=True):
                yield Event("commit", session.length, None, token)
            many = yield from ask_all([Step(session, [token]) for session, token in zip(sessions, tokens, strict=True)])

    casts = [[model, model, other], [other], [model, other]]
    got = together([decoder(models, seed) for seed, models in enumerate(casts)])
    assert len(row_lengths) == 2 * 6, "a pass for each model"
    for index, models in enumerate(casts):
        assert got[index] == list(run(decoder(models, index)))  # type: ignore[arg-type]


def test_encoder_decoders_and_watched_sessions_take_part() -> None:
    model, pair, watch = decoder_only(), translator(), Recorder("layers.0.attention.weights")

    def decoders() -> dict[str, Decoder]:
        return {
            "plain": decoder_for(model, 0, SEEDED),
            "pair": autoregressive(Session(pair, source_ids=prompt(7)), [], SEEDED, max_tokens=9, eos_ids=()),
            "watched": autoregressive(Session(model, watch=watch), prompt(5), SEEDED, max_tokens=4, eos_ids=()),
            "other pair": autoregressive(Session(pair, source_ids=prompt(4)), [], SEEDED, max_tokens=9, eos_ids=()),
        }

    got = together(decoders(), max_row_tokens=4)
    assert [tuple(seen.shape) for seen in watch.seen] == [(1, 4, 5, 5), (1, 4, 1, 6), (1, 4, 1, 7), (1, 4, 1, 8)]
    for key, decoder in decoders().items():
        assert_same(got[key], list(run(decoder)))
    assert got["pair"] != got["other pair"]


def test_late_ones_join_while_others_run() -> None:
    engine: Engine[int] = Engine()
    model = decoder_only()
    engine.add(0, decoder_for(model, 0, SEEDED))
    events: dict[int, list[Event]] = {0: [], 1: [], 2: []}
    for num_steps in range(100):
        if num_steps in (3, 8):
            engine.add(1 if num_steps == 3 else 2, decoder_for(model, 1 if num_steps == 3 else 2, SEEDED))
        for key, event in engine.step():
            events[key].append(event)
    assert not engine.is_busy
    assert engine.num_passes == 8 + 12
    for index in range(3):
        assert_same(events[index], list(run(decoder_for(model, index, SEEDED))))


def test_no_more_run_at_once_than_allowed() -> None:
    running, most = set(), 0

    def decoder(index: int) -> Decoder:
        nonlocal most
        running.add(index)
        most = max(most, len(running))
        session = Session(decoder_only())
        for token in range(4, 6 + index):
            yield from ask(Step(session, [token]))
        running.discard(index)
        yield Event("commit", index, None, 4)

    assert list(together([decoder(index) for index in range(7)], max_active=3)) != []
    assert most == 3


def failing(error: Exception) -> Decoder:
    """Runs for a while, then raises."""
    session = Session(decoder_only())
    for token in (4, 5, 6):
        yield from ask(Step(session, [token]))
        yield Event("commit", session.length, None, token)
    raise error


def wishing(step: Step | list[Step]) -> Decoder:
    """Asks for something impossible."""
    yield Event("commit", 0, None, 4)
    yield step


def test_one_that_raises_leaves_alone() -> None:
    model = decoder_only()
    error = KeyError("lost")
    session = Session(model)
    decoders = {
        "good": decoder_for(model, 0, SEEDED),
        "raises": failing(error),
        "bad id": wishing(Step(Session(model), [99])),
        "one bad beam": wishing([Step(Session(model), [5]), Step(session, [5], keep=2)]),
        "no step": wishing("hello"),  # type: ignore[arg-type]
        "too long": wishing(Step(Session(model), prompt(49))),
        "also good": decoder_for(model, 1, SEEDED),
    }
    engine: Engine[str] = Engine()
    got: dict[str, list[Event]] = {key: [] for key in decoders}
    with pytest.raises(KeyError, match="lost") as raised:  # noqa: PT012 (the loop goes on until all others are done)
        for key, event in engine.run(decoders):
            got[key].append(event)
    assert raised.value is error
    assert raised.value.__notes__ == ["This ended the decoder 'raises'; the others have finished."]
    assert set(engine.failures) == set(decoders) - {"good", "also good"}
    assert [len(got[key]) for key in ("raises", "bad id", "one bad beam", "no step", "too long")] == [3, 1, 1, 1, 1]
    assert session.length == 0
    for index, key in enumerate(("good", "also good")):
        assert_same(got[key], list(run(decoder_for(model, index, SEEDED))))
    with pytest.raises(CutawayError, match="The id 99"):
        raise engine.failures["bad id"]


def test_a_prompt_that_does_not_fit_is_not_begun() -> None:
    session = Session(decoder_only())
    engine: Engine[int] = Engine(max_row_tokens=8)
    with pytest.raises(CutawayError, match=r"would have 49 tokens.* end at 48"):
        list(engine.run([autoregressive(session, prompt(49), GREEDY, max_tokens=1)]))
    assert (session.length, engine.num_passes) == (0, 0)


def test_a_session_belongs_to_one_decoder() -> None:
    session = Session(decoder_only())
    decoders = [autoregressive(session, prompt(4), GREEDY, max_tokens=3, eos_ids=()) for _ in range(2)]
    engine: Engine[int] = Engine()
    with pytest.raises(CutawayError, match="The decoder 1 runs a session that another decoder is running"):
        list(engine.run(decoders))
    assert engine.figures[0].num_tokens == 3


def test_a_failed_pass_can_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model = decoder_only()
    engine: Engine[int] = Engine()
    for index in range(3):
        engine.add(index, decoder_for(model, index, GREEDY))
    events = engine.step()
    with monkeypatch.context() as patch:
        patch.setattr(type(model), "logits", lambda *_: (_ for _ in ()).throw(MemoryError("full")))
        with pytest.raises(MemoryError):
            engine.step()
    while engine.is_busy:
        events += engine.step()
    for index in range(3):
        assert_same([event for key, event in events if key == index], list(run(decoder_for(model, index, GREEDY))))


def test_a_cancelled_one_says_nothing_more() -> None:
    model = decoder_only()
    engine: Engine[int] = Engine(max_active=2)
    got: dict[int, list[Event]] = {}
    for key, event in engine.run([decoder_for(model, index, SEEDED) for index in range(4)]):
        got.setdefault(key, []).append(event)
        if key == 0 and len(got[0]) == 5:
            engine.cancel(0)
            engine.cancel(3)
            engine.cancel(7)
    assert {key: len(events) for key, events in got.items()} == {0: 5, 1: 12, 2: 12}
    assert engine.failures == {}
    for index in (1, 2):
        assert_same(got[index], list(run(decoder_for(model, index, SEEDED))))


def test_a_key_is_used_once_at_a_time() -> None:
    engine: Engine[str] = Engine(max_active=1)
    for key in ("running", "waiting"):
        engine.add(key, decoder_for(decoder_only(), 0, GREEDY))
    engine.step()
    for key in ("running", "waiting"):
        with pytest.raises(CutawayError, match="belongs to a decoder that still runs"):
            engine.add(key, decoder_for(decoder_only(), 0, GREEDY))


def test_a_decoder_without_steps_finishes_at_once() -> None:
    def decoder() -> Decoder:
        assert (yield from ask_all([])) == []
        yield Event("commit", 0, None, 4)

    assert together([decoder(), decoder()]) == {0: [Event("commit", 0, None, 4)], 1: [Event("commit", 0, None, 4)]}
    assert together([]) == {}


@pytest.mark.parametrize("knob", ["max_row_tokens", "max_active"])
def test_impossible_limits_are_refused(knob: str) -> None:
    with pytest.raises(CutawayError, match=f"{knob} is 0. It must be at least 1"):
        Engine(**{knob: 0})
    assert not Engine(**{knob: 1}).is_busy


def test_tokens_do_not_leak_between_neighbours() -> None:
    """One neighbour's prompt is changed: nobody else's logits change by a bit."""
    model = decoder_only()

    def logits_with(seed: int) -> Tensor:
        sessions = [Session(model), Session(model), Session(model)]
        steps = [
            Step(sessions[0], prompt(6), read="all"),
            Step(sessions[1], prompt(9, seed)),
            Step(sessions[2], prompt(4), read="all"),
        ]
        answers, _ = pack.execute(steps)
        return torch.cat([answers[0], answers[2]])

    assert torch.equal(logits_with(1), logits_with(2))
