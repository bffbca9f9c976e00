"""Sources and targets -> an encoder-decoder that says the target. In: a recipe with [pairs]. Out: a `Feed`.

A source may be a file of pairs, or of texts of which parts are hidden (`data.denoise`).
Whatever is wrong with the pairs is said here, with file and line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..config import ModelConfig
from ..data import (
    DenoiseSource,
    Encoding,
    Marks,
    PairLoader,
    PairPart,
    PairSource,
    encode_denoised,
    encode_pairs,
    read_documents,
    read_pairs,
)
from ..decode import Sampling, Session, autoregressive, run
from ..errors import CutawayError
from ..model import Transformer
from ..objectives import Task, seq2seq
from ..text import Tokenizer
from .feed import Held
from .recipe import Recipe, SampleRecipe
from .recipe_data import PairsRecipe
from .score import score_tasks
from .text_feed import row_length, sample_ids


@dataclass(frozen=True)
class PairFeed:
    """Pairs, those held out, and the loaders of a run; see `Feed`. held_loaders: one for each held-out source."""

    recipe: Recipe
    tokenizer: Tokenizer
    config: ModelConfig
    train: list[PairPart]
    loader: PairLoader
    held_loaders: list[PairLoader]

    @property
    def num_train_tokens(self) -> int:
        """See `Feed`."""
        return sum(int(part.lengths.sum()) for part in self.train)

    @property
    def num_held_tokens(self) -> int:
        """See `Feed`."""
        return sum(int(part.lengths.sum()) for loader in self.held_loaders for part in loader.parts)

    @property
    def context(self) -> int:
        """Half a batch's tokens stand on each side, in texts of this mean length."""
        return max(1, round(float(self.loader.lengths.mean())))

    @cached_property
    def bytes_per_token(self) -> float:
        """See `Feed`."""
        num_bytes = sum(float(part.target_bytes.sum()) for part in self.train)
        return num_bytes / sum(int(part.lengths[:, 1].sum()) for part in self.train)

    def task(self, step: int, micro_batch: int) -> Task:
        """See `Feed`."""
        return seq2seq(self.loader.batch(step * self.recipe.training.accumulate + micro_batch))

    def held(self, model: Transformer, precision: str) -> list[Held]:
        """See `Feed`."""
        return [
            Held(
                loader.parts[0].name,
                *score_tasks(model, ((seq2seq(batch), batch.num_bytes) for batch in loader.all()), precision),
            )
            for loader in self.held_loaders
        ]

    def sample(self, model: Transformer, plan: SampleRecipe, seed: int) -> str:
        """The prompt as a source, an arrow, and what the model says to it."""
        source_ids = [*self.tokenizer.encode(plan.prompt), *self.tokenizer.frame[1]]
        session = Session(model, source_ids=source_ids)
        decoder = autoregressive(
            session, [], Sampling(temperature=plan.temperature, seed=seed), max_tokens=plan.max_tokens
        )
        ids = [event.new for event in run(decoder) if event.new is not None]
        return f"{plan.prompt} → {self.tokenizer.decode(ids, skip_special=True)}"

    def save(self, directory: Path) -> None:
        """See `Feed`."""
        self.tokenizer.save(directory)


def prepare_pairs(recipe: Recipe, tokenizer: Tokenizer, config: ModelConfig, cache: Path) -> PairFeed:
    """Read, tokenise and lay out the pairs of a recipe. cache: where encoded sides are kept.

    Raises CutawayError for whatever cannot be read, sides that are all too long, and an impossible sample.
    """
    roles, training, pairs = tokenizer.roles, recipe.training, pairs_of(recipe)
    if roles.eos is None or roles.pad is None or config.tokens.decoder_start is None:
        raise CutawayError(
            "Pairs need tokens that end and pad a text, and this tokenizer lacks one. Use another kind, say bpe."
        )
    encoding = Encoding(tokenizer.encode_batch, roles.eos, tokenizer.vocab_size, cache, tokenizer.fingerprint())
    marks = Marks(end=roles.eos, mask=roles.mask, sentinels=roles.spares)
    sides = [[_part(source, encoding, marks) for source in sources] for sources in (pairs.train, pairs.validation)]

    def loader(parts: list[PairPart]) -> PairLoader:
        assert training.batch_tokens is not None, "checked with the recipe"
        assert config.tokens.decoder_start is not None, "checked above"
        assert roles.pad is not None, "checked above"
        return PairLoader(
            parts,
            context=row_length(recipe, config),
            batch_tokens=training.batch_tokens,
            seed=recipe.seed,
            start_id=config.tokens.decoder_start,
            pad_id=roles.pad,
        )

    _check_sample(recipe, tokenizer, row_length(recipe, config))
    return PairFeed(recipe, tokenizer, config, sides[0], loader(sides[0]), [loader([held]) for held in sides[1]])


def pairs_of(recipe: Recipe) -> PairsRecipe:
    """The pairs of a recipe that has them."""
    assert recipe.pairs is not None, "a pair feed is made of [pairs]"
    return recipe.pairs


def texts_of_pairs(recipe: Recipe) -> Iterator[str]:
    """Both sides of every training pair: what one tokenizer for both learns from. A text of which parts are hidden is whole."""
    for source in pairs_of(recipe).train:
        if isinstance(source, DenoiseSource):
            yield from read_documents(source.texts)
        else:
            for pair in read_pairs(source):
                yield pair.source
                yield pair.target


def _part(source: PairSource | DenoiseSource, encoding: Encoding, marks: Marks) -> PairPart:
    if isinstance(source, DenoiseSource):
        return encode_denoised(source, encoding, marks)
    return encode_pairs(source, encoding)


def _check_sample(recipe: Recipe, tokenizer: Tokenizer, context: int) -> None:
    num_ids = len(sample_ids(recipe, tokenizer))
    if not 0 < num_ids < context:
        raise CutawayError(
            f"sample.prompt has {num_ids} tokens. It is a source here: give a text of 1 to {context - 1} tokens."
        )
