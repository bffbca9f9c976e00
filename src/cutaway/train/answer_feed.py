"""Questions on contexts -> a decoder that writes the answer. In: a recipe with [questions], answers = 'written'. Out: a `Feed`.

Questions of one context share a row: see `data.answer_rows`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from ..config import ModelConfig
from ..data import AnswerLoader, Question, QuestionSource, answer_rows, read_questions, written_form
from ..decode import Sampling, Session, autoregressive, run
from ..errors import CutawayError
from ..model import Transformer
from ..objectives import Task, answers
from ..text import Tokenizer
from .feed import Held
from .question_feed import questions_of
from .recipe import Recipe, SampleRecipe
from .score import score_tasks
from .text_feed import row_length


@dataclass(frozen=True)
class AnswerFeed:
    """Rows of questions, those held out, and the loaders of a run; see `Feed`. example: the first question held out."""

    recipe: Recipe
    tokenizer: Tokenizer
    config: ModelConfig
    loader: AnswerLoader
    held_loaders: dict[str, AnswerLoader]
    example: Question

    @property
    def num_train_tokens(self) -> int:
        """See `Feed`."""
        return int(self.loader.lengths.sum())

    @property
    def num_held_tokens(self) -> int:
        """See `Feed`."""
        return sum(int(loader.lengths.sum()) for loader in self.held_loaders.values())

    @cached_property
    def bytes_per_token(self) -> float:
        """See `Feed`."""
        branches = [branch for row in self.loader.rows for branch in row.branches]
        return sum(branch.num_bytes for branch in branches) / sum(branch.num_scored for branch in branches)

    @property
    def context(self) -> int:
        """See `Feed`."""
        return max(1, round(float(self.loader.lengths.mean())))

    def task(self, step: int, micro_batch: int) -> Task:
        """See `Feed`."""
        return answers(self.loader.batch(step * self.recipe.training.accumulate + micro_batch))

    def held(self, model: Transformer, precision: str) -> list[Held]:
        """See `Feed`."""
        return [
            Held(name, *score_tasks(model, ((answers(batch), batch.num_bytes) for batch in loader.all()), precision))
            for name, loader in self.held_loaders.items()
        ]

    def sample(self, model: Transformer, plan: SampleRecipe, seed: int) -> str:
        """A question, an arrow, and what the model writes, having read the first context held out."""
        asked = self.example if not plan.prompt.strip() else replace(self.example, text=plan.prompt)
        (ids,) = self.tokenizer.encode_begun([written_form(asked)])
        sampling = Sampling(temperature=plan.temperature, seed=seed)
        decoder = autoregressive(Session(model), ids, sampling, max_tokens=plan.max_tokens)
        said = [event.new for event in run(decoder) if event.new is not None]
        return f"{asked.text} →{self.tokenizer.decode(said, skip_special=True)}"

    def save(self, directory: Path) -> None:
        """See `Feed`."""
        self.tokenizer.save(directory)


def prepare_answers(recipe: Recipe, tokenizer: Tokenizer, config: ModelConfig) -> AnswerFeed:
    """Read, tokenise and lay out the questions of a recipe.

    Raises CutawayError for whatever cannot be read, questions that are all too long, and a tokenizer without an end token.
    """
    plan, training, roles = questions_of(recipe), recipe.training, tokenizer.roles
    if roles.eos is None:
        raise CutawayError(
            "Answers need a token that ends a text, and this tokenizer has none. Use another kind, say bpe."
        )
    end_id = roles.eos
    pad_id = end_id if roles.pad is None else roles.pad  # what nobody sees

    def loader(sources: Sequence[QuestionSource]) -> AnswerLoader:
        assert training.batch_tokens is not None, "checked with the recipe"
        context = row_length(recipe, config)
        rows = [
            row
            for source in sources
            for row in answer_rows(
                read_questions(source), tokenizer, end_id=end_id, context=context, row_tokens=training.batch_tokens
            )
        ]
        return AnswerLoader(rows, batch_tokens=training.batch_tokens, seed=recipe.seed, pad_id=pad_id)

    return AnswerFeed(
        recipe,
        tokenizer,
        config,
        loader(plan.train),
        {source.name: loader([source]) for source in plan.validation},
        next(read_questions(plan.validation[0])),
    )


def texts_of_questions(recipe: Recipe) -> Iterator[str]:
    """Every context once, and every question and answer: what a tokenizer for them learns from."""
    last = ""
    for source in questions_of(recipe).train:
        for question in read_questions(source):
            if not last.startswith(question.context):
                yield question.context
            last = question.context
            yield written_form(replace(question, context=""))
            yield from (f" {answer.text}" for answer in question.answers[:1])
