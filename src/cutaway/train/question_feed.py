"""Questions on contexts -> a model that marks the answer. In: a recipe with [questions]. Out: a `Feed`.

Whatever is wrong with the questions is said here, with file and place. What is predicted is a place and no text, so there are no
bytes to count.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..config import ModelConfig
from ..data import Cutter, Question, QuestionSource, WindowLoader, collate, read_questions
from ..decode import best_spans, span_scores
from ..errors import CutawayError
from ..model import Transformer
from ..objectives import Task, spans
from ..text import Tokenizer
from .feed import Held
from .recipe import Recipe, SampleRecipe
from .recipe_data import QuestionsRecipe
from .score import score_tasks
from .step import predict
from .text_feed import row_length

SPAN_LABELS = 2
"""The scores of a token: how well an answer begins there, and how well it ends there."""


@dataclass(frozen=True)
class QuestionFeed:
    """Windows, those held out, and the loaders of a run; see `Feed`. example: the first question held out."""

    recipe: Recipe
    tokenizer: Tokenizer
    config: ModelConfig
    loader: WindowLoader
    held_loaders: dict[str, WindowLoader]
    example: Question
    bytes_per_token: float = 0.0

    @property
    def num_train_tokens(self) -> int:
        """See `Feed`."""
        return int(self.loader.lengths.sum())

    @property
    def num_held_tokens(self) -> int:
        """See `Feed`."""
        return sum(int(loader.lengths.sum()) for loader in self.held_loaders.values())

    @property
    def context(self) -> int:
        """See `Feed`."""
        return max(1, round(float(self.loader.lengths.mean())))

    def task(self, step: int, micro_batch: int) -> Task:
        """See `Feed`."""
        return spans(self.loader.batch(step * self.recipe.training.accumulate + micro_batch))

    def held(self, model: Transformer, precision: str) -> list[Held]:
        """See `Feed`. A token scored is a target: two of each window."""
        return [
            Held(name, *score_tasks(model, ((spans(batch), 0.0) for batch in loader.all()), precision))
            for name, loader in self.held_loaders.items()
        ]

    @torch.inference_mode()
    def sample(self, model: Transformer, plan: SampleRecipe, seed: int) -> str:  # noqa: ARG002 (nothing is drawn)
        """A question, an arrow, and what the model would mark for it in the first context held out."""
        asked = self.example if not plan.prompt.strip() else replace(self.example, text=plan.prompt, answers=())
        cutter = self.loader.cutter
        window = next(cutter.windows([asked]))
        task = spans(collate([window], cutter, self.loader.pad_id)).to(model.token.weight.device)
        logits = predict(model, task)[0].cpu()
        begins, ends = logits[:, window.first : window.first + window.stop - window.start].float()
        first, last, _ = next(best_spans(span_scores(begins, ends, plan.max_tokens)))
        marked = window.passage.begins[window.start + first], window.passage.ends[window.start + last]
        return f"{asked.text} → {asked.context[marked[0] : marked[1]]}"

    def save(self, directory: Path) -> None:
        """See `Feed`."""
        self.tokenizer.save(directory)


def prepare_questions(recipe: Recipe, tokenizer: Tokenizer, config: ModelConfig) -> QuestionFeed:
    """Read, tokenise and lay out the questions of a recipe.

    Raises CutawayError for whatever cannot be read, and rows without room for a context.
    """
    plan, training = questions_of(recipe), recipe.training
    assert training.batch_size is not None, "checked with the recipe"
    length = row_length(recipe, config)
    cutter = Cutter(tokenizer, config, length=length, stride=plan.stride, max_question=plan.max_question)
    pad_id = tokenizer.roles.pad if tokenizer.roles.pad is not None else cutter.frame.before[0]  # what nobody sees

    def loader(sources: tuple[QuestionSource, ...], batch_size: int) -> WindowLoader:
        windows = [window for source in sources for window in cutter.windows(read_questions(source))]
        return WindowLoader(windows, cutter, batch_size=batch_size, seed=recipe.seed, pad_id=pad_id)

    return QuestionFeed(
        recipe,
        tokenizer,
        config,
        loader(plan.train, training.batch_size),
        {source.name: loader((source,), training.evaluate_batch_size) for source in plan.validation},
        next(read_questions(plan.validation[0])),
    )


def questions_of(recipe: Recipe) -> QuestionsRecipe:
    """The questions of a recipe that has them."""
    assert recipe.questions is not None, "a question feed is made of [questions]"
    return recipe.questions


def check_reader(recipe: Recipe, config: ModelConfig) -> None:
    """Raises CutawayError for a base that is no encoder, or one that has other scores of its tokens."""
    if config.encoder is None or config.decoder is not None:
        raise CutawayError(
            f"The base {recipe.base} does not fit the questions: it takes a model with an encoder alone, which sees a question "
            "and its context whole. Name another base."
        )
    if config.num_labels not in (0, SPAN_LABELS):
        raise CutawayError(
            f"The base {recipe.base} gives each token {config.num_labels} scores, and an answer takes {SPAN_LABELS}: where it "
            "begins and ends. Name the model that it was made from."
        )
