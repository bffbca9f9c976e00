"""One step of training. In: micro-batches. Out: the mean loss, and a model that is a little better.

Gradients add up over micro-batches as sums of losses over the global count of scored tokens, so 1 × 32 equals 32 × 1 on
ragged data. Randomness is stateless: torch is seeded from (seed, step, micro-batch, rank).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from ..errors import CutawayError
from ..model import Call, Transformer
from ..objectives import Task, cross_entropy, span_logits
from ..runtime.kernels import attend


def gradient_step(
    model: Transformer,
    tasks: Sequence[Task],
    optimisers: Sequence[Optimizer],
    *,
    clip: float | None,
    precision: str,
    seeds: Sequence[int],
    label_smoothing: float = 0.0,
) -> tuple[float, float]:
    """One update. tasks, seeds: one a micro-batch. Returns the mean loss (nats a scored token) and the gradient's norm.

    Raises CutawayError when the loss or its gradient is no longer a number; the model is then unchanged.
    """
    loss = accumulate(model, tasks, precision=precision, seeds=seeds, label_smoothing=label_smoothing)
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    norm = float(torch.nn.utils.get_total_norm(gradients, foreach=True))
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise CutawayError(
            f"Training diverged: the loss became {loss}, its gradient's norm {norm}. Checkpoints saved before are good. "
            "Train again with a lower optimiser.learning_rate or more schedule.warmup_steps."
        )
    if clip is not None and norm > clip:
        torch._foreach_mul_(gradients, clip / norm)
    for optimiser in optimisers:
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return loss, norm


def accumulate(
    model: Transformer, tasks: Sequence[Task], *, precision: str, seeds: Sequence[int], label_smoothing: float = 0.0
) -> float:
    """Add up the gradients of all micro-batches over their global count of scored tokens. Returns the mean loss."""
    num_scored = sum(task.num_scored for task in tasks)
    total = 0.0
    for task, seed in zip(tasks, seeds, strict=True):
        torch.manual_seed(seed)
        here = task.to(model.token.weight.device)
        with mixed(precision, model):
            logits = predict(model, here)
        loss = cross_entropy(logits, here, label_smoothing) / num_scored
        loss.backward()
        total += float(loss.detach())
    return total


def predict(model: Transformer, task: Task) -> Tensor:
    """The logits of a task, its source read first where there is one: [batch, position, vocab].

    Of a task with candidates, those of its labels: [batch, label, position].
    """
    memory = None
    if task.source_ids is not None:
        assert task.source is not None, "a source comes with its visibility"
        memory = model.encode(task.source_ids, Call(task.source, attend=attend))
    call = Call(task.tokens, attend=attend, memory=memory, types=task.types)
    states = model.states(task.input_ids, call)
    if task.candidates is not None:
        return span_logits(model.labelled(states, call), task.candidates)
    logits = model.logits(states[:, : task.target_ids.shape[1]], call)
    if task.barred_id is not None:
        logits[..., task.barred_id] = -torch.inf
    return logits


def mixed(precision: str, model: Transformer) -> contextlib.AbstractContextManager[object]:
    """bf16: products in bfloat16, weights and sums in fp32; fp32: as they are. On the device where the model is."""
    kind = model.token.weight.device.type
    return torch.autocast(kind, torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()


def micro_seed(seed: int, step: int, micro_batch: int, rank: int = 0) -> int:
    """A 63-bit seed of its own for every micro-batch."""
    value = 0
    for part in (seed, step, micro_batch, rank):
        value = (value ^ part) * 0x9E3779B97F4A7C15 % 2**64
        value ^= value >> 29
    return value >> 1
