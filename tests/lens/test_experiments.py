"""Patching and ablation by hooks of torch, gradient × input by differences, and the lens by the model's own head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from cutaway.config import AttentionConfig
from cutaway.errors import CutawayError
from cutaway.lens.ablation import ablation
from cutaway.lens.gradients import gradient_input
from cutaway.lens.logit_lens import lens_sites, logit_lens
from cutaway.lens.observe import trace
from cutaway.lens.patching import Patched, patching
from cutaway.lens.words import Words
from cutaway.model import Call, Transformer
from cutaway.model.visibility import causal, full
from tests import tiny
from tests.lens.readings import text
from tests.text.samples import trained

FIRST, SECOND, SOURCE = (3, 1, 4, 1, 5, 9), (3, 1, 7, 1, 5, 9), (2, 7, 1, 8)
PLACEMENTS = ("pre", "post", "parallel")
TOKENIZER = trained("bpe")


def build(placement: str = "pre", **knobs: Any) -> Transformer:
    stack = tiny.stack(placement=placement, attention=AttentionConfig(num_heads=4, num_kv_heads=2))  # type: ignore[arg-type]
    return tiny.model(tiny.config(decoder=stack, **knobs), dtype=torch.float64)


def crossed() -> Transformer:
    return tiny.model(tiny.config(encoder=tiny.stack(), decoder=tiny.stack(num_layers=3)), dtype=torch.float64)


def logits(model: Transformer, ids: tuple[int, ...], source: tuple[int, ...] = ()) -> Tensor:
    memory = model.encode(torch.tensor([source]), Call(full(len(source)))) if source else None
    with torch.no_grad():
        return model(torch.tensor([ids]), Call(causal(len(ids)), memory=memory))[0]


def sublayer(model: Transformer, layer: int, name: str, *, of_encoder: bool = False) -> Any:
    """What writes: the module whose output meets the stream (its norms after it included)."""
    stack = model.encoder if of_encoder else model.main
    assert stack is not None
    wrapper = getattr(stack.layers[layer], name)
    return wrapper if stack.config.placement == "parallel" else wrapper.sublayer


def keep(module: Any, run: Callable[[], Tensor], *, entering: bool = False) -> Tensor:
    """What leaves a module in a pass, or what enters it."""
    seen: list[Tensor] = []
    hook = module.register_forward_hook(lambda _, given, out: seen.append(given[0] if entering else out))
    run()
    hook.remove()
    return seen[0]


def replaced(module: Any, change: Callable[[Tensor], Tensor], run: Callable[[], Tensor], *, entering: bool) -> Tensor:
    """The pass with what leaves (or enters) a module changed."""
    if entering:
        hook = module.register_forward_pre_hook(lambda _, given: (change(given[0].clone()), *given[1:]))
    else:
        hook = module.register_forward_hook(lambda _, __, out: change(out.clone()))
    found = run()
    hook.remove()
    return found


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("what", ["residual", "attention", "feedforward", "heads"])
def test_patching_restores_what_hooks_restore(placement: str, what: Patched) -> None:
    model = build(placement)
    ends = [logits(model, ids)[4] for ids in (FIRST, SECOND)]
    leads = [float(end[8] - end[2]) for end in ends]
    calls: list[tuple[int, int]] = []
    found = patching(
        model,
        text(FIRST),
        text(SECOND),
        what=what,
        right=8,
        wrong=2,
        position=4,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert (found.first, found.second) == pytest.approx(leads, abs=1e-9)
    for layer in range(2):
        for place in range(4 if what == "heads" else 6):
            after = _patched(model, what, layer, place)[4]
            expected = (float(after[8] - after[2]) - leads[1]) / (leads[0] - leads[1])
            assert found.restored[layer][place] == pytest.approx(expected, abs=1e-8)
    assert calls[-1] == (2 * len(found.restored[0]),) * 2
    assert max(abs(share) for row in found.restored for share in row) > 0.01


def _patched(model: Transformer, what: str, layer: int, place: int) -> Tensor:
    """One patched pass, by hooks."""
    if what == "residual":
        module, entering = model.main.layers[layer], True
    elif what == "heads":
        module, entering = sublayer(model, layer, "attention").output, True
    else:
        module, entering = sublayer(model, layer, what), False
    clean = keep(module, lambda: logits(model, FIRST), entering=entering)

    def change(tensor: Tensor) -> Tensor:
        if what == "heads":
            tensor[:, :, 4 * place : 4 * place + 4] = clean[:, :, 4 * place : 4 * place + 4]
        else:
            tensor[:, place] = clean[:, place]
        return tensor

    return replaced(module, change, lambda: logits(model, SECOND), entering=entering)


def test_patching_all_that_differs_restores_all() -> None:
    """At the start of layer 0 only the token that differs carries the difference; at the end, the place read carries all."""
    found = patching(build(), text(FIRST), text(SECOND), right=8, wrong=2)
    assert [round(share, 9) for share in found.restored[0]] == [0, 0, 1, 0, 0, 0]
    assert found.restored[1][5] != 0
    assert found.tokens == found.other_tokens == ("t0", "t1", "t2", "t3", "t4", "t5")


def test_the_tokens_are_what_the_model_says_to_both() -> None:
    model = build(embedding_scale=5.0)
    found = patching(model, text(FIRST), text(SECOND), position=2)
    assert (found.right, found.wrong) == tuple(int(logits(model, ids)[2].argmax()) for ids in (FIRST, SECOND))


def test_patching_reaches_both_stacks() -> None:
    model, other = crossed(), (2, 7, 6, 8)
    one, two = text(FIRST, source=SOURCE), text(FIRST, source=other)
    encoder = patching(model, one, two, of_encoder=True, right=8, wrong=2)
    assert [round(share, 9) for share in encoder.restored[0]] == [0, 0, 1, 0]
    crossing = patching(model, one, two, what="cross", right=8, wrong=2)
    heads = patching(model, one, two, what="cross_heads", right=8, wrong=2)
    assert (len(crossing.restored), len(crossing.restored[0]), len(heads.restored[0])) == (3, 6, 4)
    assert all(share == pytest.approx(0, abs=1e-9) for share in patching(model, one, two, right=8, wrong=2).restored[0])
    assert abs(crossing.restored[2][5]) > 1e-3


def test_patching_needs_two_prompts_that_fit() -> None:
    model = build()
    with pytest.raises(CutawayError, match="The prompts have 6 and 5 tokens"):
        patching(model, text(FIRST), text(SECOND[:5]))
    with pytest.raises(CutawayError, match="are both 'word 8'"):
        patching(model, text(FIRST), text(SECOND), right=8, wrong=8, texts=lambda i: f"word {i}")
    with pytest.raises(CutawayError, match="nothing to restore"):
        patching(model, text(FIRST), text(FIRST), right=8, wrong=2)
    with pytest.raises(CutawayError, match=r"what is 'mlp'\. Allowed: residual, attention"):
        patching(model, text(FIRST), text(SECOND), what="mlp")  # type: ignore[arg-type]
    with pytest.raises(CutawayError, match="only the decoder of two stacks has cross-attention"):
        patching(model, text(FIRST), text(SECOND), what="cross")
    with pytest.raises(CutawayError, match="one stack"):
        patching(model, text(FIRST), text(SECOND), of_encoder=True)
    with pytest.raises(CutawayError, match=r"position is 6\. The text has 6 tokens"):
        patching(model, text(FIRST), text(SECOND), position=6)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("how", ["zero", "mean"])
def test_ablation_loses_what_hooks_lose(placement: str, how: Any) -> None:
    model = build(placement)

    def loss(found: Tensor) -> float:
        return float(torch.nn.functional.cross_entropy(found[:-1], torch.tensor(FIRST[1:])))

    measures = {"loss": ((), loss), "logit": ((8,), lambda x: float(x[-1, 8])), "lead": ((8, 2), _lead)}
    for name, (ids, measure) in measures.items():
        found = ablation(model, text(FIRST), *ids, how=how)
        whole = measure(logits(model, FIRST))
        assert (found.measure, found.whole) == (name, pytest.approx(whole, abs=1e-9))
        for layer in range(2):
            output = sublayer(model, layer, "attention").output
            for head in range(4):
                after = replaced(output, _off(how, head), lambda: logits(model, FIRST), entering=True)
                assert found.heads[layer][head] == pytest.approx(measure(after) - whole, abs=1e-9)
            network = sublayer(model, layer, "feedforward")
            after = replaced(network, _off(how, None), lambda: logits(model, FIRST), entering=False)
            assert found.feedforward[layer] == pytest.approx(measure(after) - whole, abs=1e-9)
        assert found.cross == ()
        assert max(abs(effect) for effect in found.feedforward) > 1e-3


def _lead(found: Tensor) -> float:
    return float(found[-1, 8] - found[-1, 2])


def _off(how: str, head: int | None) -> Callable[[Tensor], Tensor]:
    part = slice(None) if head is None else slice(4 * head, 4 * head + 4)

    def change(tensor: Tensor) -> Tensor:
        tensor[..., part] = 0 if how == "zero" else tensor[..., part].mean(1, keepdim=True)
        return tensor

    return change


def test_the_mean_is_that_of_the_references() -> None:
    model = build()
    found = ablation(model, text(FIRST), 8, how="mean", reference=[text(SECOND), text((1, 2, 3))])
    network = sublayer(model, 1, "feedforward")
    written = [keep(network, lambda ids=ids: logits(model, ids))[0] for ids in (SECOND, (1, 2, 3))]  # type: ignore[misc]
    mean = torch.cat(written).mean(0)
    after = replaced(network, mean.expand_as, lambda: logits(model, FIRST), entering=False)
    assert found.feedforward[1] == pytest.approx(float(after[-1, 8]) - found.whole, abs=1e-9)


def test_ablation_reaches_cross_attention_and_the_encoder() -> None:
    model, calls = crossed(), []
    read = text(FIRST, source=SOURCE)
    found = ablation(model, read, 8, progress=lambda done, total: calls.append((done, total)))
    assert (len(found.heads), len(found.cross), len(found.cross[0]), len(found.feedforward)) == (3, 3, 4, 3)
    assert calls == [(27, 27)]
    module = model.main.layers[1].cross.sublayer.output
    after = replaced(module, _off("zero", 2), lambda: logits(model, FIRST, SOURCE), entering=True)
    assert found.cross[1][2] == pytest.approx(float(after[-1, 8]) - found.whole, abs=1e-9)
    encoder = ablation(model, read, 8, of_encoder=True)
    assert (encoder.stack, len(encoder.heads), encoder.cross) == ("encoder", 2, ())
    assert max(abs(effect) for row in encoder.heads for effect in row) > 1e-4


def test_ablation_says_what_it_cannot_measure() -> None:
    model = build()
    with pytest.raises(CutawayError, match=r"how is 'noise'\. Allowed: zero, mean"):
        ablation(model, text(FIRST), 8, how="noise")  # type: ignore[arg-type]
    with pytest.raises(CutawayError, match="against is given without token_id"):
        ablation(model, text(FIRST), against=3)
    with pytest.raises(CutawayError, match="nothing comes before it"):
        ablation(model, text(FIRST[:1]))
    encoder = tiny.model(tiny.config(encoder=tiny.stack(), decoder=None))
    with pytest.raises(CutawayError, match="does not predict the next token"):
        ablation(encoder, text(FIRST, sees_ahead=True))
    with pytest.raises(CutawayError, match="token_id is 99"):
        ablation(model, text(FIRST), 99)


@pytest.mark.parametrize("against", [None, 2])
def test_gradient_times_input_is_the_slope_along_each_row(against: int | None) -> None:
    model, step = build(), 1e-5
    found = gradient_input(model, text(FIRST), 8, against, position=4)

    def logit(place: int, factor: float) -> float:
        def change(rows: Tensor) -> Tensor:
            rows[:, place] *= factor
            return rows

        hook = model.token.register_forward_hook(lambda _, __, out: change(out.clone()))
        end = logits(model, FIRST)[4]
        hook.remove()
        return float(end[8]) - (0.0 if against is None else float(end[against]))

    assert found.logit == pytest.approx(logit(0, 1.0), abs=1e-9)
    for place in range(6):
        slope = (logit(place, 1 + step) - logit(place, 1 - step)) / (2 * step)
        assert found.scores[place] == pytest.approx(slope, abs=1e-6)
    assert found.scores[5] == found.lengths[5] == 0, "nothing behind the place read is seen"
    assert min(found.lengths[:5]) > 0


def test_gradient_times_input_reaches_the_source() -> None:
    found = gradient_input(crossed(), text(FIRST, source=SOURCE), 8)
    assert (len(found.scores), len(found.source_scores)) == (6, 4)
    assert min(found.source_lengths) > 0
    assert found.source_tokens == ("t0", "t1", "t2", "t3")


def test_gradient_times_input_runs_under_inference_mode() -> None:
    model = build()
    with torch.inference_mode():
        found = gradient_input(model, text(FIRST), 8)
    assert any(found.scores)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_the_lens_ends_at_the_output(placement: str) -> None:
    words = Words(TOKENIZER, TOKENIZER.vocab_size)
    model = build(placement, vocab_size=TOKENIZER.vocab_size)
    found = logit_lens(model, trace(model, text(FIRST), lens_sites(model)), words, count=3)
    chances = logits(model, FIRST).softmax(-1)
    assert found.sites == ("layers.0.residual.start", "layers.0.residual.end", "layers.1.residual.end")
    for place, row in enumerate(found.rows):
        best = chances[place].topk(3)
        assert [guess.id for guess in row[-1].guesses] == best.indices.tolist()
        if place < 5:
            assert row[-1].actual == pytest.approx(float(chances[place, FIRST[place + 1]]), abs=1e-9)
            assert row[-1].rank == int((chances[place] > chances[place, FIRST[place + 1]]).sum())
    assert (found.rows[5][0].actual, found.rows[5][0].rank) == (None, None)
    middle = trace(model, text(FIRST), "layers.0.residual.end")["layers.0.residual.end"][0, 2]
    early = model.logits(model.main.norm(middle)[None, None], Call(full(1)))[0, 0]
    assert found.rows[2][1].guesses[0].id == int(early.argmax())


def test_the_lens_has_middles_where_blocks_have() -> None:
    assert len(lens_sites(build(), has_middle=True)) == 5
    assert len(lens_sites(build("parallel"), has_middle=True)) == 3
    assert len(lens_sites(crossed(), has_middle=True)) == 10
    model = crossed()
    words = Words(TOKENIZER, 31)
    seen = trace(model, text(FIRST, source=SOURCE), lens_sites(model))
    last = logit_lens(model, seen, words).rows[-1][-1].guesses[0]
    assert last.id == int(logits(model, FIRST, SOURCE)[-1].argmax())


def test_a_masked_model_is_asked_at_the_token_itself() -> None:
    model = tiny.model(tiny.config(encoder=tiny.stack(), decoder=None), dtype=torch.float64)
    seen = trace(model, text(FIRST, sees_ahead=True), lens_sites(model))
    found = logit_lens(model, seen, Words(TOKENIZER, 31))
    chances = model(torch.tensor([FIRST]), Call(full(6)))[0].softmax(-1)
    assert [row[-1].actual for row in found.rows] == pytest.approx([float(chances[i, t]) for i, t in enumerate(FIRST)])
