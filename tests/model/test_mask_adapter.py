"""Adapters at masks: what holds no mask is the base's, bit for bit, whatever they are; the hybrid says the text of the base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from cutaway.config import ExpertsConfig, FeedForwardConfig, PositionConfig, StackConfig, TokenIds
from cutaway.decode import Drafting, Engine, Event, Sampling, Session, autoregressive, hybrid, run
from cutaway.errors import CutawayError
from cutaway.lens.way import way
from cutaway.lm import LM
from cutaway.model import Call, Transformer, layouts, visibility
from cutaway.model.adapter import adapters, detach, merge
from cutaway.model.masks import MASKS, Masks, mask_embedding
from cutaway.runtime.attend import fused
from cutaway.text import SpecialPlan, train_tokenizer
from cutaway.train.adapters import AdapterConfig, attach
from tests import tiny

SIZE, GREEDY, PROMPT = 4, Sampling(temperature=0), [5, 9, 3, 7, 11]
ROTARY = PositionConfig(kind="rotary")
EXPERTS = FeedForwardConfig(d_hidden=24, experts=ExpertsConfig(num_experts=3, num_active=2))
STACKS = {
    "sinusoidal": tiny.stack(),
    "rotary, near": tiny.stack(position=ROTARY, layer_types=tiny.NEAR, pattern=("near", "full")),
    "experts": tiny.stack(feedforward=EXPERTS),
    "shared": tiny.stack(position=ROTARY, num_layers=4, num_shared=2),
}
TARGETS = ("*.layers.*",)


def base(stack: StackConfig, **knobs: Any) -> Transformer:
    """A model whose greedy text varies."""
    return tiny.model(tiny.config(decoder=stack, embedding_scale=5.0, **knobs), seed=4)


def opened(
    model: Transformer, *, seed: int = 1, size: float = 3.0, mask_id: int = tiny.VOCAB, predicts: Any = "hybrid"
) -> Transformer:
    """With adapters at masks on everything in the layers, whose numbers are random and not small."""
    masks = Masks(mask_id=mask_id, predicts=predicts, block_size=SIZE)
    factors = attach(model, AdapterConfig(targets=TARGETS, rank=2, at="masks"), seed, masks=masks)
    generator = torch.Generator().manual_seed(seed)
    for factor in factors:
        factor.data.copy_(size * torch.randn(factor.shape, generator=generator))
    return model.requires_grad_(False)


def texts(batch: int, length: int) -> Tensor:
    return tiny.ids(batch, length)


@pytest.mark.parametrize("attend", [None, fused], ids=["readable", "fused"])
@pytest.mark.parametrize("is_tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_what_holds_no_mask_is_the_base_bit_for_bit(stack: StackConfig, is_tied: bool, attend: Any) -> None:
    """Causal, full, packed; and the mask, which the base does not have, has no probability."""
    before, after = base(stack, is_tied=is_tied), opened(base(stack, is_tied=is_tied))
    assert len(adapters(after)) >= 8
    segments = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1, 1]])
    places = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3, 4]])
    for tokens in (visibility.causal(9), visibility.full(9), visibility.packed(segments, places)):
        call = Call(tokens, attend)
        found = after(texts(2, 9), call)
        assert torch.equal(found[..., : tiny.VOCAB], before(texts(2, 9), call))
        assert found.shape[-1] == after.config.vocab_size == tiny.VOCAB + 1
        assert bool((found[..., tiny.VOCAB] == -torch.inf).all())


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_beside_masks_no_clean_token_changes(stack: StackConfig) -> None:
    """In the pass that trains, over clean text and masks: another adapter changes every mask, and no bit of the text.

    Experts see clean tokens and masks in one product, whose rows are equal within tolerance then.
    """
    ids = torch.cat([texts(2, 8), torch.full((2, 8), tiny.VOCAB)], 1)
    call = Call(layouts.hybrid(torch.arange(8).expand(2, -1), SIZE, None, 1))
    one, other = (opened(base(stack), seed=seed)(ids, call)[..., : tiny.VOCAB] for seed in (1, 2))
    alone = base(stack)(ids[:, :8], Call(visibility.causal(8)))
    tiny.assert_close(one[:, :8], alone)
    assert torch.equal(one[:, :8], other[:, :8]) or stack.feedforward.experts is not None
    assert not torch.isclose(one[:, 8:], other[:, 8:], atol=1e-3).all(-1).any()


def final(events: Sequence[Event]) -> list[tuple[int, int | None]]:
    return [(event.position, event.new) for event in events if event.is_final]


def test_sessions_step_by_step_are_the_base_bit_for_bit() -> None:
    """A prompt at once, tokens one by one, what is peeked at, rewound and forked; and the greedy text with its probabilities.

    Both by the readable pass: a plan is for models without adapters, and rounds otherwise.
    """
    one = Session(base(STACKS["sinusoidal"]), is_planned=False)
    other = Session(opened(base(STACKS["sinusoidal"])), is_planned=False)
    for session in (one, other):
        session.extend(PROMPT)
    other.peek([4, tiny.VOCAB, tiny.VOCAB], tokens=layouts.drafting(other.length, 1, [2]))
    other.extend([8, 8], "none")
    other.rewind(len(PROMPT))
    for token in (3, 1, 4):
        assert torch.equal(other.fork().extend([token])[..., : tiny.VOCAB], one.extend([token]))
        other.extend([token])
    greedy = [list(run(autoregressive(session, [2], GREEDY, max_tokens=25))) for session in (one, other)]
    assert greedy[0] == greedy[1]
    assert len({event.new for event in greedy[0]}) > 5


@pytest.mark.parametrize("passes", ["one", "two"])
@pytest.mark.parametrize("predicts", ["hybrid", "hybrid_next"])
@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_the_hybrid_says_the_text_of_the_base(stack: StackConfig, predicts: Any, passes: Any) -> None:
    wanted = list(run(autoregressive(Session(base(stack)), PROMPT, GREEDY, max_tokens=40)))
    assert len({event.new for event in wanted}) > 4
    drafted = []
    for seed in (1, 2):
        model = opened(base(stack), seed=seed, predicts=predicts)
        events = list(run(hybrid(Session(model), PROMPT, GREEDY, max_tokens=40, drafting=Drafting(passes=passes))))
        assert final(events) == final(wanted)
        drafted.append([event.new for event in events if event.kind == "draft"])
    assert drafted[0] != drafted[1]


def test_many_sessions_share_passes() -> None:
    """Texts that draft, and one that does not, in one row: each says what the base says to it alone."""
    model, prompts = opened(base(STACKS["sinusoidal"])), [[5, 9, 3], [8], [1, 2, 3, 4, 5, 6]]
    alone = [
        final(list(run(autoregressive(Session(base(STACKS["sinusoidal"])), prompt, GREEDY, max_tokens=15))))
        for prompt in prompts
    ]
    decoders = [hybrid(Session(model), prompt, GREEDY, max_tokens=15) for prompt in prompts[:2]]
    decoders.append(autoregressive(Session(model), prompts[2], GREEDY, max_tokens=15))
    engine: Engine[int] = Engine()
    found: list[list[Event]] = [[] for _ in prompts]
    for index, event in engine.run(decoders):
        found[index].append(event)
    assert [final(events) for events in found] == alone


def test_a_mask_that_is_a_row_of_the_base() -> None:
    """As of padded vocabularies: its logits stay the base's, and its vector in the input is the adapter's."""
    before, after = (
        base(STACKS["sinusoidal"], is_tied=True),
        opened(base(STACKS["sinusoidal"], is_tied=True), mask_id=2),
    )
    ids, call = texts(2, 9).masked_fill(texts(2, 9) == 2, 3), Call(visibility.causal(9))
    assert torch.equal(after(ids, call), before(ids, call))
    ids[:, 4] = 2
    assert torch.equal(after(ids, call)[:, :4], before(ids, call)[:, :4])
    assert not torch.isclose(after(ids, call)[:, 4:], before(ids, call)[:, 4:], atol=1e-3).all(-1).any()


def test_a_mask_is_computed_as_the_equation_says() -> None:
    """Merged by hand into every weight, the same model at a text of masks alone."""
    model, plain = opened(base(STACKS["sinusoidal"]), size=0.3), base(STACKS["sinusoidal"], vocab_size=tiny.VOCAB + 1)
    token = mask_embedding(model)
    assert token is not None
    twin = dict(plain.named_parameters())
    for name, weight in base(STACKS["sinusoidal"]).named_parameters():
        if name in ("token.weight", "head.projection.weight"):
            twin[name].data.copy_(torch.cat([weight, token.row.unsqueeze(0)]))
        else:
            twin[name].data.copy_(weight)
    for path, adapter in adapters(model).items():
        twin[f"{path}.weight"].data += adapter.change()
    ids = torch.full((1, 5), tiny.VOCAB)
    found, wanted = (each(ids, Call(visibility.full(5)))[..., : tiny.VOCAB] for each in (model, plain))
    assert torch.allclose(found, wanted, atol=1e-4)


def test_gates_are_made_where_there_are_masks_and_nowhere_else() -> None:
    plain, call = base(STACKS["sinusoidal"]), Call(visibility.causal(9))
    assert plain.token.gated(texts(2, 9), call) is call
    model = opened(plain)
    assert model.token.gated(texts(2, 9), call) is call
    ids = texts(2, 9)
    ids[1, 3] = tiny.VOCAB
    gates = model.token.gated(ids, replace(call, gates={"other": ids})).gates
    assert torch.equal(gates[MASKS], ids == tiny.VOCAB)
    assert gates["other"] is ids


@pytest.mark.parametrize("is_tied", [False, True])
def test_the_table_has_a_row_for_every_id(is_tied: bool) -> None:
    """Whoever looks up vectors finds the mask's as it is now; nothing of the base moves with it."""
    before, model = base(STACKS["sinusoidal"], is_tied=is_tied), opened(base(STACKS["sinusoidal"], is_tied=is_tied))
    token = mask_embedding(model)
    assert token is not None
    assert model.head is not None
    for value in (1.0, 2.0):
        token.row.data.fill_(value)
        assert torch.equal(model.token.weight[: tiny.VOCAB], before.token.weight)
        assert bool((model.token.weight[tiny.VOCAB] == value).all())
    assert before.head is not None
    assert torch.equal(model.head.projection.weight, before.head.projection.weight)
    assert (model.head.projection.weight is token.base.weight) == is_tied
    assert torch.equal(model.double().token.weight[tiny.VOCAB], token.row)


@pytest.mark.parametrize("is_tied", [False, True])
def test_detached_it_is_the_base(is_tied: bool) -> None:
    before, model = base(STACKS["sinusoidal"], is_tied=is_tied), opened(base(STACKS["sinusoidal"], is_tied=is_tied))
    config = model.config
    detach(model)
    assert model.config == before.config != config
    assert model.state_dict().keys() == before.state_dict().keys()
    assert torch.equal(model(texts(2, 9), Call(visibility.causal(9))), before(texts(2, 9), Call(visibility.causal(9))))
    assert len(adapters(opened(model))) >= 8


def test_it_is_not_merged() -> None:
    model = opened(base(STACKS["sinusoidal"]))
    before = model(texts(2, 9), Call(visibility.causal(9)))
    with pytest.raises(CutawayError, match="act at masks alone"):
        merge(model)
    assert torch.equal(model(texts(2, 9), Call(visibility.causal(9))), before)


def test_the_lens_looks_into_it() -> None:
    """Whatever makes a list of words, or looks a vector up; the mask itself has no logit to explain."""
    words = train_tokenizer("byte", [], specials=SpecialPlan(mask=False))
    model = opened(base(STACKS["sinusoidal"], vocab_size=words.vocab_size), size=0.3, mask_id=words.vocab_size)
    lm, mask = LM(model, words.with_mask(), "tiny"), words.vocab_size
    assert way(model, lm.tokenizer, "The cat").output.candidates
    plain = LM(base(STACKS["sinusoidal"], vocab_size=words.vocab_size), words, "base")
    assert lm.lens.contributions("The cat").parts == plain.lens.contributions("The cat").parts
    assert lm.lens.rollout("The cat") == plain.lens.rollout("The cat")
    for experiment in (lm.lens.contributions, lm.lens.rollout):
        with pytest.raises(CutawayError, match="without masks"):
            experiment([5, 9, mask, 7])
    assert lm.lens.neighbours(mask)[0].neighbours
    assert lm.trace([5, 9, mask, mask])["output.logits"].shape == (1, 4, mask + 1)
    with pytest.raises(CutawayError, match=f"Ids run from 0 to {mask - 1}"):
        lm.lens.contributions("The cat", token=mask)


@pytest.mark.parametrize(
    ("knobs", "targets", "masks", "message"),
    [
        ({}, TARGETS, None, "Say which token is the mask"),
        ({}, ("head.projection",), Masks(mask_id=31, predicts="hybrid", block_size=4), "projections of layers"),
        (
            {"predicts": "masked", "tokens": TokenIds(mask=2)},
            TARGETS,
            Masks(mask_id=2, predicts="hybrid", block_size=4),
            "next",
        ),
        (
            {"encoder": tiny.stack()},
            TARGETS,
            Masks(mask_id=31, predicts="hybrid", block_size=4),
            "predicts the next token",
        ),
        ({}, TARGETS, Masks(mask_id=32, predicts="hybrid", block_size=4), "has at least so many"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_the_model(knobs: Any, targets: Any, masks: Any, message: str) -> None:
    model = tiny.model(tiny.config(**knobs))
    config = model.config
    with pytest.raises(CutawayError, match=message):
        attach(model, AdapterConfig(targets=targets, at="masks", rank=2), 1, masks=masks)
    assert model.config == config
    assert not adapters(model)
    assert mask_embedding(model) is None


@pytest.mark.parametrize(
    ("knobs", "message"),
    [({"mask_id": -1}, "0 or more"), ({"block_size": 0}, "1 or more"), ({"predicts": "next"}, "to draft")],
)
def test_what_no_base_can_become_is_refused(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(CutawayError, match=message):
        Masks(**{"mask_id": 31, "predicts": "hybrid", "block_size": 4, **knobs})
