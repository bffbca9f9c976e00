"""The training loop. In: a recipe and a directory. Out: events, one after another, written to the run's log as they happen.

A run is a pure function of its recipe on one machine: killed at any step and started again, it goes on from its newest
checkpoint bit for bit (data order and randomness depend on the step alone).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.optim import Optimizer

from ..cost import flops_per_token
from ..data import Corpus
from ..decode import Sampling, Session, autoregressive, run
from ..model import Transformer, initialise
from ..objectives import causal
from ..weights import checkpoint
from ..weights.train_state import load_state
from . import curves
from .events import EventLog, Kind, TrainEvent, read_events
from .machine import keep_freed_memory, peak_flops
from .optimise import factor, make_optimisers, set_rate
from .prepare import Prepared, prepare
from .recipe import Recipe
from .run_directory import RunDirectory
from .score import score, to_bits
from .state import STATE_FILE, restore_optimisers, save_run_checkpoint
from .step import gradient_step, micro_seed


class Trainer:
    """One run. Iterate over `run()`; call `stop()` (from a signal handler, say) to save and leave after the current step."""

    def __init__(self, recipe: Recipe, directory: Path, *, is_fresh: bool = False) -> None:
        started = time.perf_counter()
        keep_freed_memory()
        if recipe.training.threads is not None:
            torch.set_num_threads(recipe.training.threads)
        self.recipe = recipe
        self.directory = RunDirectory(directory, recipe, is_fresh=is_fresh)
        self.data: Prepared = prepare(recipe, directory)
        generator = torch.Generator().manual_seed(recipe.seed)
        self.model = initialise(Transformer(self.data.config), generator, recipe.model.initial_std)
        self.optimisers: list[Optimizer] = make_optimisers(self.model, recipe.optimiser)
        self.step, self.elapsed_before = self._resume()
        self.log = EventLog(self.directory.events, resume_at=self.step)
        self.peak = peak_flops(torch.bfloat16 if recipe.training.precision == "bf16" else torch.float32)
        self.flops = flops_per_token(self.data.config, recipe.model.context, training=True)
        self.started, self.is_stopping = started, False

    def stop(self) -> None:
        """Save and leave after the current step."""
        self.is_stopping = True

    def run(self) -> Iterator[TrainEvent]:
        """Train to the last step; every event is in the log before it is given here."""
        training = self.recipe.training
        yield self._start()
        while self.step < training.steps and not self.is_stopping:
            yield self._step()
            is_last = self.step == training.steps
            if self.step % training.evaluate_every == 0 or is_last:
                yield self._evaluate()
            if self.step % training.sample_every == 0 or is_last:
                yield self._sample()
            if self.step % training.save_every == 0 or is_last or self.is_stopping:
                yield self._save()
        yield self._finish()

    @property
    def elapsed(self) -> float:
        """Seconds of this run, those before it was resumed included."""
        return self.elapsed_before + time.perf_counter() - self.started

    def _emit(self, kind: Kind, **values: object) -> TrainEvent:
        return self.log.write(TrainEvent(kind, self.step, values))

    def _start(self) -> TrainEvent:
        return self._emit(
            "start",
            name=self.recipe.name,
            directory=str(self.directory.path),
            steps=self.recipe.training.steps,
            parameters=sum(parameter.numel() for parameter in self.model.parameters()),
            train_tokens=sum(corpus.num_tokens for corpus in self.data.train),
            validation_tokens=sum(corpus.num_tokens for corpus in self.data.validation),
        )

    def _step(self) -> TrainEvent:
        began, recipe, step = time.perf_counter(), self.recipe, self.step
        micro = range(recipe.training.accumulate)
        tasks = [causal(self.data.loader.batch(step, index)) for index in micro]
        share = factor(step, recipe.training.steps, recipe.schedule)
        set_rate(self.optimisers, share)
        loss, norm = gradient_step(
            self.model,
            tasks,
            self.optimisers,
            clip=recipe.optimiser.clip,
            precision=recipe.training.precision,
            seeds=[micro_seed(recipe.seed, step, index) for index in micro],
        )
        self.step += 1
        seconds, tokens = time.perf_counter() - began, sum(task.input_ids.numel() for task in tasks)
        return self._emit(
            "step",
            loss=loss,
            bits_per_byte=to_bits(loss) / self.data.bytes_per_token,
            gradient_norm=norm,
            learning_rate=recipe.optimiser.learning_rate * share,
            tokens=tokens,
            seconds=seconds,
            peak_share=self.flops * tokens / seconds / self.peak,
        )

    def _evaluate(self) -> TrainEvent:
        parts = [self._evaluate_corpus(corpus) for corpus in self.data.validation]
        nats, tokens, num_bytes = (sum(column) for column in zip(*parts, strict=True))
        by_source = {
            corpus.name: to_bits(part[0]) / part[2] for corpus, part in zip(self.data.validation, parts, strict=True)
        }
        return self._emit(
            "evaluate",
            loss=nats / tokens,
            bits_per_byte=to_bits(nats) / num_bytes,
            tokens=tokens,
            by_source=by_source,
            elapsed=self.elapsed,
        )

    def _evaluate_corpus(self, corpus: Corpus) -> tuple[float, float, float]:
        training, is_packed = self.recipe.training, self.recipe.data.packing == "packed"
        return score(
            self.model,
            corpus,
            context=self.recipe.model.context,
            batch_size=training.evaluate_batch_size,
            packed_with=self.data.tokenizer.roles.pad if is_packed else None,
            precision=training.precision,
        )

    def _sample(self) -> TrainEvent:
        plan, tokenizer = self.recipe.sample, self.data.tokenizer
        session = Session(self.model)
        sampling = Sampling(temperature=plan.temperature, seed=self.recipe.seed)
        eos = tokenizer.roles.eos
        decoder = autoregressive(
            session,
            tokenizer.encode(plan.prompt),
            sampling,
            max_tokens=min(plan.max_tokens, self.recipe.model.context - 16),
            eos_ids=() if eos is None else (eos,),
        )
        ids = [event.new for event in run(decoder) if event.kind == "commit"]
        return self._emit("sample", prompt=plan.prompt, text=plan.prompt + tokenizer.decode(ids, skip_special=True))

    def _save(self) -> TrainEvent:
        path = self.directory.checkpoint(self.step)
        facts = {"step": self.step, "elapsed": self.elapsed, "recipe": self.recipe.name}
        save_run_checkpoint(path, self.model, self.data.tokenizer, self.optimisers, facts)
        self.directory.prune(self.recipe.training.keep)
        return self._emit("save", checkpoint=str(path))

    def _finish(self) -> TrainEvent:
        curves.draw(read_events(self.directory.events), self.directory.path / "loss.png")
        curves.write_tensorboard(read_events(self.directory.events), self.directory.path / "tensorboard")
        is_done = self.step == self.recipe.training.steps
        newest = self.directory.newest()
        place = "" if newest is None else str(newest[1])
        event = self._emit("end" if is_done else "stop", elapsed=self.elapsed, checkpoint=place)
        self.log.close()
        return event

    def _resume(self) -> tuple[int, float]:
        newest = self.directory.newest()
        if newest is None:
            return 0, 0.0
        step, path = newest
        self.model.load_state_dict(checkpoint.load(path).state_dict())
        tensors, facts = load_state(path / STATE_FILE)
        restore_optimisers(self.optimisers, tensors)
        return step, float(facts["elapsed"])
