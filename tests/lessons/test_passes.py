"""Order, recurrence, attention, layers, choosing, stacks, memory: second computations, and each lesson's test made to fail."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cutaway import lessons
from cutaway.config import AttentionConfig, PositionConfig
from cutaway.decode import Sampling
from cutaway.lessons import bandwidth, choosing, layers, order, recurrence, stacks
from cutaway.lessons.figures import Bars, Matrix, Pairs, Strips, Table
from cutaway.lm import LM
from cutaway.model import Call, Transformer
from cutaway.model import attend as attending
from cutaway.model.visibility import causal, full
from tests import tiny
from tests.text.samples import trained

Broken = Callable[[], LM]
TEXT = "Once upon a time there was a dog"


def without_positions(lm: LM) -> Transformer:
    """The same weights in a model that has no positions by its config."""
    assert lm.config.decoder is not None
    made = Transformer(replace(lm.config, decoder=replace(lm.config.decoder, position=PositionConfig(kind="none"))))
    made.load_state_dict(lm.model.state_dict())
    return made.eval()


@pytest.mark.parametrize("sight", order.SIGHT)
def test_positions_off_is_a_model_without_positions(stories: LM, sight: str) -> None:
    ids = [*stories.tokenizer.encode(" I"), *stories.tokenizer.encode(" love"), *stories.tokenizer.encode(" you")]
    other, tokens = without_positions(stories), full(3) if sight == "all" else causal(3)
    with torch.inference_mode():
        cell = order.measured(stories, ids, sight, "off")
        first, second = (other.states(torch.tensor([row]), Call(tokens))[0] for row in (ids, ids[::-1]))
    assert torch.allclose(cell.first, first, atol=1e-5)
    assert torch.allclose(cell.second, second, atol=1e-5)
    gaps = [float((first[i] - second[2 - i]).abs().max()) for i in range(3)]
    assert list(cell.gaps) == pytest.approx(gaps, abs=1e-5)


def test_only_all_without_positions_cannot_tell(stories: LM) -> None:
    found = lessons.read("order", stories, {"words": "I love you", "sight": "before"})
    pairs, four, seen = found.figures
    assert isinstance(pairs, Pairs)
    assert isinstance(four, Table)
    assert isinstance(seen, Table)
    assert [cell.endswith("cannot tell") for cells in four.rows for cell in cells[1:]] == [True, False, False, False]
    assert four.looked == (1, 1)
    assert [(link.left, link.right, link.is_equal) for link in pairs.links] == [
        (0, 2, False),
        (1, 1, False),
        (2, 0, False),
    ]
    assert seen.rows[1] == ("␣love", "␣I ␣love", "␣you ␣love")


@pytest.mark.parametrize("kind", ["learned", "rotary", "alibi", "relative"])
def test_positions_of_every_kind_are_switched_off(kind: Any) -> None:
    """By another model of the same weights whose config has none."""
    tokenizer = trained("bpe")
    config = tiny.config(decoder=tiny.stack(position=PositionConfig(kind=kind)), vocab_size=tokenizer.vocab_size)
    lm = LM(tiny.model(config), tokenizer, kind)
    ids = [3, 9, 5]
    assert config.decoder is not None
    bare = Transformer(replace(config, decoder=replace(config.decoder, position=PositionConfig(kind="none")))).eval()
    bare.load_state_dict({name: x for name, x in lm.model.state_dict().items() if name in bare.state_dict()})
    with torch.inference_mode():
        off, on = (order.measured(lm, ids, "all", switch) for switch in ("off", "on"))
        assert torch.allclose(off.first, bare.states(torch.tensor([ids]), Call(full(3)))[0], atol=1e-6)
    assert max(off.gaps) <= order.EQUAL < 1e-3
    assert (max(on.gaps) > 1e-3) == (kind != "alibi"), "with ALiBi a distance counts alike to both sides"
    letters = [tokenizer.decode([i]) for i in range(tokenizer.vocab_size)]
    words = [each.strip() for each in letters if each.startswith(" ") and each.strip().isalpha() and len(each) > 2][:3]
    said = lessons.read("order", lm, {"words": " ".join(words), "positions": "on"}).text[1]
    assert said.startswith("Positions are on: ")
    assert ("enters as a different vector" in said) == (kind == "learned")
    assert ("the outputs are equal" in said) == (kind == "alibi")


def test_how_a_score_is_made_is_said_as_the_model_makes_it() -> None:
    tokenizer = trained("bpe")
    for kind, softcap, said in (
        ("learned", None, "The score is q · k × 0.5. Softmax"),
        ("alibi", None, "The score is q · k × 0.5, and a number for the distance of the two is added. Softmax"),
        ("rotary", 3.0, "The score is q · k × 0.5, capped at ±3 by tanh. Softmax"),
    ):
        stack = tiny.stack(position=PositionConfig(kind=kind), attention=AttentionConfig(num_heads=4, softcap=softcap))  # type: ignore[arg-type]
        lm = LM(tiny.model(tiny.config(decoder=stack, vocab_size=tokenizer.vocab_size)), tokenizer, kind)
        assert lessons.read("attention", lm).figures[1].caption.startswith(said)


class Leak(nn.Module):
    """A position that no switch turns off."""

    def forward(self, x: Tensor, call: Call) -> Tensor:
        return x + 0.01 * call.tokens.position.unsqueeze(-1) * torch.linspace(-1, 1, x.shape[-1])


def test_a_model_with_a_hidden_position_is_found_out(broken: Broken) -> None:
    lm = broken()
    lm.model.main.embedding.types = Leak()
    assert not lessons.read("order", lm).wrong.holds


def test_the_recurrent_states_follow_the_equation() -> None:
    network = recurrence.Reader(5, is_ordered=True)
    vectors = torch.randn(1, 3, 5)
    found = network.states(vectors)[0]
    state = torch.zeros(recurrence.D_STATE)
    for place in range(3):
        inner = network.enter.weight @ vectors[0, place] + network.enter.bias + network.stay.weight @ state
        state = torch.tensor([math.tanh(value) for value in inner.tolist()])
        assert torch.allclose(found[place], state, atol=1e-5)


def test_the_state_knows_the_order_and_a_sum_does_not(stories: LM) -> None:
    found = lessons.read("recurrence", stories, {"steps": 30})
    values = {finding.label: finding.value for finding in found.findings}
    assert values["Right about the first word, recurrent"] == "100 %"
    assert values["The same, adding up"] == "50 %"
    assert values["States after both orders, adding up"] == "equal"
    pairs = found.figures[0]
    assert isinstance(pairs, Pairs)
    gaps = [abs(a - b) for a, b in zip(pairs.left[2].values, pairs.right[2].values, strict=True)]
    assert f"{max(gaps):.2f}" in pairs.links[2].text
    assert found.wrong.holds


def test_a_network_that_was_not_trained_is_found_out(stories: LM) -> None:
    assert not lessons.read("recurrence", stories, {"steps": 0}).wrong.holds


def test_attention_is_the_sum_that_the_trace_gives(stories: LM) -> None:
    found = lessons.read("attention", stories, {"text": TEXT, "token": 5, "layer": 2, "head": 3})
    trace = stories.trace(TEXT, "layers.2.attention.*")
    weights = trace["layers.2.attention.weights"][0, 3, 5]
    bars, strips = found.figures[0], found.figures[2]
    assert isinstance(bars, Bars)
    assert isinstance(strips, Strips)
    assert [bar.value for bar in bars.rows] == pytest.approx(weights[:6].tolist(), abs=1e-6)
    values = trace["layers.2.attention.value"][0, 3]
    mixed = [float(sum(w * v for w, v in zip(weights, column, strict=True))) for column in values.T]
    assert strips.rows[-2].values == pytest.approx(mixed, abs=1e-5)
    assert strips.rows[-1].values == pytest.approx(trace["layers.2.attention.mixed"][0, 3, 5].tolist())
    parts = torch.tensor([strip.values for strip in strips.rows[:-2]]).sum(0)
    assert parts.tolist() == pytest.approx(mixed, abs=1e-5)


def test_attention_that_is_no_weighted_sum_is_found_out(stories: LM, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = attending.readable
    monkeypatch.setattr(attending, "readable", lambda *given: plain(*given) + 0.001)
    assert not lessons.read("attention", stories).wrong.holds


def test_a_head_switched_off_is_one_whose_output_has_no_weights(stories: LM, broken: Broken) -> None:
    ids = stories.tokenizer.encode(TEXT)
    lm = broken()
    width = lm.config.main.d_head
    with torch.inference_mode():
        plain, costs = layers.costs_of(stories, ids)
    loss = partial(mean_loss, ids=ids)
    assert plain == pytest.approx(loss(stories), abs=1e-4)
    assert len(costs) == 6 * (6 + 2)
    output = lm.model.main.layers[1].attention.sublayer.output
    kept = output.weight.data.clone()
    output.weight.data[:, 2 * width : 3 * width] = 0
    assert costs[1, 2] == pytest.approx(loss(lm) - plain, abs=1e-4)
    output.weight.data[:] = 0
    output.bias.data[:] = 0
    assert costs[1, "attention"] == pytest.approx(loss(lm) - plain, abs=1e-4)
    output.weight.data, output.bias.data = (
        kept,
        stories.model.main.layers[1].attention.sublayer.output.bias.data.clone(),
    )
    network = lm.model.main.layers[3].feedforward.sublayer.output
    network.weight.data[:] = 0
    network.bias.data[:] = 0
    assert costs[3, "feedforward"] == pytest.approx(loss(lm) - plain, abs=1e-4)
    assert len({round(cost, 4) for cost in costs.values()}) > 40


def mean_loss(lm: LM, ids: list[int]) -> float:
    return float(F.cross_entropy(lm.logits(ids)[0, :-1].double(), torch.tensor(ids[1:])))


def test_the_shares_of_the_stream_add_up_and_the_lens_ends_at_the_output(stories: LM) -> None:
    found = lessons.read("layers", stories, {"text": TEXT})
    heads, lens, shares = found.figures[:3]
    assert isinstance(heads, Matrix)
    assert isinstance(lens, Table)
    assert isinstance(shares, Bars)
    assert sum(bar.value for bar in shares.rows) == pytest.approx(1, abs=1e-6)
    ids = stories.tokenizer.encode(TEXT)
    chances = stories.logits(ids)[0, -2].softmax(-1)
    assert lens.rows[-1][1].startswith(stories.tokenizer.token_text(int(chances.argmax())))
    assert lens.rows[-1][2] == f"{int((chances > chances[ids[-1]]).sum()) + 1:,}"


def test_a_stream_that_is_not_a_sum_is_found_out() -> None:
    tokenizer = trained("bpe")
    normed = tiny.config(decoder=tiny.stack(placement="post"), vocab_size=tokenizer.vocab_size)
    lm = LM(tiny.model(normed), tokenizer, "post")
    assert not lessons.read("layers", lm, {"text": "The cat and the dog"}).wrong.holds


def test_repeats_are_counted() -> None:
    assert choosing.repeated([1, 2, 3, 4, 5]) == 0
    assert choosing.repeated([1, 2, 3, 4] * 2) == pytest.approx(1 / 5)
    assert choosing.repeated([1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4]) == pytest.approx(5 / 9)
    assert choosing.repeated([1]) == 0


def test_texts_are_those_that_the_model_writes(stories: LM) -> None:
    ids = stories.ids("Once upon a time")
    chosen = [Sampling(temperature=0), Sampling(temperature=0.8, seed=3)]
    with torch.inference_mode():
        found = choosing.written(stories, ids, 30, chosen)
    assert [len(text) for text in found] == [30, 30]
    for text, sampling in zip(found, chosen, strict=True):
        assert stories.tokenizer.decode(text).startswith(stories.generate(ids, max_tokens=30, sampling=sampling))


def test_a_sentence_read_again_has_the_chances_of_the_logits(stories: LM) -> None:
    sentence = " She looked at the red boat."
    ids = stories.tokenizer.encode(sentence)
    chances = stories.logits(ids * 2)[0].double().softmax(-1)
    second = [float(chances[len(ids) + place - 1, ids[place]]) for place in range(1, len(ids))]
    with torch.inference_mode():
        found = choosing.again(stories, sentence)
    assert found[1] == pytest.approx(math.exp(sum(map(math.log, second)) / len(second)), rel=1e-3)


def test_a_sentence_that_is_no_likelier_the_second_time_is_no_reason() -> None:
    assert "The last figure shows why" in choosing._why([0.1, 0.3])
    assert "Not here" in choosing._why([0.3, 0.1])


def test_a_model_without_a_choice_is_found_out(broken: Broken) -> None:
    lm = broken()
    for weight in lm.model.main.norm.parameters():
        weight.data *= 1000  # one token then has all the share, and drawing is greedy
    assert not lessons.read("choosing", lm, {"tokens": 40}).wrong.holds


def test_who_sees_whom_is_what_one_change_shows(german: LM) -> None:
    source, (by,) = german.ids("Guten Morgen, mein Freund."), german.tokenizer.encode(" Haus")
    with torch.inference_mode():
        target = stacks.written(german, "Guten Morgen, mein Freund.")
        found = stacks.sights(german.model, source, target, by)
        other = [by if place == 2 else token for place, token in enumerate(source)]
        plain, changed = (stacks.encoded(german.model, [row]).states[0] for row in (source, other))
    assert torch.allclose(found.encoder[:, 2], (plain - changed).abs().amax(-1), atol=1e-5)
    assert german.tokenizer.decode(target[1:]) == "Good morning, my friend."
    assert found.breaches() == 0
    assert float(found.decoder.triu(1).max()) == 0.0


def test_an_encoder_that_looks_back_only_is_found_out(german: LM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "full", causal)
    found = lessons.read("stacks", german)
    assert not found.wrong.holds
    assert found.wrong.found == "28 such outputs"  # the pairs of eight tokens in which the one comes later


def slow(work: Callable[[], object]) -> float:
    """In place of `bandwidth.timed`: every prompt takes as long as the first."""
    made = work()
    return 0.01 * (len(made) if isinstance(made, Tensor) and made.ndim == 3 else 1)


def test_bytes_and_bounds_are_those_of_the_weights(stories: LM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bandwidth, "timed", lambda work: 0.01 if work() is not None else 0)
    found = lessons.read("memory", stories, {"megabytes": 60, "prompts": 4})
    table = found.figures[0]
    assert isinstance(table, Table)
    large = bandwidth.large_model(60 * bandwidth.MEGA)
    inside = sum(weight.numel() for layer in large.main.layers for weight in layer.parameters())
    assert float(table.rows[0][1].replace(",", "")) == pytest.approx(inside * 4 / bandwidth.MEGA, rel=0.05)
    assert float(table.rows[0][3].replace(",", "")) == 100
    assert found.wrong.holds


def test_prompts_that_take_as_long_together_as_alone_are_found_out(
    stories: LM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bandwidth, "timed", slow)
    found = lessons.read("memory", stories, {"megabytes": 60, "prompts": 4})
    assert not found.wrong.holds
    assert found.wrong.found == "4.00 times"


def test_the_fastest_run_counts_and_the_median_of_the_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = [(0.0, 0.3), (0.31, 0.41), (0.41, 0.61)]  # the rounds that are taken in any case
    times = iter([0.0, *(each for pair in ends for each in pair), 5.0])
    monkeypatch.setattr(bandwidth, "time", SimpleNamespace(perf_counter=lambda: next(times)))
    rounds = bandwidth.in_turn([lambda: None])
    assert rounds == (pytest.approx((0.3,)), pytest.approx((0.1,)), pytest.approx((0.2,)))
    found = bandwidth.Speed("", 1.0, 1, (1, 2), ((1.0, 1.1), (2.0, 2.4), (0.9, 9.0)))
    assert (found.seconds, found.times) == ((0.9, 1.1), pytest.approx(1.2))


def test_a_machine_that_turns_slow_between_passes_is_not_taken_for_the_model(
    stories: LM, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def disturbed(work: Callable[[], object]) -> float:
        """Passes that take 1.2 times as long for two prompts, on a machine that is three times as slow after a while."""
        made = work()
        if not isinstance(made, Tensor) or made.ndim != 3:
            return 0.01
        calls.append(len(made))
        return (0.01 if len(made) == 1 else 0.012) * (3 if len(calls) > 6 else 1)

    monkeypatch.setattr(bandwidth, "timed", disturbed)
    monkeypatch.setattr(bandwidth, "MOST_SECONDS", 60.0)
    found = lessons.read("memory", stories, {"megabytes": 60, "prompts": 2})
    assert calls[:4] == [1, 2, 1, 2], "in turn"
    assert found.wrong.holds
    assert found.wrong.found == "1.20 times"
    assert found.wrong.threshold.startswith("1.50 times")


def test_a_token_that_hardly_counts_is_seen_all_the_same(german: LM) -> None:
    found = lessons.read(
        "stacks", german, {"source": "Meine Schwester wohnt seit drei Jahren in Berlin und arbeitet dort."}
    )
    matrix = found.figures[0]
    assert isinstance(matrix, Matrix)
    assert min(value for row in matrix.values for value in row if value is not None) < 1e-5
    assert found.wrong.holds
