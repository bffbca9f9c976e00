"""Rollout: equal to the product of whole matrices, every column adds up to 1, and no whole matrix is needed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cutaway.config import AttentionConfig, PositionConfig, StackConfig
from cutaway.errors import CutawayError
from cutaway.lens import rollout as module
from cutaway.lens.pair import trace_pair
from cutaway.lens.rollout import rollout, rollout_sites
from cutaway.lens.trace import Trace
from cutaway.model import Call, Transformer, visibility
from tests import tiny

LENGTH = 9
STACKS = {
    "plain": tiny.stack(num_layers=3),
    "grouped": tiny.stack(attention=AttentionConfig(num_heads=4, num_kv_heads=2)),
    "window": tiny.stack(num_layers=3, layer_types=tiny.NEAR, pattern=("near", "full")),
    "alibi": tiny.stack(position=PositionConfig(kind="alibi")),
    "relative": tiny.stack(position=PositionConfig(kind="relative", num_buckets=8, max_distance=12)),
    "rotary": tiny.stack(position=PositionConfig(kind="rotary")),
    "softcap": tiny.stack(attention=AttentionConfig(num_heads=4, softcap=1.0)),
    "parallel": tiny.stack(placement="parallel"),
    "shared": tiny.stack(num_layers=4, num_shared=2),
}


def traced(model: Transformer, sites: tuple[str, ...]) -> Trace:
    ids = tiny.ids(2, LENGTH)
    recorder = tiny.recorder(model, 2, LENGTH, sites)  # type: ignore[arg-type]
    tokens = visibility.full(LENGTH) if model.config.sees_ahead else visibility.causal(LENGTH)
    model(ids, Call(tokens, watch=recorder))
    return recorder.trace(ids)


def heads_of(model: Transformer, trace: Trace, site: str, layer: int, row: int) -> Tensor:
    """How much each head counts, by writing out what it writes: [head, query]."""
    base = model.main.layers[layer % model.main.config.num_distinct]
    name = site.removesuffix(".").rpartition(".")[2]
    wrapper = getattr(base, name)
    attention = wrapper if model.main.config.placement == "parallel" else wrapper.sublayer
    mixed = trace[f"{site}mixed"][row]
    lengths = torch.zeros(mixed.shape[:2])
    for head in range(len(mixed)):
        alone = torch.zeros_like(mixed)
        alone[head] = mixed[head]
        lengths[head] = (alone.transpose(0, 1).flatten(1) @ attention.output.weight.T).norm(dim=-1)
    return lengths / lengths.sum(0)


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS.keys())
@pytest.mark.parametrize("heads", ["written", "plain"])
def test_it_is_the_product_of_the_mixes(stack: StackConfig, heads: module.HeadWeights) -> None:
    model = tiny.model(tiny.config(decoder=stack))
    trace = traced(model, (*rollout_sites(model), "layers.*.attention.weights"))
    slim = Trace({site: x for site, x in trace.items() if not site.endswith("weights")}, trace.ids)
    for row, position, column in ((0, LENGTH - 1, stack.num_layers), (1, 4, stack.num_layers - 1)):
        expected = torch.zeros(LENGTH)
        expected[position] = 1
        columns = [expected]
        for layer in range(column - 1, -1, -1):
            weights = trace[f"layers.{layer}.attention.weights"][row]
            counts = torch.full(weights.shape[:2], 1 / len(weights))
            if heads == "written":
                counts = heads_of(model, trace, f"layers.{layer}.attention.", layer, row)
            columns.append(columns[-1] @ (0.5 * torch.eye(LENGTH) + 0.5 * (counts[..., None] * weights).sum(0)))
        for given in (trace, slim):
            found = rollout(model, given, position, column, heads=heads, row=row)
            assert torch.allclose(torch.tensor(found.main.shares), torch.stack(columns[::-1]), atol=1e-6)
            assert all(abs(sum(shares) - 1) < 1e-9 for shares in found.main.shares)
            assert len(found.main.threads) == column


def test_an_encoder_sees_ahead() -> None:
    model = tiny.model(tiny.config(encoder=tiny.stack(), decoder=None))
    trace = traced(model, (*rollout_sites(model), "layers.*.attention.weights"))
    slim = Trace({site: x for site, x in trace.items() if not site.endswith("weights")}, trace.ids)
    one, other = rollout(model, trace, 2), rollout(model, slim, 2)
    assert torch.allclose(torch.tensor(one.main.shares), torch.tensor(other.main.shares), atol=1e-6)
    assert one.main.shares[0][-1] > 0


@pytest.mark.parametrize("column", [3, 2, 0])
def test_what_a_source_gave_and_what_the_target_gave_add_up(column: int) -> None:
    stack = tiny.stack(num_layers=3)
    model = tiny.model(tiny.config(encoder=tiny.stack(), decoder=stack))
    trace = trace_pair(model, [3, 1, 4, 1, 5], [9, 2, 6], (*rollout_sites(model), "*.weights"))
    found = rollout(model, trace, 2, column, threshold=0.0)
    source, target = torch.zeros(5), torch.zeros(3)
    target[2] = 1
    for layer in range(column - 1, -1, -1):
        base = f"decoder.layers.{layer}."
        for site in ("cross", "attention"):
            counts = heads_of(model, trace, f"{base}{site}.", layer, 0)
            mix = (counts[..., None] * trace[f"{base}{site}.weights"][0]).sum(0)
            if site == "cross":
                source, target = source + 0.5 * target @ mix, 0.5 * target
            else:
                target = 0.5 * target + 0.5 * target @ mix
    assert found.source is not None
    assert torch.allclose(torch.tensor(found.main.shares[0]), target, atol=1e-6)
    assert torch.allclose(torch.tensor(found.source.shares[-1]), source, atol=1e-6)
    assert all(abs(sum(found.main.shares[0]) + sum(shares) - 1) < 1e-9 for shares in found.source.shares)
    slim = Trace({site: x for site, x in trace.items() if not site.endswith("weights")}, trace.ids)
    again = rollout(model, slim, 2, column, threshold=0.0)
    assert torch.allclose(torch.tensor(again.main.shares), torch.tensor(found.main.shares), atol=1e-6)
    for layer, crossing in enumerate(found.crossings):
        taken = sum(found.main.shares[layer + 1]) - sum(found.main.shares[layer])
        assert abs(sum(thread.share for thread in crossing) - taken) < 1e-6


def test_a_vector_of_the_source_comes_from_the_source_alone() -> None:
    """By written-out sums; of the decoder nothing is read."""
    model = tiny.model(tiny.config(encoder=tiny.stack(num_layers=3), decoder=tiny.stack()))
    trace = trace_pair(model, [3, 1, 4, 1, 5], [9, 2, 6], ("encoder.*", *rollout_sites(model)))
    slim = Trace({site: x for site, x in trace.items() if site.startswith("encoder.")}, trace.ids)
    assert model.encoder is not None
    for column in (3, 1, 0):
        found = rollout(model, slim, 4, column, of_encoder=True)
        shares = torch.zeros(5)
        shares[4] = 1
        for layer in range(column - 1, -1, -1):
            counts = torch.zeros(4, 5)
            mixed = trace[f"encoder.layers.{layer}.attention.mixed"][0]
            output: Tensor = model.encoder.layers[layer].attention.sublayer.output.weight  # type: ignore[assignment, union-attr]
            for head in range(4):
                counts[head] = (mixed[head] @ output[:, 4 * head : 4 * head + 4].T).norm(dim=-1)
            mix = ((counts / counts.sum(0))[..., None] * trace[f"encoder.layers.{layer}.attention.weights"][0]).sum(0)
            shares = 0.5 * shares + 0.5 * shares @ mix
        assert torch.allclose(torch.tensor(found.main.shares[0]).float(), shares, atol=1e-6)
        assert len(found.main.shares) == column + 1
        assert (found.stack, found.source, found.crossings) == ("encoder", None, ())
    with pytest.raises(CutawayError, match=r"position is 5\. The trace has 5"):
        rollout(model, slim, 5, of_encoder=True)
    with pytest.raises(CutawayError, match=r"column is 4\. Columns run from 0.* to 3"):
        rollout(model, slim, 0, 4, of_encoder=True)
    one = tiny.model(tiny.config())
    with pytest.raises(CutawayError, match="of_encoder is true, but this model has one stack"):
        rollout(one, traced(one, rollout_sites(one)), 0, of_encoder=True)


def test_more_tokens_share_thinner_threads() -> None:
    model = tiny.model(tiny.config(context=64))
    for length, expected in ((9, 0.004), (28, 0.004), (56, 0.002)):
        ids = tiny.ids(1, length)
        recorder = tiny.recorder(model, 1, length, rollout_sites(model))  # type: ignore[arg-type]
        model(ids, Call(visibility.causal(length), watch=recorder))
        assert rollout(model, recorder.trace(ids), length - 1).threshold == pytest.approx(expected)


def test_threads_carry_the_shares_and_weak_ones_are_left_out() -> None:
    model = tiny.model(tiny.config(decoder=tiny.stack(num_layers=3)))
    trace = traced(model, rollout_sites(model))
    whole, strong = rollout(model, trace, 8, threshold=0.0), rollout(model, trace, 8, threshold=0.02)
    for layer, threads in enumerate(whole.main.threads):
        assert whole.main.left_out[layer] < 1e-9
        for token in range(LENGTH):
            leaving = sum(thread.share for thread in threads if thread.origin == token)
            entering = sum(thread.share for thread in threads if thread.to == token)
            assert abs(leaving - whole.main.shares[layer][token]) < 1e-9
            assert abs(entering - whole.main.shares[layer + 1][token]) < 1e-9
        kept = [thread for thread in threads if thread.share >= 0.02]
        assert list(strong.main.threads[layer]) == kept
        assert len(threads) == 9 if layer == 2 else 0 < len(kept) < len(threads), "only what is seen gives a thread"
        assert abs(sum(thread.share for thread in kept) + strong.main.left_out[layer] - 1) < 1e-9


def test_queries_are_taken_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model(tiny.config(decoder=tiny.stack(num_layers=3)))
    trace = traced(model, rollout_sites(model))
    whole, sizes = rollout(model, trace, 8), []
    taken = module.weights_of

    def watched(*arguments: object) -> Tensor:
        found = taken(*arguments)  # type: ignore[arg-type]
        sizes.append(found.shape[1])
        return found

    monkeypatch.setattr(module, "BLOCK", 2)
    monkeypatch.setattr(module, "weights_of", watched)
    few = rollout(model, trace, 8)
    assert max(sizes) == 2
    assert torch.allclose(torch.tensor(few.main.shares), torch.tensor(whole.main.shares))
    assert [len(threads) for threads in few.main.threads] == [len(threads) for threads in whole.main.threads]


def test_a_vector_that_does_not_exist_is_refused() -> None:
    model = tiny.model(tiny.config())
    trace = traced(model, rollout_sites(model))
    with pytest.raises(CutawayError, match=r"column is 3\. Columns run from 0.* to 2"):
        rollout(model, trace, 0, 3)
    with pytest.raises(CutawayError, match=r"position is -1"):
        rollout(model, trace, -1)
    with pytest.raises(CutawayError, match=r"heads is 'mean'.*'written'.*'plain'"):
        rollout(model, trace, 0, heads="mean")  # type: ignore[arg-type]
