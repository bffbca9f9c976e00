"""The way of a prompt: every number is computed again from the weights or the raw tensors, for several architectures."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cutaway.config import AttentionConfig, ExpertsConfig, FeedForwardConfig, LayerType, PositionConfig
from cutaway.decode import Sampling
from cutaway.decode.samplers import choose, distribution
from cutaway.errors import CutawayError
from cutaway.lens.tokens import tokens_of
from cutaway.lens.way import Way, way, window
from cutaway.model import Call, Transformer
from cutaway.model import visibility as visible
from cutaway.text import SpecialPlan, train_tokenizer
from tests import tiny
from tests.text.samples import trained

PROMPT = "Once upon a time there was a small cat, 漢."
TOKENIZER = trained("bpe")
SAMPLED = Sampling(temperature=0.7, top_k=9, top_p=0.9, seed=5)

ATTENTION = {"num_heads": 4, "num_kv_heads": 2}
STACKS: dict[str, Any] = {
    "sinusoidal": tiny.stack(),
    "learned": tiny.stack(position=PositionConfig(kind="learned"), placement="post"),
    "rotary": tiny.stack(position=PositionConfig(kind="rotary"), attention=AttentionConfig(**ATTENTION)),
    "relative": tiny.stack(
        position=PositionConfig(kind="relative"), attention=AttentionConfig(**ATTENTION, softcap=3.0)
    ),
    "alibi": tiny.stack(position=PositionConfig(kind="alibi")),
    "parallel window": tiny.stack(placement="parallel", layer_types={"near": LayerType(window=3)}, pattern=("near",)),
    "gated": tiny.stack(
        feedforward=FeedForwardConfig(d_hidden=24, is_gated=True, activation="silu"), has_embedding_norm=True
    ),
    "shared without norm": tiny.stack(num_layers=3, num_shared=1, has_final_norm=False),
}


def build(stack: Any, **knobs: Any) -> Transformer:
    return tiny.model(tiny.config(decoder=stack, vocab_size=TOKENIZER.vocab_size + 3, **knobs))


@pytest.fixture(scope="module", params=STACKS, ids=lambda name: name.replace(" ", "-"))
def looked(request: pytest.FixtureRequest) -> tuple[Transformer, Way]:
    model = build(STACKS[request.param])
    return model, way(model, TOKENIZER, PROMPT, layer=1, head=3, sampling=SAMPLED)


def raw(model: Transformer, found: Way) -> dict[str, Tensor]:
    """Every tensor of the pass by another watcher, in float64 and without the batch."""
    recorder = tiny.recorder(model, 1, len(found.tokens))
    ids = torch.tensor([[token.id for token in found.tokens]])
    model(ids, Call(visible.causal(ids.shape[1]), watch=recorder))
    return {name: tensor[0].double() for name, tensor in recorder.tensors.items()}


def near(one: float, other: Tensor | float) -> bool:
    return math.isclose(one, float(other), rel_tol=1e-5, abs_tol=1e-6)


def test_the_tokens_are_those_of_the_tokenizer(looked: tuple[Transformer, Way]) -> None:
    tokens = looked[1].tokens
    assert [token.id for token in tokens] == TOKENIZER.encode(PROMPT)
    assert b"".join(token.bytes for token in tokens) == PROMPT.encode()
    assert [token.text for token in tokens] == [TOKENIZER.token_text(token.id) for token in tokens]


@given(st.text(alphabet="thecatdogOn 漢é\n", max_size=30))
def test_joins_make_every_token_from_its_symbols(text: str) -> None:
    ranks = TOKENIZER.merge_ranks
    for token in tokens_of(TOKENIZER, text)[1]:
        symbols = list(token.symbols)
        for join in token.joins:
            at = next(i for i in range(len(symbols)) if symbols[i : i + 2] == [join.left, join.right])
            symbols[at : at + 2] = [join.result]
            assert join.rank in ranks.values()
        assert len(symbols) == 1
        assert len(token.joins) == len(token.symbols) - 1 == len(token.bytes) - 1


@pytest.mark.parametrize("kind", ["character", "word", "byte"])
def test_other_kinds_have_tokens_without_joins(kind: str) -> None:
    found = tokens_of(trained(kind), "the cat")[1]
    assert [token.id for token in found] == trained(kind).encode("the cat")
    assert not any(token.joins for token in found)


def test_inputs_are_rows_of_the_tables_and_shares_add_up_to_1(looked: tuple[Transformer, Way]) -> None:
    model, found = looked
    position = model.main.embedding.position(torch.arange(len(found.tokens)).unsqueeze(0))[0].double()
    for index, entry in enumerate(found.inputs):
        t = model.token.weight[found.tokens[index].id].double()
        p = position[index].expand_as(t)
        assert torch.allclose(torch.tensor(entry.word).double(), t)
        assert torch.allclose(torch.tensor(entry.position).double(), p)
        assert near(entry.word_norm, t.norm())
        assert near(entry.position_norm, p.norm())
        assert near(entry.position_share, p.square().sum() / (t.square().sum() + p.square().sum()))
        assert entry.word_share + entry.position_share == pytest.approx(1, abs=1e-12)
        assert near(entry.cosine, F.cosine_similarity(t, p, dim=0))
        assert near(entry.sum_norm, model.main.embedding.norm((t + p).float()).norm())
    assert found.shape.adds_positions == any(entry.position_share > 0 for entry in found.inputs)


def test_neighbours_are_the_words_of_the_largest_cosine(looked: tuple[Transformer, Way]) -> None:
    model, found = looked
    table = model.token.weight.double()
    reserved = {*TOKENIZER.roles.named().values(), *TOKENIZER.roles.spares, *range(TOKENIZER.vocab_size, len(table))}
    assert len(reserved) > 10
    for token, entry in zip(found.tokens, found.inputs, strict=True):
        cosines = {
            i: float(F.cosine_similarity(table[token.id], table[i], dim=0))
            for i in range(len(table))
            if i != token.id and i not in reserved
        }
        best = sorted(cosines, key=lambda i: -cosines[i])[:8]
        assert [neighbour.id for neighbour in entry.neighbours] == best
        assert all(near(neighbour.cosine, cosines[neighbour.id]) for neighbour in entry.neighbours)


def test_the_head_is_softmax_of_its_products(looked: tuple[Transformer, Way]) -> None:
    model, found = looked
    tensors, head = raw(model, found), found.head
    q, k = tensors["layers.1.attention.query"][3], tensors["layers.1.attention.key"][head.kv_head]
    assert head.kv_head == 3 * model.main.config.attention.kv_heads // 4
    assert head.scale == pytest.approx(model.main.config.d_head**-0.5)
    products = q @ k.T
    assert head.has_bias == (model.main.config.position.kind in ("relative", "alibi"))
    for query, (scores, weights) in enumerate(zip(head.scores, head.weights, strict=True)):
        seen = [key for key, score in enumerate(scores) if score is not None]
        assert seen == [
            k
            for k in range(query + 1)
            if query - k < (model.main.config.layer_types.get("near", LayerType()).window or 99)
        ]
        mixed = torch.tensor([scores[key] for key in seen], dtype=torch.float64).softmax(-1)
        assert torch.allclose(torch.tensor([weights[key] for key in seen]).double(), mixed, atol=1e-6)
        assert sum(weights) == pytest.approx(1, abs=1e-6)
        assert head.strongest[query] == max(range(len(weights)), key=lambda key: weights[key])
        if head.softcap is None and not head.has_bias:
            assert all(near(scores[key] or 0.0, products[query, key] * head.scale) for key in seen)
    values = tensors["layers.1.attention.value"][head.kv_head].norm(dim=-1)
    last = len(found.tokens) - 1
    for source in head.sources:
        assert near(source.product, products[last, source.index])
        assert (source.score, source.weight) == (head.scores[last][source.index], head.weights[last][source.index])
        assert near(source.value_norm, values[source.index])


def test_summaries_are_means_over_the_text(looked: tuple[Transformer, Way]) -> None:
    model, found = looked
    tensors = raw(model, found)
    assert [(h.layer, h.head) for h in found.heads] == [
        (layer, head) for layer in range(model.main.config.num_layers) for head in range(4)
    ]
    for summary in found.heads:
        rows = tensors[f"layers.{summary.layer}.attention.weights"][summary.head]
        later = range(1, len(rows))
        assert near(summary.first, sum(rows[i, 0] for i in later) / len(later))
        assert near(summary.itself, sum(rows[i, i] for i in later) / len(later))
        assert near(summary.previous, sum(rows[i, i - 1] for i in later) / len(later))
        assert summary.weights[summary.source] == max(summary.weights)
        assert torch.allclose(torch.tensor(summary.weights).double(), rows[-1])


def test_the_stream_says_the_output_at_its_last_end(looked: tuple[Transformer, Way]) -> None:
    model, found = looked
    tensors, last = raw(model, found), len(found.tokens) - 1
    depth = model.main.config.num_layers
    points = ["start", *(["end"] if model.main.config.placement == "parallel" else ["middle", "end"]) * depth]
    assert [reading.point for reading in found.stream] == points
    for reading in found.stream:
        state = tensors[reading.site][last]
        assert near(reading.norm, state.norm())
        chances = model.head.projection(model.main.norm(state.float()), Call(visible.full(1))).double().softmax(-1)  # type: ignore[union-attr]
        assert [guess.id for guess in reading.guesses] == chances.topk(3).indices.tolist()
        assert all(near(guess.probability, chances[guess.id]) for guess in reading.guesses)
    output = tensors["output.logits"].softmax(-1)
    assert [guess.id for guess in found.stream[-1].guesses] == output[last].topk(3).indices.tolist()
    for index, row in enumerate(found.lens.rows, start=found.lens.first):
        assert len(row) == depth + 1
        assert row[-1].id == int(output[index].argmax())
        assert near(row[-1].probability, output[index].max())


def test_what_is_added_is_what_the_sublayers_wrote(looked: tuple[Transformer, Way]) -> None:
    model, found = looked
    tensors, last = raw(model, found), len(found.tokens) - 1
    if model.main.config.placement == "post":
        pytest.skip("the norm comes after the sum, so the step is not what was added")
    for before, after in zip(found.stream, found.stream[1:], strict=False):
        assert after.added is not None
        assert near(after.added, (tensors[after.site][last] - tensors[before.site][last]).norm())


def test_units_write_what_the_projection_makes_of_them(looked: tuple[Transformer, Way]) -> None:
    model, found = looked
    tensors, last = raw(model, found), len(found.tokens) - 1
    pre, active = (tensors[f"layers.1.feedforward.{site}"][last] for site in ("pre", "active"))
    name = next(
        name
        for name, _ in model.named_parameters()
        if ".layers.0." in name and name.endswith("output.weight") and "feedforward" in name
    )
    distinct = 1 % model.main.config.num_distinct
    written = dict(model.named_parameters())[name.replace("layers.0.", f"layers.{distinct}.")].double()
    strengths = active.abs() * written.norm(dim=0)
    assert [unit.index for unit in found.units.units] == strengths.topk(8).indices.tolist()
    assert found.units.num_firing == int((pre > 0).sum())
    head = model.head.projection.weight.double()  # type: ignore[union-attr]
    words = [i for i in range(TOKENIZER.vocab_size) if not TOKENIZER.is_special(i)]
    for unit in found.units.units:
        assert near(unit.before, pre[unit.index])
        assert near(unit.active, active[unit.index])
        assert near(unit.strength, strengths[unit.index])
        pushes = (head @ written[:, unit.index] * active[unit.index])[words]
        assert unit.toward == tuple(TOKENIZER.token_text(words[i]) for i in pushes.topk(3).indices.tolist())
        assert unit.away == tuple(TOKENIZER.token_text(words[i]) for i in (-pushes).topk(3).indices.tolist())


def test_experts_are_shown_by_their_chances() -> None:
    experts = ExpertsConfig(num_experts=4, num_active=2)
    model = build(tiny.stack(feedforward=FeedForwardConfig(d_hidden=24, experts=experts)))
    found = way(model, TOKENIZER, PROMPT)
    chances = raw(model, found)[f"layers.{found.place.layer}.feedforward.router"][-1]
    assert [expert.index for expert in found.units.experts] == chances.topk(4).indices.tolist()
    assert sum(expert.chance for expert in found.units.experts) == pytest.approx(1, abs=1e-6)
    assert found.units.units == ()


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0),
        Sampling(),
        SAMPLED,
        Sampling(temperature=1.4, min_p=0.1),
        Sampling(repetition_penalty=1.3),
    ],
    ids=["greedy", "plain", "filtered", "min_p", "penalty"],
)
def test_the_output_is_the_softmax_and_the_choice_is_that_of_decoding(sampling: Sampling) -> None:
    model = build(STACKS["sinusoidal"])
    found = way(model, TOKENIZER, PROMPT, sampling=sampling)
    ids = [token.id for token in found.tokens]
    logits = model(torch.tensor([ids]), Call(visible.causal(len(ids))))[0, -1]
    output = found.output
    plain = logits.double().softmax(-1)
    drawn = plain if sampling.is_greedy else distribution(logits, ids, sampling).double()
    assert output.num_kept == int((drawn > 0).sum())
    assert sum(c.share for c in output.candidates) + output.others_share == pytest.approx(1, abs=1e-9)
    assert output.num_others + len(output.candidates) == output.vocab_size == len(logits)
    assert [c.id for c in output.candidates][: output.num_kept] == drawn.argsort(descending=True, stable=True)[
        : min(12, output.num_kept)
    ].tolist()
    for candidate in output.candidates:
        assert near(candidate.logit, logits[candidate.id])
        assert near(candidate.model_share, plain[candidate.id])
        assert near(candidate.share, drawn[candidate.id])
        assert near(candidate.exponential, math.exp(candidate.scaled - output.maximum))
        assert candidate.is_kept == bool(drawn[candidate.id] > 0)
        if candidate.is_kept:
            assert candidate.share == pytest.approx(math.exp(candidate.scaled - output.log_sum_exp), rel=1e-9)
    token, probability = choose(logits, ids, sampling, 0, len(ids))
    assert (output.choice.id, output.choice.probability) == (token, pytest.approx(probability, rel=1e-5))
    assert (output.choice.draw is None) == sampling.is_greedy


def test_another_position_shows_what_really_follows() -> None:
    model = build(STACKS["sinusoidal"])
    found = way(model, TOKENIZER, PROMPT, position=2, layer=0, head=1)
    alone = way(model, TOKENIZER, PROMPT)
    assert found.output.actual is not None
    assert found.output.actual.id == found.tokens[3].id
    assert alone.output.actual is None
    assert found.head.weights == way(model, TOKENIZER, PROMPT, layer=0, head=1).head.weights
    assert [source.score is None for source in found.head.sources] == [i > 2 for i in range(len(found.tokens))]


def test_the_head_shown_first_points_most_at_another_token() -> None:
    model = build(STACKS["rotary"])
    found = way(model, TOKENIZER, PROMPT)
    last = len(found.tokens) - 1
    best = max(found.heads, key=lambda h: max(h.weights[1:last]))
    assert (found.place.layer, found.place.head, found.place.is_chosen_for_you) == (best.layer, best.head, True)
    assert way(model, TOKENIZER, PROMPT, layer=0).place.layer == 0
    assert way(model, TOKENIZER, PROMPT, head=2).place.head == 2
    assert not way(model, TOKENIZER, PROMPT, layer=0, head=2).place.is_chosen_for_you


def test_one_token_is_a_way_too() -> None:
    found = way(build(STACKS["sinusoidal"]), TOKENIZER, "a")
    assert found.head.weights == ((1.0,),)
    assert found.heads[0].previous == 0.0


def test_the_way_is_json_and_holds_no_tensor(looked: tuple[Transformer, Way]) -> None:
    found = looked[1].as_dict()
    again = json.loads(json.dumps(found, allow_nan=False))
    assert again == found
    assert again["tokens"][0]["bytes"] == looked[1].tokens[0].bytes.hex()
    assert "trace" not in again


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({"position": 99}, r"position is 99\. The tokens of the prompt are numbered from 0 to \d+\."),
        ({"position": -1}, r"position is -1"),
        ({"layer": 2}, r"layer is 2\. The layers are numbered from 0 to 1\."),
        ({"head": 4}, r"head is 4\. The heads of a layer are numbered from 0 to 3\."),
    ],
)
def test_a_place_that_is_not_there(place: dict[str, int], message: str) -> None:
    with pytest.raises(CutawayError, match=message):
        way(build(STACKS["sinusoidal"]), TOKENIZER, PROMPT, **place)  # type: ignore[arg-type]


def test_prompts_that_cannot_be_shown() -> None:
    model = build(STACKS["sinusoidal"])
    with pytest.raises(CutawayError, match="Nothing to look at yet"):
        way(model, TOKENIZER, "")
    with pytest.raises(CutawayError, match=r"has 60 tokens\. This model reads 48"):
        way(model, train_tokenizer("byte", [], specials=SpecialPlan.none()), "x" * 60)


def test_models_that_cannot_be_shown() -> None:
    pair = tiny.model(tiny.config(encoder=tiny.stack(), decoder=tiny.stack(), vocab_size=TOKENIZER.vocab_size))
    with pytest.raises(CutawayError, match="an encoder and a decoder"):
        way(pair, TOKENIZER, PROMPT)
    alone = tiny.model(tiny.config(encoder=tiny.stack(), vocab_size=TOKENIZER.vocab_size))
    with pytest.raises(CutawayError, match="an encoder only"):
        way(alone, TOKENIZER, PROMPT)
    with pytest.raises(CutawayError, match="no head"):
        way(build(tiny.stack(), has_head=False), TOKENIZER, PROMPT)


@given(st.integers(1, 90), st.data(), st.integers(1, 40))
def test_the_window_holds_the_place(num_tokens: int, data: st.DataObject, size: int) -> None:
    position = data.draw(st.integers(0, num_tokens - 1))
    shown = window(num_tokens, position, size)
    assert position in shown
    assert len(shown) == min(size, num_tokens)
    assert 0 <= shown.start < shown.stop <= num_tokens
