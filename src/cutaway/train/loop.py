"""The training loop. In: a recipe and a directory. Out: events, one after another, written to the run's log as they happen.

A run is a pure function of its recipe on one machine: killed at any step and started again, it goes on from its newest
checkpoint bit for bit (data order and randomness depend on the step alone).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch.optim import Optimizer

from ..cost import flops_per_token
from ..model import Transformer
from ..runtime.kernels import accelerate
from ..runtime.machine import find_device
from ..runtime.memory import keep_freed_memory
from ..runtime.roofline import peak_flops
from ..weights import checkpoint
from ..weights.train_state import load_state
from .average import averaged
from .begin import FindBase, begin
from .curves import Curves
from .events import EventLog, Kind, TrainEvent
from .feed import Feed, Held
from .optimise import factor, make_optimisers, rates, set_rate
from .recipe import Recipe
from .run_directory import RunDirectory, complete_checkpoints
from .score import bits_per_byte, to_bits
from .state import STATE_FILE, restore_optimisers, save_run_checkpoint
from .step import gradient_step, micro_seed


class Trainer:
    """One run. Iterate over `run()`; call `stop()` (from a signal handler, say) to save and leave after the current step."""

    def __init__(self, recipe: Recipe, directory: Path, *, is_fresh: bool = False, find_base: FindBase = Path) -> None:
        """Prepare everything; go on from the newest checkpoint of the directory, or begin.

        is_fresh: delete the run that is there and begin. find_base: where a recipe's base lies, by its name.
        Raises CutawayError for whatever keeps the run from its first step; the directory is then as it was.
        """
        self.started = time.perf_counter()
        keep_freed_memory()
        if recipe.training.threads is not None:
            torch.set_num_threads(recipe.training.threads)
        self.recipe, self.device = recipe, find_device(recipe.training.device, "training.device")
        self.directory = RunDirectory(directory, recipe, is_fresh=is_fresh)
        with self.directory.open():
            self._prepare(find_base)
            self.directory.claim()
        self.log = EventLog(self.directory.events, resume_at=self.step)
        self.curves = Curves(directory, self.log.kept)
        self.peak = peak_flops(torch.bfloat16 if recipe.training.precision == "bf16" else torch.float32, self.device)
        self.flops = flops_per_token(self.data.config, self.data.context, training=True) / len(self.data.config.stacks)
        self.is_stopping = False

    def stop(self) -> None:
        """Save and leave after the current step."""
        self.is_stopping = True

    def run(self) -> Iterator[TrainEvent]:
        """Train to the last step; every event is in the log before it is given here. Raises CutawayError, as `step` and
        `save_run_checkpoint` do; the checkpoints saved before are then whole."""
        try:
            for event in self._events():
                self.curves.show(event)
                yield event
        finally:
            self.curves.close()
            self.log.close()
            self.directory.close()

    @property
    def elapsed(self) -> float:
        """Seconds of this run, those before it was resumed included."""
        return self.elapsed_before + time.perf_counter() - self.started

    def _prepare(self, find_base: FindBase) -> None:
        newest = self.directory.newest()
        place = None if newest is None else newest[1]
        begun = begin(self.recipe, place, self.directory.cache, find_base)
        self.model: Transformer = begun.model.to(self.device)
        self.data: Feed = begun.feed
        self.base = begun.base
        accelerate(self.model)
        self.optimisers: list[Optimizer] = make_optimisers(self.model, self.recipe.optimiser)
        self.step, self.elapsed_before = (0, 0.0) if newest is None else self._restore(*newest)

    def _restore(self, step: int, path: Path) -> tuple[int, float]:
        tensors, facts = load_state(path / STATE_FILE)
        restore_optimisers(self.optimisers, tensors)
        return step, float(facts["elapsed"])

    def _events(self) -> Iterator[TrainEvent]:
        training = self.recipe.training
        yield from self._begin()
        while self.step < training.steps and not self.is_stopping:
            yield self._step()
            if self._is_due(training.evaluate_every):
                yield self._evaluate()
            if self._is_due(training.sample_every):
                yield self._sample()
            if self._is_due(training.save_every):
                yield self._save()
        yield self._finish()

    def _is_due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.recipe.training.steps

    def _emit(self, kind: Kind, **values: object) -> TrainEvent:
        return self.log.write(TrainEvent(kind, self.step, values))

    def _begin(self) -> Iterator[TrainEvent]:
        values: dict[str, object] = {
            "name": self.recipe.name,
            "directory": str(self.directory.path),
            "objective": self.recipe.objective.label,
            "estimate": self.recipe.objective.estimate,
            "seed": self.recipe.seed,
            "steps": self.recipe.training.steps,
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "trained": sum(weight.numel() for weight in self.model.parameters() if weight.requires_grad),
            "train_tokens": self.data.num_train_tokens,
            "validation_tokens": self.data.num_held_tokens,
        }
        if self.step == 0:
            yield self._emit("start", **values)
            return
        yield TrainEvent("resume", self.step, {**values, "damaged": [path.name for path in self.directory.damaged]})
        if self._is_due(self.recipe.training.save_every):
            # The log was cut before it: a run may be killed between saving and saying so.
            yield self._emit("save", checkpoint=str(self.directory.checkpoint(self.step)))

    def _step(self) -> TrainEvent:
        began, recipe, step = time.perf_counter(), self.recipe, self.step
        micro = range(recipe.training.accumulate)
        tasks = [self.data.task(step, index) for index in micro]
        has_dropout = recipe.adapter is not None  # nothing else has any, and switching takes time
        if has_dropout:
            self.model.train()
        set_rate(self.optimisers, factor(step, recipe.training.steps, recipe.schedule))
        loss, norm = gradient_step(
            self.model,
            tasks,
            self.optimisers,
            clip=recipe.optimiser.clip,
            precision=recipe.training.precision,
            seeds=[micro_seed(recipe.seed, step, index) for index in micro],
            label_smoothing=recipe.training.label_smoothing,
        )
        if has_dropout:
            self.model.eval()
        self.step += 1
        seconds, tokens = time.perf_counter() - began, sum(task.num_tokens for task in tasks)
        return self._emit(
            "step",
            loss=loss,
            **bits_per_byte(loss, self.data.bytes_per_token),
            gradient_norm=norm,
            **rates(self.optimisers),
            tokens=tokens,
            seconds=seconds,
            peak_share=self.flops * tokens / seconds / self.peak,
        )

    def _evaluate(self) -> TrainEvent:
        held = self.data.held(self.model, self.recipe.training.precision)
        nats, num_bytes = sum(part.nats for part in held), sum(part.num_bytes for part in held)
        tokens = sum(part.tokens for part in held)
        return self._emit(
            "evaluate",
            loss=nats / tokens,
            **bits_per_byte(nats, num_bytes),
            **_estimate(held),
            tokens=tokens,
            by_source={part.name: to_bits(part.nats) / (part.num_bytes or part.tokens) for part in held},
            elapsed=self.elapsed,
        )

    def _sample(self) -> TrainEvent:
        plan = self.recipe.sample
        return self._emit("sample", prompt=plan.prompt, text=self.data.sample(self.model, plan, self.recipe.seed))

    def _save(self) -> TrainEvent:
        self._save_checkpoint()
        return self._emit("save", checkpoint=str(self.directory.checkpoint(self.step)))

    def _save_checkpoint(self) -> None:
        self.log.sync()
        facts = {"step": self.step, "elapsed": self.elapsed, "recipe": self.recipe.name}
        path = self.directory.checkpoint(self.step)
        save_run_checkpoint(path, self.model, self.data.save, self.optimisers, facts, base=self.base)
        self.directory.prune(self.recipe.training.keep)

    def _finish(self) -> TrainEvent:
        newest = self.directory.newest()
        if self.step > (0 if newest is None else newest[0]):
            self._save_checkpoint()  # stopped between two saves of the plan
            newest = self.directory.newest()
        place = "" if newest is None else str(newest[1])
        if self.step < self.recipe.training.steps:
            return self._emit("stop", elapsed=self.elapsed, checkpoint=place)
        if self.recipe.training.average > 1:
            return self._emit(
                "end", averaged=self._average(), elapsed=self.elapsed, checkpoint=str(self.directory.averaged)
            )
        return self._emit("end", elapsed=self.elapsed, checkpoint=place)

    def _average(self) -> dict[str, object]:
        """Save the mean of the last checkpoints; what it was made of, and its held-out loss."""
        paths = [path for _, path in complete_checkpoints(self.directory.path)][-self.recipe.training.average :]
        self.model.load_state_dict(averaged(paths))
        checkpoint.save(self.directory.averaged, self.model, tokenizer_files=self.data.save)
        held = self.data.held(self.model, self.recipe.training.precision)
        loss = sum(part.nats for part in held) / sum(part.tokens for part in held)
        return {"checkpoints": [path.name for path in paths], "loss": loss, **_estimate(held)}


def _estimate(held: Sequence[Held]) -> dict[str, object]:
    """Whether held-out losses are exact or a bound; of a bound its standard error, nats a token, where several draws tell it."""
    errors = [part.standard_error for part in held if part.standard_error is not None]
    if not errors:
        return {"estimate": "exact"}
    error = math.hypot(*errors) / sum(part.tokens for part in held)
    return {"estimate": "bound", **({"standard_error": error} if math.isfinite(error) else {})}
