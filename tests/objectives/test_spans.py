"""Begin and end as a task: the reference's own loss and gradients, masks by hand, and batches equal to their rows alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForQuestionAnswering

from cutaway.data import Cutter, collate
from cutaway.model import Call, Transformer, visibility
from cutaway.objectives import Task, cross_entropy, span_logits, spans
from cutaway.train.step import accumulate, predict
from cutaway.weights import checkpoint
from tests import asked, tiny
from tests.weights import theirs

SIZES = {"vocab_size": 31, "hidden_size": 15, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 37}


def pair(tmp_path: Path) -> tuple[Any, Transformer]:
    """The reference and ours, with the same random weights."""
    config = BertConfig(**SIZES, max_position_embeddings=40, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    reference = theirs.random(BertForQuestionAnswering, config)
    reference.save_pretrained(tmp_path)
    return reference.requires_grad_(True), checkpoint.load(tmp_path).requires_grad_(True)


def task(lengths: list[int], *, is_everything: bool) -> Task:
    """Rows of random ids with two types. is_everything: whether any token may answer; else cls and the second half."""
    width = max(lengths)
    ids, types = tiny.ids(len(lengths), width), (torch.arange(width) >= width // 2).long().expand(len(lengths), -1)
    places = torch.arange(width).expand(len(lengths), -1)
    inside = places < torch.tensor(lengths)[:, None]
    candidates = inside if is_everything else inside & ((places == 0) | (types == 1))
    targets = torch.tensor([(width // 2, length - 1) if length > width // 2 else (0, 0) for length in lengths])
    tokens = visibility.padded(lengths, width, is_causal=False)
    return Task(ids, tokens, targets, types=types, candidates=candidates)


def test_the_loss_and_its_gradients_are_those_of_the_reference(tmp_path: Path) -> None:
    reference, ours = pair(tmp_path)
    asked_for = task([9, 9, 9], is_everything=True)
    begins, ends = asked_for.target_ids.unbind(1)
    wanted = reference(
        asked_for.input_ids, token_type_ids=asked_for.types, start_positions=begins, end_positions=ends
    ).loss
    loss = cross_entropy(predict(ours, asked_for), asked_for) / asked_for.num_scored
    assert float(loss.detach()) == pytest.approx(float(wanted.detach()), rel=1e-5)
    loss.backward()
    wanted.backward()
    assert ours.labels is not None
    tiny.assert_close(ours.labels.projection.weight.grad, reference.qa_outputs.weight.grad)
    theirs_grad, ours_grad = reference.get_input_embeddings().weight.grad, ours.token.weight.grad
    assert (ours_grad - theirs_grad).abs().max() <= 1e-5 * max(1.0, float(theirs_grad.abs().max()))
    assert theirs_grad.abs().max() > 1e-2


def test_padding_and_question_take_no_part(tmp_path: Path) -> None:
    """By their logits: a softmax over the candidates of each row alone."""
    reference, ours = pair(tmp_path)
    asked_for = task([9, 6, 3], is_everything=False)
    assert asked_for.candidates is not None
    mask = (torch.arange(9) < torch.tensor([9, 6, 3])[:, None]).long()
    with torch.inference_mode():
        found = reference(asked_for.input_ids, attention_mask=mask, token_type_ids=asked_for.types)
        loss = float(cross_entropy(predict(ours, asked_for), asked_for))
    wanted = 0.0
    for row, (begin, end) in enumerate(asked_for.target_ids.tolist()):
        open_places = asked_for.candidates[row]
        for logits, target in ((found.start_logits[row], begin), (found.end_logits[row], end)):
            wanted += float(logits[open_places].logsumexp(0) - logits[target])
    assert loss == pytest.approx(wanted, rel=1e-5)


def test_labels_become_logits_over_places() -> None:
    scores, candidates = torch.randn(2, 5, 2), torch.tensor([[1, 0, 1, 1, 0], [1, 1, 1, 1, 1]]).bool()
    found = span_logits(scores, candidates)
    assert found.shape == (2, 2, 5)
    assert torch.equal(found[1, 0], scores[1, :, 0])
    assert torch.equal(found[0, 1].isinf(), ~candidates[0])


def test_a_batch_is_the_sum_of_its_windows_and_accumulates_like_one() -> None:
    tokenizer = asked.wordpiece()
    config = asked.config(tokenizer)
    cutter = Cutter(tokenizer, config, length=60, stride=16, max_question=20)
    windows, model = list(cutter.windows(asked.questions())), tiny.model(config).requires_grad_(True)
    assert len({window.num_tokens for window in windows}) > 4
    parts = [[window] for window in windows]
    losses, gradients = [], []
    for batches in ([windows], parts, [windows[:5], windows[5:]]):
        tasks = [spans(collate(batch, cutter, 0)) for batch in batches]
        model.zero_grad()
        losses.append(accumulate(model, tasks, precision="fp32", seeds=range(len(tasks))))
        gradients.append(model.token.weight.grad.clone())
        assert sum(each.num_scored for each in tasks) == 2 * len(windows)
    assert losses[1:] == pytest.approx([losses[0]] * 2, rel=1e-5)
    for other in gradients[1:]:
        assert (other - gradients[0]).abs().max() < 1e-5


def test_rows_of_one_length_need_no_mask() -> None:
    tokenizer = asked.wordpiece()
    cutter = Cutter(tokenizer, asked.config(tokenizer), length=60, stride=16, max_question=20)
    windows = list(cutter.windows(asked.questions()))
    assert spans(collate(windows[:1] * 2, cutter, 0)).tokens.flag == "full"
    assert spans(collate(windows, cutter, 0)).tokens.flag is None


def test_types_reach_the_model() -> None:
    tokenizer = asked.wordpiece()
    config = asked.config(tokenizer)
    cutter, model = Cutter(tokenizer, config, length=60, stride=16, max_question=20), tiny.model(config)
    window = next(cutter.windows(asked.questions()))
    found = predict(model, spans(collate([window], cutter, 0)))[0]
    ids = torch.as_tensor(cutter.row(window))[None]
    call = Call(visibility.full(ids.shape[1]), types=torch.as_tensor(cutter.types(window))[None])
    wanted = model.labelled(model.states(ids, call), call)[0].T
    inside = slice(window.first, window.num_tokens - 1)
    tiny.assert_close(found[:, inside], wanted[:, inside])
