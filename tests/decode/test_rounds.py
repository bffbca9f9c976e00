"""What a round of the hybrid decoder leaves behind: its drafts, the session, and what a penalty sees."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cutaway.config import PositionConfig, TokenIds
from cutaway.decode import Drafting, Sampling, Session, autoregressive, hybrid, run
from cutaway.decode.drafted import Wishes
from cutaway.decode.rounds import Rounds
from cutaway.decode.verify import Draft
from cutaway.model import Call, Transformer, layouts
from tests import tiny

MASK, SIZE = 2, 4
GREEDY = Sampling(temperature=0)
PROMPT = [5, 9, 3, 7, 11]
ROTARY = tiny.stack(position=PositionConfig(kind="rotary"))


def model(predicts: str = "hybrid") -> Transformer:
    knobs: dict[str, Any] = {"predicts": predicts, "block_size": SIZE, "tokens": TokenIds(mask=MASK)}
    return tiny.model(tiny.config(decoder=ROTARY, embedding_scale=5.0, **knobs), seed=4, dtype=torch.float64)


@pytest.mark.parametrize("passes", ["one", "two"])
@pytest.mark.parametrize("predicts", ["hybrid", "hybrid_next"])
def test_each_draft_is_what_a_fresh_pass_over_masks_says(predicts: str, passes: Any) -> None:
    """Masks stand behind what was certain when they were read: where the token of the verdict came, and after it."""
    made, text, num_drafts = model(predicts), list(PROMPT), 0
    wanted: list[int] = []
    for event in run(hybrid(Session(made), PROMPT, GREEDY, max_tokens=24, drafting=Drafting(passes=passes))):
        if event.kind == "draft":
            assert event.new == wanted[event.position - len(text)]
            num_drafts += 1
        elif event.is_final:
            before = len(text)
            row = torch.tensor([[*text, *[MASK] * SIZE]])
            logits = made(row, Call(layouts.drafting(0, before, [SIZE])))[0, before:]
            logits[:, MASK] = -torch.inf
            wanted = logits.argmax(-1).tolist()[predicts == "hybrid" :]
            assert event.new is not None
            text.append(event.new)
    assert num_drafts > 10


@pytest.mark.parametrize("passes", ["one", "two"])
def test_a_penalty_sees_the_drafts_that_stand(passes: Any) -> None:
    made, sampling = model(), Sampling(temperature=0, repetition_penalty=1.7)
    plain = [event.new for event in run(autoregressive(Session(made), PROMPT, sampling, max_tokens=30))]
    assert plain != [event.new for event in run(autoregressive(Session(made), PROMPT, GREEDY, max_tokens=30))]
    drafting = Drafting(passes=passes)
    found = run(hybrid(Session(made), PROMPT, sampling, max_tokens=30, drafting=drafting))
    assert [event.new for event in found if event.is_final] == plain


@pytest.mark.parametrize("is_told", [True, False], ids=["by an end id", "by whoever reads"])
def test_the_session_holds_what_was_said_but_for_the_last_token(is_told: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a text ends, also among drafts that stand, as the autoregressive decoder leaves it."""
    made = model()
    plain = [event.new for event in run(autoregressive(Session(made), PROMPT, GREEDY, max_tokens=12))]

    def right(rounds: Rounds, ids: Any, place: int, most: int) -> Wishes[list[Draft]]:  # noqa: ARG001
        yield from ()
        truth = plain[place - len(PROMPT) :][: min(most, 3)]
        return [Draft(token or 0) for token in truth] if rounds.proposals is not None else []

    monkeypatch.setattr(Rounds, "drafts", right)
    for number, end in enumerate(plain[:8]):
        if end in plain[:number]:
            continue
        session = Session(made)
        ends = [end] if is_told and end is not None else []
        events = run(hybrid(session, PROMPT, GREEDY, max_tokens=12, eos_ids=ends))
        kinds = []
        for event in events:
            kinds.append(event.kind)
            if not is_told and event.is_final and event.position == len(PROMPT) + number:
                events.close()  # type: ignore[attr-defined]
        assert session.ids == [*PROMPT, *plain[:number]]
        assert session.length == len(session.ids)
        if is_told:
            assert kinds.count("draft") == kinds.count("accept") + kinds.count("reject")
