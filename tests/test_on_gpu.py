"""Texts on a GPU are those of a processor, by every decoder; on a processor that is taken for one, the same passes are called."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import cutaway
from cutaway.config import ModelConfig, PositionConfig, StackConfig, TokenIds
from cutaway.decode import (
    Beam,
    Denoising,
    Drafter,
    Drafting,
    Event,
    Lookup,
    Sampling,
    Session,
    Way,
    alone,
    fastest,
    hypotheses,
    hypotheses_of_sources,
    static,
)
from cutaway.errors import CutawayError
from cutaway.lm import LM
from cutaway.model import Transformer
from cutaway.runtime.cache import Cache
from cutaway.runtime.gpu import room
from cutaway.runtime.stores import KVStore
from cutaway.weights import checkpoint
from tests import tiny
from tests.decode import prompt, translator
from tests.decode.guessers import like
from tests.gpus import Gpu, gpu
from tests.model.test_mask_adapter import STACKS as MASKABLE
from tests.model.test_mask_adapter import base, opened

__all__ = ["gpu"]
GREEDY, WARM = Sampling(temperature=0), Sampling(temperature=0.9, top_p=0.95, repetition_penalty=1.2, seed=5)
PROMPT = [5, 9, 3, 7, 5, 9]
TABLE, FAR = tiny.stack(), tiny.stack(position=PositionConfig(kind="rotary"))
WINDOW = replace(FAR, layer_types=tiny.NEAR, pattern=("near", "full"))
MASK = 2


def made(stack: StackConfig = TABLE, **knobs: Any) -> Transformer:
    """A model whose text varies, in fp64: what is chosen does not depend on how sums are rounded."""
    return tiny.model(tiny.config(decoder=stack, embedding_scale=5.0, **knobs), seed=4, dtype=torch.float64)


def hybrid(stack: StackConfig = TABLE) -> Transformer:
    return made(stack, predicts="hybrid", block_size=4, tokens=TokenIds(mask=MASK))


def told(lm: LM, read: Sequence[int] = PROMPT, count: int = 60, **options: Any) -> list[Event]:
    """All that happens, but for probabilities, which are rounded."""
    pieces = lm.stream(read, max_tokens=count, **options)
    return [replace(piece.event, probability=None) for piece in pieces if piece.event is not None]


def text(events: Sequence[Event]) -> list[int | None]:
    return [event.new for event in events if event.is_final]


def ways(model: Transformer, take: Callable[[Transformer], Transformer] = copy.deepcopy) -> dict[str, Way]:
    """Every decoder that says the next token. take: what is done with a draft model that is like the model."""
    config = model.config
    found = {
        "autoregressive": Way(decoder="autoregressive"),
        "lookup": Way(decoder="lookup", looking=Lookup(num_drafts=4, longest=1)),
    }
    if config.says_masked:
        found |= {
            passes: Way(decoder="hybrid", drafting=Drafting(num_drafts=3, passes=passes))  # type: ignore[arg-type]
            for passes in ("one", "two")
        }
    else:
        found["draft"] = Way(decoder="draft", drafter=Drafter(model=take(like(model, 0.02))))
    return found


@pytest.mark.parametrize("sampling", [GREEDY, WARM], ids=["greedy", "drawn"])
@pytest.mark.parametrize("stack", [TABLE, FAR, WINDOW], ids=["table", "far", "window"])
@pytest.mark.parametrize("is_hybrid", [False, True], ids=["next", "hybrid"])
def test_every_decoder_says_the_same(is_hybrid: bool, stack: StackConfig, sampling: Sampling, gpu: Gpu) -> None:
    """Also behind the end of a table of positions (48), and where a text outgrows its store (64)."""
    model = hybrid(stack) if is_hybrid else made(stack)
    wanted = {name: told(LM(model, None, "a"), sampling=sampling, way=way) for name, way in ways(model).items()}
    assert len(set(text(wanted["autoregressive"]))) > 5
    gpu.use()
    gpu.patch.setattr(static, "MOST_NEW", 20)
    there = gpu.take(model)
    for name, way in ways(model, gpu.take).items():
        gpu.sessions.clear()
        assert told(LM(there, None, "b"), sampling=sampling, way=way) == wanted[name], name
        assert len(gpu.sessions) == (2 if name == "draft" else 1)
        assert gpu.num_steps >= (58 if name == "autoregressive" else 0), "where a table is full, its half is a pass"
        assert {each.device.type for each in gpu.sessions} == {gpu.name}


@pytest.mark.parametrize(
    ("stack", "read", "count", "capacity"),
    [(TABLE, 6, 10, 64), (TABLE, 40, 9000, 64), (FAR, 6, 200, 256), (FAR, 6, 9000, 1088), (FAR, 2000, 9000, 3072)],
)
def test_there_is_room_for_the_text_and_no_more_than_the_model_reads(
    stack: StackConfig, read: int, count: int, capacity: int, gpu: Gpu
) -> None:
    gpu.use()
    lm = LM(gpu.take(made(stack)), None, "a")
    next(lm.stream(prompt(read), max_tokens=count))
    (session,) = gpu.sessions
    assert session.store.capacity == capacity


def test_texts_that_share_passes_share_a_model(gpu: Gpu) -> None:
    """Each in an ordinary session; its text is that which it has alone."""
    model, prompts = made(FAR), [PROMPT, [1], prompt(30)]
    plain = LM(model, None, "a")
    wanted = [text(told(plain, each, 20, request=index, sampling=WARM)) for index, each in enumerate(prompts)]
    gpu.use()
    lm = LM(gpu.take(model), None, "b")
    for way in ways(model, gpu.take).values():
        found: list[list[int | None]] = [[] for _ in prompts]
        for index, piece in lm.stream_batch(prompts, max_tokens=20, sampling=WARM, way=way):
            found[index] += [] if piece.event is None or not piece.event.is_final else [piece.event.new]
        if way.drafter is None:  # drawn, drafts of a model change the text, not what it is drawn from
            assert found == wanted
        assert [len(each) for each in found] == [20, 20, 20]
    assert not gpu.sessions


def test_beams_fork_any_session(gpu: Gpu) -> None:
    model, beam = made(FAR), Beam(num_beams=3, num_return=3)
    wanted = hypotheses(Session(model), PROMPT, beam, max_tokens=12)
    gpu.use()
    there = gpu.take(model)
    for session in (Session(there), alone(there)):
        found = hypotheses(session, PROMPT, beam, max_tokens=12)
        assert [each.ids for each in found] == [each.ids for each in wanted]


def test_an_encoder_decoder_runs_there(gpu: Gpu) -> None:
    """By itself, looked up, by beams of many sources; in an ordinary session, for it has a source."""
    model, sources, beam = translator().double(), [prompt(9), prompt(5, seed=1)], Beam(num_beams=2)
    lookup = Way(decoder="lookup", looking=Lookup(longest=1))
    plain = LM(model, None, "a")
    wanted = [told(plain, sources[0], 20, way=way) for way in (None, lookup)]
    best = hypotheses_of_sources(model, sources, beam, max_tokens=12)
    gpu.use()
    there = gpu.take(model)
    lm = LM(there, None, "b")
    assert [told(lm, sources[0], 20, way=way) for way in (None, lookup)] == wanted
    found = hypotheses_of_sources(there, sources, beam, max_tokens=12)
    assert [[each.ids for each in row] for row in found] == [[each.ids for each in row] for row in best]
    assert not gpu.sessions


@pytest.mark.parametrize("size", [None, 4], ids=["whole", "blocks"])
@pytest.mark.parametrize("order", ["confidence", "ancestral", "first_hitting", "threshold", "entropy", "margin"])
def test_holes_are_filled_there(order: Any, size: int | None, gpu: Gpu) -> None:
    model = made(predicts="masked", block_size=size, tokens=TokenIds(mask=MASK))
    options: dict[str, Any] = {"sampling": WARM, "way": Way(denoising=Denoising(order=order))}
    wanted = told(LM(model, None, "a"), [5, MASK, 7, MASK], 8, **options)
    gpu.use()
    assert told(LM(gpu.take(model), None, "b"), [5, MASK, 7, MASK], 8, **options) == wanted
    assert not gpu.sessions


def test_what_is_not_captured_runs_in_an_ordinary_session(gpu: Gpu) -> None:
    """Experts, masks told apart by an adapter, keys and values in 8 bits."""
    mixture = replace(TABLE, feedforward=MASKABLE["experts"].feedforward)
    for model, cache in (
        (made(mixture), Cache()),
        (opened(base(MASKABLE["sinusoidal"])).double(), Cache()),
        (made(), Cache(bits=8)),
    ):
        plain = LM(model, None, "a")
        plain.cache = cache
        wanted = told(plain)
        with pytest.MonkeyPatch.context() as patch:
            here = Gpu(gpu.name, patch)
            here.use()
            lm = LM(here.take(model), None, "b")
            lm.cache = cache
            assert told(lm) == wanted
            assert not here.sessions
            assert isinstance(alone(lm.model, cache=cache).store, KVStore)


def test_the_cache_says_the_type_of_the_store(gpu: Gpu) -> None:
    model, lm = tiny.lively(FAR), LM(tiny.lively(FAR), None, "a")
    gpu.use()
    there = LM(gpu.take(model), None, "b")
    for bits, dtype in ((None, torch.float32), (32, torch.float32), (16, torch.bfloat16)):
        lm.cache = there.cache = Cache(bits=bits)
        assert len(text(told(there, count=20))) == 20
        assert gpu.sessions[-1].store.keys[0].dtype == dtype  # type: ignore[attr-defined]
        assert gpu.num_steps == 19 * len(gpu.sessions)


def test_how_far_to_draft_is_measured_there(gpu: Gpu) -> None:
    gpu.use()
    there = gpu.take(made(FAR))
    way = fastest(there, PROMPT, GREEDY, Way(decoder="lookup"))
    assert way.looking is not None
    assert all(each.model.main is there.main for each in gpu.sessions)
    assert len(gpu.sessions) == 8, "four sizes, twice"


def test_edits_and_traces_and_logits_there_too(gpu: Gpu) -> None:
    model = made(FAR)
    edit = {"site": "layers.0.attention.output", "op": "scale", "value": 0.5}
    lm = LM(model, None, "a")
    wanted, logits = told(lm, count=12, edits=[edit]), lm.logits(PROMPT)
    gpu.use()
    there = LM(gpu.take(model), None, "b")
    assert told(there, count=12, edits=[edit]) == wanted
    tiny.assert_close(there.logits(PROMPT).cpu(), logits)
    tiny.assert_close(there.trace(PROMPT, "output.logits")["output.logits"].cpu(), logits)


def saved(directory: Path, dtype: torch.dtype, config: ModelConfig | None = None) -> str:
    checkpoint.save(directory, tiny.model(config or tiny.config(decoder=FAR)), dtype=dtype)
    return str(directory)


def test_a_model_is_opened_in_the_type_that_was_asked_for_or_is_stored(gpu: Gpu, tmp_path: Path) -> None:
    halves = saved(tmp_path / "half", torch.float16)
    places = {torch.bfloat16: halves, torch.float32: saved(tmp_path / "full", torch.float32)}
    gpu.use()
    for dtype, place in places.items():
        lm = cutaway.load(place, device=gpu.name)
        assert {each.dtype for each in lm.model.parameters()} == {dtype}
        assert {each.device.type for each in lm.model.parameters()} == {gpu.name}
        assert len(text(told(lm, count=8))) == 8
    assert cutaway.load(halves, device=gpu.name, bits=32).model.token.weight.dtype == torch.float32
    assert cutaway.load(halves, device=gpu.name, dtype=torch.float64).model.token.weight.dtype == torch.float64
    with pytest.raises(CutawayError, match=r"bits is 8, .* kept in 32 or 16 bits"):
        cutaway.load(halves, device=gpu.name, bits=8)


def test_memory_that_does_not_suffice_is_said_before_anything_is_moved(gpu: Gpu, tmp_path: Path) -> None:
    place = saved(tmp_path / "model", torch.float32)
    gpu.use()
    lm = cutaway.load(place, device=gpu.name)
    gpu.patch.setattr(room, "bytes_left", lambda _: 5000)
    with pytest.raises(CutawayError, match=r"would need 1,0\d\d,\d\d\d,\d\d\d bytes .* and 5,000 .* are available"):
        cutaway.load(place, device=gpu.name)
    with pytest.raises(CutawayError, match=r"would need 16,384 bytes"):
        lm.generate(PROMPT, max_tokens=50)
