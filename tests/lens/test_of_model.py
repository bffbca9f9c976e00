"""`LM.lens`: texts become what the functions underneath are given, and what does not fit is said."""

from __future__ import annotations

import numpy
import pytest
import torch

from cutaway.errors import CutawayError
from cutaway.lens.contributions import contributions
from cutaway.lens.rollout import rollout
from cutaway.lm import LM
from tests import tiny
from tests.lens.models import one_stack, two_stacks

PROMPT, OTHER = "I love you", "I hate you"


def test_contributions_are_those_of_the_likeliest_token_or_of_the_one_named() -> None:
    lm = one_stack()
    logits = lm.logits(lm.ids(PROMPT))[0]
    found = lm.lens.contributions(PROMPT)
    assert (found.token_id, found.position) == (int(logits[-1].argmax()), len(lm.ids(PROMPT)) - 1)
    assert found.sum == pytest.approx(float(logits[-1].max()), abs=1e-4)
    other = lm.lens.contributions(lm.ids(PROMPT), "a", "b", position=4)
    seen = lm.trace(PROMPT)
    direct = contributions(lm.model, seen, 4, lm.ids("a")[-1], lm.ids("b")[-1])
    assert [part.value for part in other.parts] == pytest.approx([part.value for part in direct.parts], abs=1e-5)
    assert (other.text, other.against_text) == ("a", "b")
    assert other.total - (other.against_total or 0) == pytest.approx(float(logits[4, 97] - logits[4, 98]), abs=1e-4)


def test_a_rollout_needs_no_matrix_of_the_whole_text() -> None:
    lm = one_stack()
    found, direct = lm.lens.rollout(PROMPT), rollout(lm.model, lm.trace(PROMPT), len(lm.ids(PROMPT)) - 1)
    assert torch.allclose(torch.tensor(found.main.shares), torch.tensor(direct.main.shares), atol=1e-6)
    assert found.tokens == lm.trace(PROMPT, "embedding.sum").tokens


def test_an_encoder_decoder_reads_a_source_and_says_a_target() -> None:
    lm = two_stacks()
    said = lm.lens.contributions("abc", target="xy")
    assert said.tokens[1:] == ("x", "y")
    assert said.sum == pytest.approx(said.total, abs=1e-4)
    found = lm.lens.rollout("abc", target="xy")
    assert found.source is not None
    assert found.source_tokens == ("a", "b", "c")
    by_itself = lm.lens.logit_lens("abc")
    assert len(by_itself.tokens) > 1
    patched = lm.lens.patch("abc", "abd", targets=("xy", "xy"), right="a", wrong="b", of_encoder=True)
    assert patched.restored[0] == pytest.approx((0, 0, 1), abs=1e-4)


def test_places_may_be_counted_from_the_end_and_a_vector_of_the_source_looked_at() -> None:
    lm, two = one_stack(), two_stacks()
    assert lm.lens.rollout(PROMPT, position=-2) == lm.lens.rollout(PROMPT, position=len(lm.ids(PROMPT)) - 2)
    assert lm.lens.gradient_input(PROMPT, position=numpy.int64(3)).position == 3  # type: ignore[arg-type]
    found = two.lens.rollout("abc", target="xyzw", position=-1, of_encoder=True)
    assert (found.position, found.tokens, found.source_tokens) == (2, ("a", "b", "c"), ())
    with pytest.raises(CutawayError, match=r"position is 3\. The text has 3 tokens"):
        two.lens.rollout("abc", target="xyzw", position=3, of_encoder=True)
    with pytest.raises(CutawayError, match=r"position is '1'\. The text has"):
        lm.lens.rollout(PROMPT, position="1")  # type: ignore[arg-type]


def test_patching_and_ablation_take_words() -> None:
    lm = one_stack()
    calls: list[tuple[int, int]] = []
    found = lm.lens.patch(PROMPT, OTHER, right="a", wrong=98, progress=lambda done, total: calls.append((done, total)))
    assert (found.right, found.wrong, found.right_text, found.wrong_text) == (97, 98, "a", "b")
    assert calls
    assert found.tokens != found.other_tokens
    lost = lm.lens.ablate(PROMPT, how="mean", reference=[OTHER])
    assert (lost.measure, lost.text) == ("loss", "")
    ids = lm.ids(PROMPT)
    loss = torch.nn.functional.cross_entropy(lm.logits(ids)[0, :-1], torch.tensor(ids[1:]))
    assert lost.whole == pytest.approx(float(loss), abs=1e-4)


def test_the_repeat_test_draws_words_alone_or_those_that_are_named() -> None:
    lm = one_stack()
    assert lm.lens.induction(length=4, num_sequences=2) == lm.lens.induction(length=4, num_sequences=2)
    named = lm.lens.induction(length=4, num_sequences=2, tokens="abcdef")
    assert named != lm.lens.induction(length=4, num_sequences=2)


def test_a_model_without_tokenizer_takes_ids() -> None:
    lm = LM(tiny.model(tiny.config()), None, "bare")
    assert lm.lens.contributions([1, 2, 3], 5).text == "id 5"
    assert lm.lens.induction(length=4, num_sequences=2).length == 4
    (near,) = lm.lens.neighbours(5, count=2)
    assert (near.text, len(near.neighbours)) == ("id 5", 2)
    cells = lm.lens.logit_lens([1, 2, 3], count=2).rows[-1]
    assert [guess.id for guess in cells[-1].guesses] == lm.logits([1, 2, 3])[0, -1].topk(2).indices.tolist()
    assert lm.lens.map([5, 6, 7]).texts == ("id 5", "id 6", "id 7")
    assert lm.lens.analogy(5, 6, 7).a == "id 5"
    with pytest.raises(CutawayError, match="'bare' has no tokenizer"):
        lm.lens.contributions([1, 2, 3], "a")
    with pytest.raises(CutawayError, match="'bare' has no tokenizer"):
        lm.lens.neighbours("a")


def test_ids_may_be_numbers_of_any_library() -> None:
    lens = one_stack().lens
    for token in (numpy.int64(97), torch.tensor(97), "a"):
        assert lens.contributions(PROMPT, token, 98).token_id == 97  # type: ignore[arg-type]
    assert lens.ablate(PROMPT, numpy.int64(97)).token_id == 97


def test_what_does_not_fit_is_said() -> None:
    lens = one_stack().lens
    for ask in (lambda: lens.neighbours("a", count=0), lambda: lens.logit_lens("a", count=-1)):
        with pytest.raises(CutawayError, match=r"count is .*Ask for 1 or more"):
            ask()
    with pytest.raises(CutawayError, match="is no single token"):
        lens.contributions(PROMPT, "love")
    with pytest.raises(CutawayError, match=r"position is 99\. The text has"):
        lens.rollout(PROMPT, position=99)
    with pytest.raises(CutawayError, match="there are 2"):
        lens.contributions([PROMPT, OTHER])
    with pytest.raises(CutawayError, match="Nothing to look at yet"):
        lens.logit_lens([])
    assert len(lens.positions(1000).cosines) == 48
