"""Sessions: cached = uncached within tolerance; rewinding, forking and peeking leave exactly what they should; bad input."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cutaway.config import ModelConfig, PositionConfig, StackConfig
from cutaway.decode import Session
from cutaway.errors import CutawayError
from cutaway.model import Call, Transformer, visibility
from cutaway.runtime.attend import fused
from tests import tiny
from tests.decode import decoder_only, prompt, translator

CASES = {
    **{
        f"{kind}{' windowed' if layer_types else ''}": tiny.stack(position=PositionConfig(kind=kind), **layer_types)
        for kind in tiny.POSITIONS
        for layer_types in ({}, {"layer_types": tiny.NEAR, "pattern": ("near", "full")})
    },
    **tiny.variants(),
}


class Recorder:
    """A watcher of one site."""

    def __init__(self, site: str) -> None:
        self.site = site
        self.seen: list[Tensor] = []

    def wants(self, site: str) -> bool:
        return site == self.site

    def __call__(self, site: str, tensor: Tensor) -> Tensor:
        if self.wants(site):
            self.seen.append(tensor)
        return tensor


def uncached(model: Transformer, ids: list[int]) -> Tensor:
    """The whole text in one pass by the readable softmax, without a store: [position, vocab]."""
    return model(torch.tensor([ids]), Call(visibility.causal(len(ids))))[0]


@pytest.mark.parametrize("stack", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("attend", [fused, None], ids=["fused", "readable"])
def test_cached_equals_uncached(stack: StackConfig, attend: object) -> None:
    model, ids = tiny.model(tiny.config(decoder=stack)), prompt(20)
    session = Session(model, attend=attend)  # type: ignore[arg-type]
    parts = [
        session.extend(ids[:7], "all"),
        *(session.extend([i], "all") for i in ids[7:12]),
        session.extend(ids[12:], "all"),
    ]
    tiny.assert_close(torch.cat(parts), uncached(model, ids))
    assert session.ids == ids
    assert session.length == 20


@pytest.mark.parametrize("kind", tiny.POSITIONS)
def test_an_encoder_decoder_session_equals_the_full_pass(kind: str) -> None:
    model, source, target = translator(kind), prompt(9, seed=3), prompt(12)
    session = Session(model, source_ids=source)
    got = torch.cat([session.extend(target[:3], "all"), *(session.extend([i]) for i in target[3:])])
    memory = model.encode(torch.tensor([source]), Call(visibility.full(9)))
    want = model(torch.tensor([target]), Call(visibility.causal(12), memory=memory))[0]
    tiny.assert_close(got, want)
    other = Session(model, source_ids=prompt(9, seed=4)).extend(target, "all")
    assert (other - want).abs().max() > 0.1, "the source must matter"


@pytest.mark.parametrize("kind", ["learned", "rotary"])
def test_a_rewound_session_continues_bit_for_bit(kind: str) -> None:
    model, ids = decoder_only(kind), prompt(10)
    fresh, rewound = Session(model), Session(model)
    fresh.extend(ids[:6])
    rewound.extend(ids[:6])
    rewound.extend(
        prompt(100 if kind == "rotary" else 40, seed=9)
    )  # the store grows, and its end is full of other keys
    rewound.rewind(6)
    assert rewound.ids == ids[:6]
    for end in (7, 10):
        assert torch.equal(
            fresh.extend(ids[fresh.length : end], "all"), rewound.extend(ids[rewound.length : end], "all")
        )


def test_a_session_can_be_rewound_to_nothing() -> None:
    model, ids = decoder_only(), prompt(6)
    session = Session(model)
    first = session.extend(ids, "all")
    session.rewind(0)
    assert torch.equal(session.extend(ids, "all"), first)


def test_forks_do_not_know_each_other() -> None:
    model, ids = decoder_only(), prompt(6)
    session = Session(model)
    session.extend(ids)
    twin = session.fork()
    twin.extend([5, 6])
    twin.rewind(3)
    twin.extend([7, 8])
    session.extend([9])
    assert (session.ids, twin.ids) == ([*ids, 9], [*ids[:3], 7, 8])
    for one in (session, twin):
        alone = Session(model)
        alone.extend(ids)
        alone.rewind(6 if one is session else 3)
        alone.extend(one.ids[alone.length :])
        assert torch.equal(one.extend([4, 4], "all"), alone.extend([4, 4], "all"))


def test_a_fork_keeps_the_memory() -> None:
    session = Session(translator(), source_ids=prompt(5))
    session.extend([3])
    twin = session.fork()
    assert torch.equal(twin.extend([7]), session.extend([7]))


def test_peeking_leaves_nothing() -> None:
    model, ids = decoder_only(), prompt(6)
    plain, peeking = Session(model), Session(model)
    plain.extend(ids)
    peeking.extend(ids)
    seen = peeking.peek([7, 8, 9], "all")
    assert torch.equal(seen, plain.fork().extend([7, 8, 9], "all"))
    masked = visibility.build(
        known=torch.full((1, 4), 6), reads=torch.full((1, 4), 6), position=torch.arange(6, 10).unsqueeze(0)
    )
    peeking.peek([0, 0, 0, 0], "all", tokens=masked)
    assert (peeking.ids, peeking.length) == (ids, 6)
    assert torch.equal(peeking.extend([5, 6], "all"), plain.extend([5, 6], "all"))


def test_only_the_kept_tokens_stay() -> None:
    session = Session(decoder_only())
    session.extend([4, 5, 6, 7], keep=2)
    assert session.ids == [4, 5]
    assert session.length == 2


def test_visibility_of_its_own() -> None:
    model, ids = decoder_only(), prompt(8)
    tokens = visibility.prefix([5], 8)
    want = model(torch.tensor([ids]), Call(tokens))[0]
    tiny.assert_close(Session(model).extend(ids, "all", tokens=tokens), want)
    assert (want - uncached(model, ids)).abs().max() > 0.1, "the prefix must matter"


@pytest.mark.parametrize(
    ("read", "rows"), [("last", [6]), ("all", [*range(7)]), ("none", []), ([0, 3, 5], [0, 3, 5]), ([], [])]
)
def test_reading(read: object, rows: list[int]) -> None:
    model, ids = decoder_only(), prompt(7)
    logits = Session(model).extend(ids, read)  # type: ignore[arg-type]
    assert logits.shape == (len(rows), tiny.VOCAB)
    if rows:
        tiny.assert_close(logits, uncached(model, ids)[rows])


def test_only_the_rows_read_go_through_the_head() -> None:
    watch = Recorder("output.logits")
    session = Session(decoder_only(), watch=watch)
    session.extend(prompt(7), "last")
    session.extend([5, 6, 7], "none")
    session.extend([5, 6, 7], [0, 2])
    assert [tuple(seen.shape) for seen in watch.seen] == [(1, 1, tiny.VOCAB), (1, 2, tiny.VOCAB)]


def test_taps_work_while_cached_and_may_change_between_steps() -> None:
    watch = Recorder("layers.1.attention.weights")
    model, ids = decoder_only(), prompt(8)
    session = Session(model)
    session.extend(ids[:5])
    session.watch = watch
    logits = session.extend(ids[5:], "all")
    session.watch = None
    session.extend([4])
    assert [tuple(seen.shape) for seen in watch.seen] == [(1, 4, 3, 8)]
    tiny.assert_close(logits, uncached(model, ids)[5:])


def test_a_watched_encoder_decoder_shows_its_encoder_when_it_opens() -> None:
    watch = Recorder("encoder.output.norm")
    Session(translator(), source_ids=prompt(5), watch=watch)
    assert [tuple(seen.shape) for seen in watch.seen] == [(1, 5, 16)]


def test_logits_carry_no_gradient_and_a_session_survives_inference_mode() -> None:
    model = decoder_only().requires_grad_(True)
    with torch.inference_mode():
        session = Session(model)
        session.extend([4, 5])
    logits = session.extend([6])
    assert not logits.requires_grad
    fresh = Session(model)
    fresh.extend([4, 5])
    assert torch.equal(fresh.extend([6]), logits)


def test_a_failed_pass_changes_nothing() -> None:
    class Failing(Recorder):
        def __call__(self, site: str, tensor: Tensor) -> Tensor:
            if site == self.site:
                raise RuntimeError("no more")
            return tensor

    model, ids = decoder_only(), prompt(6)
    session = Session(model)
    session.extend(ids)
    session.watch = Failing("layers.1.residual.end")
    with pytest.raises(RuntimeError, match="no more"):
        session.extend([5, 6])
    session.watch = None
    assert (session.ids, session.length) == (ids, 6)
    fresh = Session(model)
    fresh.extend(ids)
    assert torch.equal(session.extend([7]), fresh.extend([7]))


@pytest.mark.parametrize("kind", ["learned", "sinusoidal"])
def test_a_position_table_ends(kind: str) -> None:
    session = Session(decoder_only(kind))
    assert session.room == 48
    session.extend(prompt(47))
    assert session.room == 1
    with pytest.raises(CutawayError, match=r"would have 49 tokens.* end at 48"):
        session.extend([5, 6])
    assert session.length == 47
    session.extend([5])
    places = torch.tensor([[60]])
    with pytest.raises(CutawayError, match=r"would have 61 tokens.* end at 48"):
        Session(decoder_only(kind)).peek([5], tokens=visibility.build(known=places, reads=places, position=places))


@pytest.mark.parametrize("kind", ["rotary", "relative", "alibi", "none"])
def test_other_positions_go_on(kind: str) -> None:
    model, ids = decoder_only(kind), prompt(60)
    session = Session(model)
    assert session.room is None
    session.extend(ids[:40])
    tiny.assert_close(session.extend(ids[40:], "all"), uncached(model, ids)[40:])


def test_bad_input_is_refused_and_changes_nothing() -> None:
    session = Session(decoder_only())
    session.extend([4, 5, 6])
    refused = [
        (lambda: session.extend([]), "without ids"),
        (lambda: session.extend([tiny.VOCAB]), "The id 31 is not in the vocabulary: ids run from 0 to 30"),
        (lambda: session.extend([-1]), "The id -1 is not"),
        (lambda: session.extend([4], "first"), "read is 'first'. Allowed: last, all, none"),
        (lambda: session.extend([4, 5], [1, 0]), "increasing indices from 0 to 1"),
        (lambda: session.extend([4, 5], [2]), "increasing indices from 0 to 1"),
        (lambda: session.extend([4, 5], keep=3), "keep is 3. It must be from 0 to 2"),
        (lambda: session.extend([4, 5], tokens=visibility.causal(3, 3)), "2 ids and visibility for 3 tokens"),
        (lambda: session.rewind(4), "Allowed: 0 to 3"),
    ]
    for attempt, message in refused:
        with pytest.raises(CutawayError, match=message):
            attempt()  # type: ignore[no-untyped-call]
        assert session.ids == [4, 5, 6]
        assert session.length == 3


def test_a_source_is_needed_where_there_is_an_encoder_and_only_there() -> None:
    with pytest.raises(CutawayError, match="takes no source ids"):
        Session(decoder_only(), source_ids=[4])
    for nothing in (None, []):
        with pytest.raises(CutawayError, match="source_ids of at least one id"):
            Session(translator(), source_ids=nothing)
    with pytest.raises(CutawayError, match=r"would have 49 tokens.* end at 48"):
        Session(translator(), source_ids=prompt(49))
    with pytest.raises(CutawayError, match="The id 31"):
        Session(translator(), source_ids=[31])


def test_an_encoder_alone_can_be_peeked_at() -> None:
    model = tiny.model(ModelConfig(vocab_size=tiny.VOCAB, context=48, is_tied=False, encoder=tiny.stack()))
    ids, tokens = prompt(6), visibility.full(6)
    tiny.assert_close(Session(model).peek(ids, "all", tokens=tokens), model(torch.tensor([ids]), Call(tokens))[0])
