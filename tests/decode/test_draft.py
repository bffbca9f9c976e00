"""A draft model: which ones can draft, how its session follows the text, and what stands of what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from cutaway.config import TokenIds
from cutaway.decode import (
    Constraints,
    Drafter,
    Engine,
    Figures,
    Sampling,
    Session,
    Step,
    Way,
    autoregressive,
    draft,
    fastest,
    natural,
    run,
)
from cutaway.decode.draft import num_shared
from cutaway.decode.natural import opened
from cutaway.decode.trials import ways_to_draft
from cutaway.errors import CutawayError
from cutaway.model import Transformer
from cutaway.text import Tokenizer, train_tokenizer
from tests import tiny
from tests.decode import prompt, translator
from tests.decode.guessers import final, like, lively

GREEDY = Sampling(temperature=0)
PROMPT = [5, 9, 3, 7, 11]
BYTES = train_tokenizer("byte", [])


@dataclass
class Named:
    """A model with a tokenizer."""

    model: Transformer
    own_tokenizer: Tokenizer | None
    name: str


def plain(model: Transformer, ids: list[int], max_tokens: int) -> list[tuple[int, int | None]]:
    return final(list(run(autoregressive(Session(model), ids, GREEDY, max_tokens=max_tokens, eos_ids=()))))


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(seed=4)], ids=["greedy", "sampled"])
def test_a_model_that_drafts_for_itself_is_always_right(sampling: Sampling) -> None:
    made, figures = lively(), Figures()
    decoder = draft(
        Session(made), Session(made), PROMPT, sampling, max_tokens=20, drafter=Drafter(model=made), eos_ids=()
    )
    list(run(decoder, figures))
    assert figures.acceptance == 1
    assert (figures.num_passes, figures.num_draft_passes) == (4, 16)
    assert figures.tokens_per_pass == 5


@pytest.mark.parametrize("noise", [0.05, 0.5], ids=["near", "far"])
def test_each_draft_is_what_the_draft_model_says_next(noise: float) -> None:
    """By a fresh pass over the text and the drafts before it, whatever fell before."""
    made = lively()
    small = like(made, noise)
    text, drafts = list(PROMPT), list[int]()
    told = draft(Session(made), Session(small), PROMPT, GREEDY, max_tokens=20, eos_ids=())
    num_drafts = 0
    for event in run(told):
        if event.kind == "draft":
            assert event.new == int(Session(small).extend([*text, *drafts])[-1].argmax())
            drafts.append(event.new)
            num_drafts += 1
        elif event.is_final and event.new is not None:
            text.append(event.new)
            drafts = []
    assert num_drafts > 10


@pytest.mark.parametrize("context", [4, 9, 20])
def test_a_draft_model_that_reads_less_forgets_what_lay_before(context: int) -> None:
    made = lively()
    small = tiny.model(tiny.config(context=context, embedding_scale=5.0), seed=4, dtype=torch.float64)
    session, figures = Session(small), Figures()
    decoder = draft(Session(made), session, PROMPT * 3, GREEDY, max_tokens=30, eos_ids=())
    found = []
    for event in run(decoder, figures):
        assert session.length <= context
        found.append(event)
    assert final(found) == plain(made, PROMPT * 3, 30)
    assert figures.num_draft_passes > 20, "it drafts on"


def test_a_draft_model_reads_its_prompt_once() -> None:
    made = lively()
    small, lengths = like(made, 0.05), list[int]()

    def watched(decoder: Any) -> Any:
        answer = None
        while True:
            try:
                wish = decoder.send(answer)
            except StopIteration:
                return
            if isinstance(wish, Step) and wish.is_draft:
                lengths.append(len(wish.ids))
            answer = yield wish

    list(run(watched(draft(Session(made), Session(small), PROMPT * 3, GREEDY, max_tokens=20, eos_ids=()))))
    assert lengths[0] == 15
    assert set(lengths[1:]) == {1, 2}, "the token that was said, and the last draft where all stood"


@pytest.mark.parametrize(("mine", "theirs"), [(31, 37), (37, 31)], ids=["more", "fewer"])
@pytest.mark.parametrize("sampling", [GREEDY, Sampling(temperature=2.0)], ids=["greedy", "sampled"])
def test_models_with_more_or_fewer_rows_share_ids(mine: int, theirs: int, sampling: Sampling) -> None:
    """Ids beyond those that both share are no drafts, and a text that holds one is written without drafts."""
    made, small = (
        tiny.model(tiny.config(vocab_size=size, embedding_scale=5.0), seed=4, dtype=torch.float64)
        for size in (mine, theirs)
    )
    plan = Drafter(model=small, num_shared=29)
    for ids, rules in (
        (PROMPT, Constraints()),
        ([*PROMPT, 30], Constraints()),
        (PROMPT, Constraints(first_id=mine - 1)),
    ):
        knobs: dict[str, Any] = {"max_tokens": 12, "eos_ids": (), "constraints": rules}
        told = list(run(draft(Session(made), Session(small), ids, sampling, drafter=plan, **knobs)))
        drafts = [event.new for event in told if event.kind == "draft"]
        if rules.first_id is not None:
            assert drafts == [mine - 1], "what is forced is drafted, though nothing behind it"
        else:
            assert all(token is not None and token < 29 for token in drafts)
            assert bool(drafts) == (30 not in ids)
        if sampling.is_greedy:
            assert final(told) == final(list(run(autoregressive(Session(made), ids, GREEDY, **knobs))))
        assert len(final(told)) == 12


def test_an_encoder_decoder_is_drafted_for_by_one() -> None:
    made, source = translator().double(), prompt(9, seed=3)
    small = like(made, 0.02)
    session, ids, heard = opened(made, source)
    wanted = final(list(run(autoregressive(session, ids, GREEDY, max_tokens=12, eos_ids=()))))
    figures = Figures()
    session, ids, heard = opened(made, source)
    way = Way(decoder="draft", drafter=Drafter(model=small))
    told = run(natural(session, ids, GREEDY, max_tokens=12, way=way, source_ids=heard, eos_ids=()), figures)
    assert final(list(told)) == wanted
    assert figures.num_accepted > 3
    assert fastest(made, source, GREEDY, way) in ways_to_draft(made.config, way)


def test_one_model_is_the_target_of_one_and_drafts_for_another() -> None:
    """Each counts its own passes, also where a pass serves both."""
    made = lively()
    engine: Engine[str] = Engine()
    decoders: dict[str, Any] = {
        "plain": autoregressive(Session(made), PROMPT, GREEDY, max_tokens=20, eos_ids=()),
        "drafted": draft(Session(made), Session(made), PROMPT, GREEDY, max_tokens=20, eos_ids=()),
    }
    found: dict[str, list[Any]] = {name: [] for name in decoders}
    for name, event in engine.run(decoders):
        found[name].append(event)
    assert final(found["plain"]) == final(found["drafted"])
    assert [(each.num_passes, each.num_draft_passes) for each in engine.figures.values()] == [(20, 0), (4, 16)]
    assert engine.num_passes == 20


def test_rules_that_leave_the_draft_model_nothing_end_the_drafts() -> None:
    """It shares three ids, and all are banned: the other model goes on alone."""
    made, rules = lively(), Constraints(banned_ids=(0, 1, 2))
    plan, small = Drafter(model=made, num_shared=3), Session(like(made, 0.1))
    told = list(run(draft(Session(made), small, [1, 2, 1], GREEDY, max_tokens=3, drafter=plan, constraints=rules)))
    assert len(final(told)) == 3
    assert not any(event.kind == "draft" for event in told)


def test_ids_are_shared_where_tokens_are() -> None:
    made = tiny.model(tiny.config(vocab_size=BYTES.vocab_size))
    padded = tiny.model(tiny.config(vocab_size=BYTES.vocab_size + 40))
    one, other = Named(made, BYTES, "one"), Named(padded, BYTES.with_mask(), "other")
    assert num_shared(one, other) == num_shared(other, one) == BYTES.vocab_size
    assert Drafter.of(one, other, num_drafts=7) == Drafter(model=made, num_drafts=7, num_shared=BYTES.vocab_size)
    assert Drafter.of(one, Named(made, None, "none")).num_shared is None
    words = train_tokenizer("word", ["the cat saw the dog"])
    with pytest.raises(
        CutawayError, match=r"'words' cannot draft for 'one': the id \d+ is '.*' to the one and '.*' to the"
    ):
        num_shared(Named(made, words, "words"), one)


@pytest.mark.parametrize(
    ("small", "knobs", "message"),
    [
        (lambda: tiny.model(tiny.config(vocab_size=40)), {}, "has 40 ids, and the model it drafts for 31"),
        (lambda: tiny.model(tiny.config()), {"num_shared": 32}, "num_shared is 32. Allowed: 1 to 31"),
        (
            lambda: tiny.model(tiny.config(predicts="masked", tokens=TokenIds(mask=2))),
            {},
            "trained to fill in hidden tokens. Give another",
        ),
        (translator, {}, "The model reads no source, and its draft model one"),
        (lambda: tiny.model(tiny.config(encoder=tiny.stack())), {}, "A draft model says the next token"),
    ],
)
def test_a_model_that_cannot_draft_is_refused(small: Any, knobs: dict[str, Any], message: str) -> None:
    made = lively()
    way = Way(decoder="draft", drafter=Drafter(model=small(), **knobs))
    with pytest.raises(CutawayError, match=message):
        list(run(natural(Session(made), PROMPT, GREEDY, max_tokens=4, way=way)))


def test_what_is_missing_is_said() -> None:
    made = lively()
    with pytest.raises(CutawayError, match="no draft model is given"):
        Way(decoder="draft")
    with pytest.raises(CutawayError, match="settings for draft are given: drafter"):
        Way(decoder="lookup", drafter=Drafter(model=made))
    used = Session(made)
    used.extend([4])
    with pytest.raises(CutawayError, match="draft model's session holds 1 tokens"):
        list(run(draft(Session(made), used, PROMPT, GREEDY, max_tokens=4)))
    way = Way(decoder="draft", drafter=Drafter(model=made))
    source = translator()
    with pytest.raises(CutawayError, match="The model reads a source, and its draft model none"):
        natural(Session(source, source_ids=[5]), [], GREEDY, max_tokens=4, way=way, source_ids=[5])


def test_drafts_are_drawn_from_where_the_model_with_the_say_lives() -> None:
    """Logits of another type are compared as they are: fp32 drafts for fp64."""
    made = lively()
    small: Transformer = like(made, 0.05).float()
    logits: Tensor = Session(small).extend(PROMPT)
    assert logits.dtype == torch.float32
    told = draft(Session(made), Session(small), PROMPT, GREEDY, max_tokens=12, eos_ids=())
    assert final(list(run(told))) == plain(made, PROMPT, 12)
