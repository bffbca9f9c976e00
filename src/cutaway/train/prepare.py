"""What a run needs before its first step. In: a recipe and a directory. Out: tokenizer, corpora, loader.

The tokenizer is trained once and kept in the run's `tokenizer/`; the corpora are encoded once and kept in `cache/`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

from ..config import ModelConfig, TokenIds
from ..data import Corpus, Loader, Source, build_corpus, read_documents, split
from ..errors import CutawayError
from ..text import Tokenizer, default_plan, train_tokenizer
from .recipe import Recipe


@dataclass(frozen=True)
class Prepared:
    """Tokenizer, corpora with their weights, and the loader of a run."""

    tokenizer: Tokenizer
    config: ModelConfig
    train: list[Corpus]
    validation: list[Corpus]
    loader: Loader

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes a training token stands for, on average over the mixture."""
        share = self.loader.shares
        return sum(
            float(part) * corpus.num_bytes / corpus.num_tokens for part, corpus in zip(share, self.train, strict=True)
        )


def prepare(recipe: Recipe, directory: Path) -> Prepared:
    """Read, tokenise and lay out the data of a recipe. Raises CutawayError for whatever cannot be read or is too short."""
    tokenizer = make_tokenizer(recipe, directory / "tokenizer")
    train, validation = make_corpora(recipe, tokenizer, directory / "cache")
    loader = Loader(
        train,
        context=recipe.model.context,
        micro_batch_size=recipe.training.batch_size,
        seed=recipe.seed,
        weights=[source.weight for source in recipe.data.train],
        num_micro_batches=recipe.training.accumulate,
        packing=recipe.data.packing,
        pad_id=tokenizer.roles.pad,
    )
    return Prepared(tokenizer, make_config(recipe, tokenizer), train, validation, loader)


def make_config(recipe: Recipe, tokenizer: Tokenizer) -> ModelConfig:
    """The architecture, with the vocabulary and the ids that the tokenizer decides."""
    roles = tokenizer.roles
    ids = TokenIds(bos=roles.bos, eos=roles.eos, pad=roles.pad, mask=roles.mask)
    return recipe.model.config(tokenizer.vocab_size, ids)


def make_tokenizer(recipe: Recipe, directory: Path) -> Tokenizer:
    """The run's tokenizer: kept from before, taken from a path, or trained on the training text."""
    if (directory / "tokenizer.json").exists():
        return Tokenizer.load(directory)
    plan = recipe.tokenizer
    if plan.path is not None:
        tokenizer = Tokenizer.load(Path(plan.path))
    else:
        tokenizer = train_tokenizer(
            plan.kind,
            _weighted(recipe.data.train),
            vocab_size=plan.vocab_size,
            specials=replace(default_plan(plan.kind), num_spares=plan.num_spares),
            keep_words=plan.keep_words,
        )
    tokenizer.save(directory)
    return tokenizer


def make_corpora(recipe: Recipe, tokenizer: Tokenizer, cache: Path) -> tuple[list[Corpus], list[Corpus]]:
    """Training corpora, and those held out: named sources, or the end of the training text."""

    def encoded(source: Source) -> Corpus:
        return build_corpus(
            source,
            tokenizer.encode_batch,
            end_id=tokenizer.roles.eos,
            vocab_size=tokenizer.vocab_size,
            cache_dir=cache,
            fingerprint=tokenizer.fingerprint(),
        )

    train = [encoded(source) for source in recipe.data.train]
    if recipe.data.validation:
        return train, [encoded(source) for source in recipe.data.validation]
    pairs = [split(corpus, recipe.data.validation_share) for corpus in train]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def _weighted(sources: Sequence[Source]) -> Iterator[str]:
    """The documents a tokenizer learns from: each source as often as its weight says, a weight below 1 as every n-th."""
    if not sources:
        raise CutawayError("data.train is empty. Name at least one source.")
    return chain.from_iterable(
        islice(read_documents(source), None, None, max(1, round(1 / source.weight)))
        for source in sources
        for _ in range(max(1, round(source.weight)))
    )
