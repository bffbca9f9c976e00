"""What a trainer reads, whatever it is made of. In: a step. Out: tasks to learn from, held-out scores, a sample.

text_feed: documents, predicted token by token. pair_feed: sources, and targets to say. question_feed: questions, and where
their contexts answer them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..config import ModelConfig
from ..model import Transformer
from ..objectives import Task
from ..text import Tokenizer
from .recipe import SampleRecipe


@dataclass(frozen=True, slots=True)
class Held:
    """How well a model predicts one held-out source: the sum of −log p in nats, the tokens scored, their UTF-8 bytes
    (0 where what is predicted is no text). standard_error: of nats, where they are a bound by draws; None: they are exact."""

    name: str
    nats: float
    tokens: float
    num_bytes: float
    standard_error: float | None = None


class Feed(Protocol):
    """The data of a run. Everything is a function of the recipe and the step; nothing is kept between steps."""

    @property
    def tokenizer(self) -> Tokenizer:
        """What every checkpoint gets."""
        ...

    @property
    def config(self) -> ModelConfig:
        """The architecture, with the vocabulary and the ids that the tokenizer decides."""
        ...

    @property
    def num_train_tokens(self) -> int:
        """Tokens to train on."""
        ...

    @property
    def num_held_tokens(self) -> int:
        """Tokens never trained on."""
        ...

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes that a scored training token stands for, on average; 0 where what is predicted is no text."""
        ...

    @property
    def context(self) -> int:
        """How many tokens a token usually stands among, for counting FLOPs."""
        ...

    def task(self, step: int, micro_batch: int) -> Task:
        """One micro-batch of a step."""
        ...

    def held(self, model: Transformer, precision: str) -> list[Held]:
        """The score of every held-out source."""
        ...

    def sample(self, model: Transformer, plan: SampleRecipe, seed: int) -> str:
        """What the model makes of the sample's prompt."""
        ...

    def save(self, directory: Path) -> None:
        """Write what lies beside the weights in every checkpoint: the tokenizer, and a chat template where there is one."""
        ...
