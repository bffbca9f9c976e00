"""Many sources at once equal each by itself, whatever stands beside it; and clear refusals."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest
import torch

from cutaway.config import PositionConfig, TokenIds
from cutaway.decode import Beam, Constraints, Hypothesis, Session, hypotheses, hypotheses_of_sources
from cutaway.errors import CutawayError
from cutaway.model import Call, Memory, Transformer, visibility
from cutaway.runtime.stores import KVStore
from tests import tiny
from tests.decode import decoder_only, prompt, translator

SOURCES = [prompt(length, seed=seed) for seed, length in enumerate((5, 9, 1, 7, 5, 3))]
BEAMS = [
    Beam(num_beams=1),
    Beam(num_beams=3, num_return=3, length_penalty=0.6),
    Beam(
        num_beams=4, num_return=2, early_stopping=True, constraints=Constraints(no_repeat=2, first_id=9, min_tokens=3)
    ),
    Beam(num_beams=2, early_stopping="never", length_penalty=2.0, repetition_penalty=1.2),
]
ENDS = (2, 7, 11)


def one_by_one(model: Transformer, sources: list[list[int]], beam: Beam, **knobs: Any) -> list[list[Hypothesis]]:
    """Slow twin: a session for each beam of each source."""
    return [hypotheses(Session(model, source_ids=source), [], beam, **knobs) for source in sources]


def assert_alike(many: list[list[Hypothesis]], single: list[list[Hypothesis]]) -> None:
    assert [[text.ids for text in texts] for texts in many] == [[text.ids for text in texts] for texts in single]
    for one, other in zip(chain(*many), chain(*single), strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-5 * max(1.0, abs(other.score)))
        assert one.log_probs == pytest.approx(other.log_probs, abs=1e-4)


@pytest.mark.parametrize("beam", BEAMS, ids=lambda beam: str(beam.num_beams))
@pytest.mark.parametrize("kind", ["learned", "rotary", "relative", "alibi"])
def test_many_equal_each_alone(kind: str, beam: Beam) -> None:
    model, knobs = translator(kind), {"max_tokens": 12, "eos_ids": ENDS}
    single = one_by_one(model, SOURCES, beam, **knobs)
    assert_alike(hypotheses_of_sources(model, SOURCES, beam, **knobs), single)
    assert len({text.ids for texts in single for text in texts}) >= 3, "the source must matter"
    if beam.num_beams == 3:
        assert_alike(hypotheses_of_sources(model, SOURCES[::-1], beam, **knobs, batch_size=3)[::-1], single)
        assert_alike(hypotheses_of_sources(model, SOURCES, beam, **knobs, attend=None), single)


def test_windows_grouped_heads_and_shared_layers() -> None:
    position = PositionConfig(kind="relative", num_buckets=8, max_distance=12)
    stack = tiny.stack(position=position, layer_types=tiny.NEAR, pattern=("near", "full"), num_layers=4, num_shared=2)
    model = tiny.model(tiny.config(encoder=stack, decoder=stack, tokens=TokenIds(bos=1)), std=0.6)
    knobs = {"max_tokens": 12, "eos_ids": ENDS}
    assert_alike(
        hypotheses_of_sources(model, SOURCES, BEAMS[1], **knobs), one_by_one(model, SOURCES, BEAMS[1], **knobs)
    )


def test_a_prompt_of_several_ids() -> None:
    model, start = translator(), [3, 8, 4]
    got = hypotheses_of_sources(model, SOURCES, BEAMS[1], max_tokens=9, prompt_ids=start)
    assert_alike(
        got, [hypotheses(Session(model, source_ids=source), start, BEAMS[1], max_tokens=9) for source in SOURCES]
    )


def test_the_end_of_the_position_table_ends_the_texts() -> None:
    model, beam = translator(), Beam(num_beams=2)
    found = hypotheses_of_sources(model, SOURCES[:3], beam, max_tokens=100, eos_ids=())
    assert [len(texts[0].ids) for texts in found] == [48] * 3
    assert_alike(found, one_by_one(model, SOURCES[:3], beam, max_tokens=100, eos_ids=()))


def test_no_sources_have_no_hypotheses() -> None:
    assert hypotheses_of_sources(translator(), [], Beam(), max_tokens=3) == []


def test_rows_that_move_in_step_share_their_visibility() -> None:
    stack = tiny.stack()
    store = KVStore(stack, batch=3, capacity=2)
    store.begin(visibility.causal(2))
    store.reorder(torch.tensor([0, 0, 2, 1, 1]))
    assert store.begin(visibility.causal(1, 2)).fields.shape == (6, 1, 3)
    assert store.kept(0)[0].shape[0] == 5
    ragged = visibility.padded([1, 2, 2, 1, 1], 2, is_causal=True)
    fields = store.begin(ragged).fields
    assert fields.shape == (6, 5, 5)
    assert torch.equal(fields[:, :, 3:5], ragged.fields)
    assert fields[5, :, :3].tolist() == [[0, 1, 2]] * 5


def test_a_memory_of_chosen_rows() -> None:
    model = translator()
    tokens = visibility.padded([4, 2], 4, is_causal=False)
    call = Call(tokens)
    memory = model.fill(model.encode(tiny.ids(2, 4), call), call)
    chosen: Memory = memory.select(torch.tensor([1, 1, 0]))
    target = tiny.ids(3, 5)
    got = model(target, Call(visibility.causal(5), memory=chosen))
    for row, owner in enumerate((1, 1, 0)):
        own = memory.select(torch.tensor([owner]))
        tiny.assert_close(got[row : row + 1], model(target[row : row + 1], Call(visibility.causal(5), memory=own)))


@pytest.mark.parametrize(
    ("model", "sources", "knobs", "message"),
    [
        (decoder_only(), [[4]], {}, "has no encoder and decoder"),
        (translator(), [[4], []], {}, "Open the session with source_ids of at least one id"),
        (translator(), [[4, 31]], {}, "The id 31 is not in the vocabulary"),
        (translator(), [[4] * 49], {}, "would have 49 tokens"),
        (translator(), [[4]], {"batch_size": 0}, "batch_size is 0"),
        (translator(), [[4]], {"max_tokens": 0}, "max_tokens is 0"),
        (translator(), [[4]], {"prompt_ids": [77]}, "The id 77 is not in the vocabulary"),
        (translator(), [[4]], {"prompt_ids": [4] * 49}, "would have 49 tokens"),
    ],
)
def test_impossible_wishes_are_refused(model: Transformer, sources: Any, knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(CutawayError) as caught:
        hypotheses_of_sources(model, sources, Beam(), **{"max_tokens": 3, **knobs})
    assert message in str(caught.value)
