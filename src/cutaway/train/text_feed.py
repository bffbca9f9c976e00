"""Documents -> next-token prediction. In: a recipe with [data]. Out: a `Feed`; whatever is wrong with the data is said here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from pathlib import Path

from ..config import ModelConfig
from ..data import Batch, Corpus, Loader, Source, build_corpus, read_documents, scored_after, sequential, split
from ..decode import Sampling, Session, natural, replay, run
from ..errors import CutawayError
from ..model import Transformer
from ..objectives import Task
from ..text import ChatTemplate, Tokenizer
from .feed import Held
from .likelihood import bound
from .recipe import Recipe, SampleRecipe
from .recipe_data import DataRecipe
from .score import score_batches
from .step import micro_seed


@dataclass(frozen=True)
class Opening:
    """How a sample begins. shown: before what the model says; ids: what it reads; end_ids: what ends it (None: the model's)."""

    shown: str
    ids: tuple[int, ...]
    end_ids: frozenset[int] | None = None


@dataclass(frozen=True)
class TextFeed:
    """Corpora, those held out, and the loader of a run; see `Feed`.

    opening: of the samples. packed_with: the pad id where documents keep to themselves within a row. template: how conversations
    are written for the model, where it learns from them, or its base did.
    """

    recipe: Recipe
    tokenizer: Tokenizer
    config: ModelConfig
    train: list[Corpus]
    validation: list[Corpus]
    loader: Loader
    opening: Opening
    packed_with: int | None = None
    template: ChatTemplate | None = None

    @property
    def num_train_tokens(self) -> int:
        """See `Feed`."""
        return sum(corpus.num_tokens for corpus in self.train)

    @property
    def num_held_tokens(self) -> int:
        """See `Feed`."""
        return sum(corpus.num_tokens for corpus in self.validation)

    @property
    def context(self) -> int:
        """See `Feed`."""
        return row_length(self.recipe, self.config)

    @cached_property
    def bytes_per_token(self) -> float:
        """See `Feed`."""
        if self.recipe.objective.kind in ("masked", "hybrid"):
            return 0.0  # the loss is no likelihood of the text
        share = self.loader.shares
        return sum(
            float(part) * corpus.num_bytes / corpus.num_scored for part, corpus in zip(share, self.train, strict=True)
        )

    def task(self, step: int, micro_batch: int) -> Task:
        """See `Feed`."""
        seed = micro_seed(self.recipe.seed, step, micro_batch)
        return self.recipe.objective.task(self.loader.batch(step, micro_batch), self.config, seed)

    def held(self, model: Transformer, precision: str) -> list[Held]:
        """See `Feed`."""
        return [self._held(model, corpus, precision) for corpus in self.validation]

    def _held(self, model: Transformer, corpus: Corpus, precision: str) -> Held:
        batch_size, draws = self.recipe.training.evaluate_batch_size, self.recipe.objective.draws

        def batches() -> Iterator[Batch]:
            return sequential(corpus, self.context, batch_size, packed_with=self.packed_with)

        if self.config.says_next:
            return Held(corpus.name, *score_batches(model, batches(), precision))
        found = bound(model, batches, draws=draws, seed=self.recipe.seed, precision=precision)
        return Held(corpus.name, found.nats, found.tokens, found.num_bytes, found.standard_error)

    def sample(self, model: Transformer, plan: SampleRecipe, seed: int) -> str:
        """The opening and what the model says after it."""
        sampling, opening = Sampling(temperature=plan.temperature, seed=seed), self.opening
        decoder = natural(Session(model), opening.ids, sampling, max_tokens=plan.max_tokens, eos_ids=opening.end_ids)
        found = replay(run(decoder))
        return opening.shown + self.tokenizer.decode([found[place] for place in sorted(found)], skip_special=True)

    def save(self, directory: Path) -> None:
        """See `Feed`."""
        self.tokenizer.save(directory)
        if self.template is not None:
            self.template.save(directory)


def prepare_texts(
    recipe: Recipe, tokenizer: Tokenizer, config: ModelConfig, cache: Path, template: ChatTemplate | None = None
) -> TextFeed:
    """Read, tokenise and lay out the texts of a recipe. cache: where encoded corpora are kept. template: of the base, kept.

    Raises CutawayError for whatever cannot be read, is too short to train on or to evaluate, and an impossible sample.
    """
    train, validation = _corpora(recipe, tokenizer, row_length(recipe, config), cache)
    data, training = data_of(recipe), recipe.training
    assert training.batch_size is not None, "checked with the recipe"
    loader = Loader(
        train,
        context=row_length(recipe, config),
        micro_batch_size=training.batch_size,
        seed=recipe.seed,
        weights=[source.weight for source in data.train],
        num_micro_batches=training.accumulate,
        packing=data.packing,
        pad_id=tokenizer.roles.pad,
    )
    for corpus in validation:
        _check_held_out(corpus, recipe, row_length(recipe, config), tokenizer)
    packed_with = tokenizer.roles.pad if data.packing == "packed" else None
    opening = _opening(recipe, tokenizer, config)
    return TextFeed(recipe, tokenizer, config, train, validation, loader, opening, packed_with, template)


def data_of(recipe: Recipe) -> DataRecipe:
    """The texts of a recipe that has them."""
    assert recipe.data is not None, "a text feed is made of [data]"
    return recipe.data


def row_length(recipe: Recipe, config: ModelConfig) -> int:
    """How many tokens a row has: training.context, or the model's own. Raises CutawayError for more than its table has."""
    wanted = recipe.training.context
    if wanted is not None and wanted > config.context and config.main.position.is_table:
        raise CutawayError(
            f"training.context is {wanted:,}, and the model's positions end at {config.context:,}. Lower it."
        )
    return config.context if wanted is None else wanted


def texts_of(sources: Sequence[Source]) -> Iterator[str]:
    """The documents a tokenizer learns from: each source as often as its weight says, a weight below 1 as every n-th."""
    return chain.from_iterable(
        islice(read_documents(source), None, None, max(1, round(1 / source.weight)))
        for source in sources
        for _ in range(max(1, round(source.weight)))
    )


def _corpora(recipe: Recipe, tokenizer: Tokenizer, context: int, cache: Path) -> tuple[list[Corpus], list[Corpus]]:
    """Training corpora, and those held out: named sources, or the end of the training text."""
    data = data_of(recipe)

    def encoded(source: Source) -> Corpus:
        corpus = build_corpus(
            source,
            tokenizer.encode_begun,
            end_id=tokenizer.roles.eos,
            vocab_size=tokenizer.vocab_size,
            cache_dir=cache,
            fingerprint=tokenizer.fingerprint(),
        )
        return corpus if data.scored_after is None else scored_after(corpus, tokenizer, data.scored_after, context)

    train = [encoded(source) for source in data.train]
    if data.validation:
        return train, [encoded(source) for source in data.validation]
    pairs = [split(corpus, data.validation_share) for corpus in train]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def _check_held_out(corpus: Corpus, recipe: Recipe, context: int, tokenizer: Tokenizer) -> None:
    """A held-out text gives at least one whole window, or one document to predict where they are packed."""
    if data_of(recipe).packing == "packed":
        next(sequential(corpus, context, 1, packed_with=tokenizer.roles.pad))
    elif corpus.num_tokens <= context:
        raise CutawayError(
            f"The held-out part of {corpus.name} has {corpus.num_tokens:,} tokens, but one window takes {context + 1:,} "
            f"(context {context:,} and the token after it). Add text, raise data.validation_share, or lower model.context."
        )


def _opening(recipe: Recipe, tokenizer: Tokenizer, config: ModelConfig) -> Opening:
    """The prompt of the samples, which can be read and leaves room for a token."""
    context, ids = config.context, sample_ids(recipe, tokenizer)
    if not ids and tokenizer.roles.bos is None:
        raise CutawayError("sample.prompt is empty, and this tokenizer has no token that begins a text. Give a text.")
    if data_of(recipe).scored_after is not None and tokenizer.roles.eos is not None:
        ids = [tokenizer.roles.eos, *ids]  # as in a row, where a document stands behind the end of the one before
    if config.main.position.is_table and len(ids) > context:
        raise CutawayError(
            f"sample.prompt has {len(ids)} tokens, and the model reads {context}. Give a shorter sample.prompt."
        )
    return Opening(recipe.sample.prompt, tuple(ids))


def sample_ids(recipe: Recipe, tokenizer: Tokenizer) -> list[int]:
    """The ids of the sample's prompt. Raises CutawayError where it cannot be read."""
    try:
        return tokenizer.encode(recipe.sample.prompt)
    except CutawayError as error:
        raise CutawayError(f"sample.prompt cannot be read: {error} Give another sample.prompt.") from error
