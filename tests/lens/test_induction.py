"""The repeat test: its scores by whole matrices, on texts that repeat; an induction head by construction scores 1."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from cutaway.config import PositionConfig
from cutaway.errors import CutawayError
from cutaway.lens import induction as module
from cutaway.lens.induction import induction
from cutaway.model import Call, Transformer
from cutaway.model.visibility import causal
from tests import tiny

LENGTH = 6


def texts_seen(
    model: Transformer, monkeypatch: pytest.MonkeyPatch, **knobs: object
) -> tuple[module.Induction, torch.Tensor]:
    """The scores, and the texts that they were measured on."""
    kept: list[torch.Tensor] = []
    made = module._texts

    def watched(*arguments: object) -> torch.Tensor:
        kept.append(made(*arguments))  # type: ignore[arg-type]
        return kept[0]

    monkeypatch.setattr(module, "_texts", watched)
    return induction(model, length=LENGTH, num_sequences=5, seed=3, **knobs), kept[0]  # type: ignore[arg-type]


@pytest.mark.parametrize("beginning", [(), (7,)])
def test_the_scores_are_means_of_the_weights(beginning: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model(tiny.config(), dtype=torch.float64)
    found, texts = texts_seen(model, monkeypatch, beginning=beginning, allowed=range(8, 30))
    skip = len(beginning)
    assert torch.equal(texts[:, skip : skip + LENGTH], texts[:, skip + LENGTH :])
    assert all(len(set(row[skip : skip + LENGTH].tolist())) == LENGTH for row in texts)
    assert 8 <= int(texts[:, skip:].min()) <= int(texts.max()) < 30
    recorder = tiny.recorder(model, 5, texts.shape[1], "layers.*.attention.weights")
    logits = model(texts, Call(causal(texts.shape[1]), watch=recorder))
    for layer in range(2):
        weights = recorder.tensors[f"layers.{layer}.attention.weights"]
        second = range(skip + LENGTH, skip + 2 * LENGTH)
        prefix = torch.stack([weights[:, :, q, q - LENGTH + 1] for q in second]).mean((0, 1))
        same = torch.stack([weights[:, :, q, q - LENGTH] for q in second]).mean((0, 1))
        before = torch.stack([weights[:, :, q, q - 1] for q in range(skip + 1, texts.shape[1])]).mean((0, 1))
        assert found.prefix[layer] == pytest.approx(prefix.tolist())
        assert found.duplicate[layer] == pytest.approx(same.tolist())
        assert found.previous[layer] == pytest.approx(before.tolist())
    losses = F.cross_entropy(logits[:, :-1].flatten(0, 1), texts[:, 1:].flatten(), reduction="none").view(5, -1).mean(0)
    assert found.losses == pytest.approx(losses[max(0, skip - 1) :].tolist())
    assert found.loss_second == pytest.approx(float(losses[-LENGTH + 1 :].mean()))
    first = losses[skip : skip + LENGTH - 1]
    assert found.loss_first == pytest.approx(float(first.mean()))
    assert found.strongest(found.prefix) == max(
        ((layer, head) for layer in range(2) for head in range(4)), key=lambda place: found.prefix[place[0]][place[1]]
    )


def test_a_head_that_looks_at_the_token_before_scores_1() -> None:
    """A head whose scores fall steeply from the token before: by ALiBi, with itself hidden by construction of its query."""
    stack = tiny.stack(num_layers=1, position=PositionConfig(kind="alibi"))
    model = tiny.model(tiny.config(decoder=stack))
    attention = model.main.layers[0].attention.sublayer
    for projection in (attention.query, attention.key):
        projection.weight.data.zero_()
        projection.bias.data.zero_()
    found = induction(model, length=4, num_sequences=2)
    plain = torch.tensor([[2.0 ** (-2 * (h + 1)) * -d for d in range(8)] for h in range(4)])
    expected = [float(sum(row[: q + 1].softmax(-1)[1] for q in range(1, 8)) / 7) for row in plain]
    assert found.previous[0] == pytest.approx(expected, abs=1e-6)


def test_the_same_seed_draws_the_same_texts_and_another_others() -> None:
    model = tiny.model(tiny.config())
    one, same, other = (induction(model, length=4, num_sequences=2, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one.prefix != other.prefix


def test_heads_that_are_off_change_what_later_layers_see(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model(tiny.config(), dtype=torch.float64)
    found, texts = texts_seen(model, monkeypatch, off=((0, 2), (0, 1)))
    recorder = tiny.recorder(model, 5, texts.shape[1], "layers.1.attention.weights")
    hook = model.main.layers[0].attention.sublayer.output.register_forward_pre_hook(
        lambda _, given: (torch.cat((given[0][..., :4], 0 * given[0][..., 4:12], given[0][..., 12:]), -1), *given[1:])
    )
    model(texts, Call(causal(texts.shape[1]), watch=recorder))
    hook.remove()
    weights = recorder.tensors["layers.1.attention.weights"]
    prefix = torch.stack([weights[:, :, q, q - LENGTH + 1] for q in range(LENGTH, 2 * LENGTH)]).mean((0, 1))
    assert found.prefix[1] == pytest.approx(prefix.tolist())
    assert found.off == ((0, 2), (0, 1))


def test_progress_is_told_for_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CELLS", 16)
    calls: list[tuple[int, int]] = []
    model = tiny.model(tiny.config())
    few = induction(model, length=4, num_sequences=5, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(2, 5), (4, 5), (5, 5)]
    monkeypatch.undo()
    many = induction(model, length=4, num_sequences=5)
    assert few.prefix[1] == pytest.approx(many.prefix[1], abs=1e-6)
    assert few.losses == pytest.approx(many.losses, abs=1e-5)


def test_what_the_test_cannot_ask_is_refused() -> None:
    model = tiny.model(tiny.config())
    with pytest.raises(CutawayError, match=r"length is 25\. A half has from 2 to 24 tokens"):
        induction(model, length=25)
    with pytest.raises(CutawayError, match=r"heads.*4.*0 to 3"):
        induction(model, length=4, off=[(0, 4)])
    with pytest.raises(CutawayError, match=r"No site matches 'layers\.2\.attention\.mixed'"):
        induction(model, length=4, off=[(2, 0)])
    for allowed in ([], [31]):
        with pytest.raises(CutawayError, match=r"Name one at least; ids run from 0 to 30"):
            induction(model, length=4, allowed=allowed)
    with pytest.raises(CutawayError, match="num_sequences is 0"):
        induction(model, length=4, num_sequences=0)
    with pytest.raises(CutawayError, match="decoder-only"):
        induction(tiny.model(tiny.config(encoder=tiny.stack())), length=4)
