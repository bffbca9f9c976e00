"""A prompt that is read in several passes: equal logits, cut only where nobody looks across, and memory that stays flat."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cutaway.config import PositionConfig
from cutaway.decode import Engine, Figures, Sampling, Session, Step, ask, autoregressive, run
from cutaway.decode import session as sessions
from cutaway.decode.step import Decoder
from cutaway.errors import CutawayError
from cutaway.model import Call, Tokens, layouts, visibility
from cutaway.model.visibility import cuts
from cutaway.runtime import cache as caches
from cutaway.runtime.cache import WHOLE, Cache
from tests import tiny
from tests.decode import decoder_only, prompt, translator

GREEDY = Sampling(temperature=0)
WINDOWS = tiny.stack(position=PositionConfig(kind="rotary"), layer_types=tiny.NEAR, pattern=("near", "full"))
TEXTS = {
    "causal": visibility.causal(13),
    "unflagged": Tokens(visibility.causal(13).fields),
    "full": visibility.full(13),
    "full, unflagged": Tokens(visibility.full(13).fields),
    "prefix": visibility.prefix([6], 13),
    "blocks": layouts.blocks(0, 13, 4),
    "block diffusion": layouts.block_diffusion(torch.arange(8).unsqueeze(0), 4),
    "hybrid": layouts.hybrid(torch.arange(8).unsqueeze(0), 4),
    "drafting": layouts.drafting(0, 7, [3, 3]),
    "packed": visibility.packed(torch.tensor([[0, 0, 0, 1, 1, 1, 1, 2]]), torch.tensor([[0, 1, 2, 0, 1, 2, 3, 0]])),
    "padded": visibility.padded([9], 13, is_causal=True),
}
by_text = pytest.mark.parametrize("tokens", TEXTS.values(), ids=TEXTS)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens each pass held."""
    sizes: list[int] = []
    inner = sessions._forward

    def counted(pieces: Sequence[sessions.Piece]) -> list[Tensor]:
        sizes.append(sum(len(piece.ids) for piece in pieces))
        return inner(pieces)

    monkeypatch.setattr(sessions, "_forward", counted)
    return sizes


fields = st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(-1, 2), st.integers(0, 2), st.integers(0, 1))


@given(st.lists(fields, min_size=1, max_size=9))
def test_nobody_looks_across_a_cut(row: list[tuple[int, ...]]) -> None:
    """Against the predicate itself, in every direction: each cut is one."""
    columns = torch.tensor([[*each, index] for index, each in enumerate(row)]).T.unsqueeze(1)
    tokens = Tokens(columns)
    allowed = visibility.allow(tokens, tokens)[0]
    for cut in cuts(tokens):
        assert 0 < cut < len(row)
        assert not allowed[:cut, cut:].any()


@by_text
def test_every_cut_of_one_text_is_found(tokens: Tokens) -> None:
    """Where a row is one text, what is found is all there is; parts beside each other may hide some, and padding."""
    allowed = visibility.allow(tokens, tokens)[0]
    there = [cut for cut in range(1, len(tokens)) if not allowed[:cut, cut:].any()]
    found = cuts(tokens)
    assert set(found) <= set(there)
    if len(tokens.segment.unique()) == 1:
        assert found == there


def test_cuts_of_several_rows_are_those_of_all() -> None:
    both = Tokens(torch.cat([visibility.prefix([5], 9).fields, visibility.prefix([7], 9).fields], 1))
    assert cuts(both) == [7, 8]


@by_text
@pytest.mark.parametrize("chunk", [1, 3, 5, 100])
def test_the_logits_are_those_of_one_pass(tokens: Tokens, chunk: int, passes: list[int]) -> None:
    """Whatever it sees, and through both ways that lead to a pass; and no pass holds more than it must."""
    model, ids = decoder_only(), prompt(len(tokens))
    whole = Session(model, cache=Cache(slides=False, chunk=None)).extend(ids, "all", tokens=tokens)
    assert passes == [len(ids)]
    passes.clear()
    cut = Cache(slides=False, chunk=chunk)
    session = Session(model, cache=cut)
    rows = sorted({0, 2, len(ids) - 1})
    tiny.assert_close(session.extend(ids, rows, tokens=tokens), whole[rows])
    assert session.ids == ids
    edges = [0, *cuts(tokens), len(ids)]
    least = max(b - a for a, b in pairwise(edges))
    assert all(size <= max(chunk, least) for size in passes)
    assert sum(passes) == len(ids)

    answers = []

    def decoder() -> Decoder:
        answers.append((yield from ask(Step(Session(model, cache=cut), ids, tokens, rows))))

    list(run(decoder()))
    list(Engine[int](max_row_tokens=7).run([decoder(), decoder()]))
    for answer in answers:
        tiny.assert_close(answer, whole[rows])
    assert len(answers) == 3


def test_passes_become_shorter_where_masks_would_grow(passes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """By both ways: never more entries than the area, but for a pass of the least tokens; and the same logits."""
    monkeypatch.setattr(caches, "AREA", 160)
    monkeypatch.setattr(caches, "LEAST", 2)
    model, ids = decoder_only("rotary"), prompt(70)
    session = Session(model, cache=Cache(chunk=8))
    got = session.extend(ids[:40], "all")
    sizes = list(passes)
    assert sizes[0] == 8
    assert sorted(sizes, reverse=True) == sizes
    assert all(size == 2 or size * sum(sizes[: i + 1]) <= 160 for i, size in enumerate(sizes))
    passes.clear()
    again = Session(model, cache=Cache(chunk=8))
    figures = Figures()
    list(run(autoregressive(again, ids[:40], GREEDY, max_tokens=1, eos_ids=()), figures))
    assert passes == sizes
    tiny.assert_close(got, Session(model, cache=Cache(chunk=None)).extend(ids[:40], "all"))
    passes.clear()
    session.extend(ids[40:])
    assert passes[0] == 160 // (40 + 8)


def test_a_text_in_which_all_see_all_is_never_cut(passes: list[int]) -> None:
    ids = prompt(13)
    Session(decoder_only(), cache=Cache(chunk=4)).peek(ids, tokens=visibility.full(13))
    Session(decoder_only(), cache=Cache(chunk=4)).peek(ids, tokens=visibility.prefix([13], 13))
    Session(decoder_only(), cache=Cache(chunk=4)).extend(ids, tokens=visibility.prefix([9], 13))
    assert passes == [13, 13, 9, 4]


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 6), st.integers(0, 3), st.lists(st.tuples(st.integers(1, 12), st.booleans()), max_size=5))
def test_a_sliding_store_reads_in_chunks_too(chunk: int, margin: int, steps: list[tuple[int, bool]]) -> None:
    """Kept or only looked at: what a step does not keep is read in one pass, for the store could not go back."""
    model = tiny.model(tiny.config(decoder=WINDOWS))
    session = Session(model, cache=Cache(chunk=chunk, margin=margin))
    for number, (size, is_kept) in enumerate(steps):
        new = prompt(size, seed=number)
        want = model(torch.tensor([[*session.ids, *new]]), Call(visibility.causal(session.length + size)))[0, -size:]
        got = session.extend(new, "all", keep=size if is_kept else size // 2)
        tiny.assert_close(got, want)


def test_memory_of_a_sliding_store_stays_flat_while_a_prompt_is_read() -> None:
    """In chunks the layers with a window never hold the prompt; in one pass they must."""
    most = {}
    for chunk in (8, None):
        session = Session(tiny.model(tiny.config(decoder=WINDOWS)), cache=Cache(chunk=chunk, margin=2))
        session.extend(prompt(48))
        most[chunk] = [session.store.kept(layer)[0].shape[2] for layer in (0, 1)]
    assert most == {8: [8 + 3 - 1 + 2, 48], None: [48, 48]}


def test_only_the_rows_read_go_through_the_head() -> None:
    """No [prompt, vocab] matrix on the way."""
    model, shapes = decoder_only(), []
    head = model.head
    assert head is not None
    head.register_forward_hook(lambda *call: shapes.append(tuple(call[2].shape)))
    Session(model, cache=Cache(chunk=4), is_planned=False).extend(prompt(30))
    assert shapes == [(1, 1, tiny.VOCAB)]
    Session(model, cache=Cache(chunk=4)).extend(prompt(30))
    assert set(shapes) == {(1, 1, tiny.VOCAB)}, "nor where a plan is compared with it"


class Failing:
    """A kernel that gives up at a pass."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, spec: object, q: Tensor, k: Tensor, v: Tensor, call: Call) -> Tensor:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return sessions.fused(spec, q, k, v, call)  # type: ignore[arg-type]


@pytest.mark.parametrize("cache", [WHOLE, Cache(margin=0)], ids=["whole", "sliding"])
@pytest.mark.parametrize("after", [0, 2, 3, 7, 9])
def test_what_fails_on_the_way_leaves_the_session_as_it_was(cache: Cache, after: int) -> None:
    model, ids = tiny.model(tiny.config(decoder=WINDOWS)), prompt(30)
    settings = Cache(slides=cache.slides, margin=cache.margin, chunk=4)
    session = Session(model, cache=settings)
    session.extend(ids[:9])
    session.attend = Failing(after)
    with pytest.raises(KeyboardInterrupt):
        session.extend(ids[9:])
    session.attend = sessions.fused
    assert (session.ids, session.length) == (ids[:9], 9)
    got = session.extend(ids[9:], "all")
    tiny.assert_close(got, model(torch.tensor([ids]), Call(visibility.causal(30)))[0, 9:])


def test_who_watches_sees_the_step_in_one_pass(passes: list[int]) -> None:
    watch = tiny.recorder(decoder_only(), 1, 13, "output.norm")
    Session(decoder_only(), watch=watch, cache=Cache(chunk=4)).extend(prompt(13))
    assert passes == [13]


def test_encoder_decoders_are_as_before(passes: list[int]) -> None:
    session = Session(translator(), source_ids=prompt(20), cache=Cache(chunk=4))
    session.extend(prompt(13))
    assert passes == [13]


@pytest.fixture
def long() -> tuple[list[int], Session]:
    """A prompt, and a session that reads it by eights."""
    return prompt(40), Session(decoder_only("rotary"), cache=Cache(chunk=8))


def test_the_passes_of_a_prompt_are_counted(long: tuple[list[int], Session], passes: list[int]) -> None:
    ids, session = long
    figures = Figures()
    found = [event.new for event in run(autoregressive(session, ids, GREEDY, max_tokens=3, eos_ids=()), figures)]
    assert passes == [8] * 5 + [1, 1]
    assert figures.num_passes == 7
    whole = run(autoregressive(Session(session.model), ids, GREEDY, max_tokens=3, eos_ids=()))
    assert found == [event.new for event in whole]


def test_a_prompt_that_does_not_fit_is_refused_before_any_of_it_is_read(passes: list[int]) -> None:
    session = Session(decoder_only(), cache=Cache(chunk=8))
    decoder = autoregressive(session, prompt(50), GREEDY, max_tokens=1)
    for attempt in (lambda: session.extend(prompt(50)), lambda: list(run(decoder))):
        with pytest.raises(CutawayError, match=r"would have 50 tokens.* end at 48: 2 too many.*Shorten"):
            attempt()
    assert passes == []
    assert session.length == 0
