"""What a run needs before its first step. In: a recipe. Out: tokenizer, corpora, loader; whatever is wrong is said here.

The tokenizer is trained once and then lies in every checkpoint; the corpora are encoded once and kept in a cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, islice
from pathlib import Path

from ..config import ModelConfig, TokenIds
from ..data import Corpus, Loader, Source, build_corpus, read_documents, sequential, split
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

    @cached_property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes a training token stands for, on average over the mixture."""
        share = self.loader.shares
        return sum(
            float(part) * corpus.num_bytes / corpus.num_tokens for part, corpus in zip(share, self.train, strict=True)
        )


def prepare(recipe: Recipe, cache: Path, tokenizer: Tokenizer | None = None) -> Prepared:
    """Read, tokenise and lay out the data of a recipe.

    cache: where encoded corpora are kept. tokenizer: that of a run to be resumed; None: the recipe says which.
    Raises CutawayError for whatever cannot be read, is too short to train on or to evaluate, and an impossible sample.
    """
    for source in (*recipe.data.train, *recipe.data.validation):
        source.paths()  # a missing file is said before a long tokenizer training
    tokenizer = make_tokenizer(recipe) if tokenizer is None else tokenizer
    config = make_config(recipe, tokenizer)
    train, validation = make_corpora(recipe, tokenizer, cache)
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
    for corpus in validation:
        _check_held_out(corpus, recipe, tokenizer)
    _check_sample(recipe, tokenizer)
    return Prepared(tokenizer, config, train, validation, loader)


def make_config(recipe: Recipe, tokenizer: Tokenizer) -> ModelConfig:
    """The architecture, with the vocabulary and the ids that the tokenizer decides."""
    roles = tokenizer.roles
    ids = TokenIds(bos=roles.bos, eos=roles.eos, pad=roles.pad, mask=roles.mask)
    return recipe.model.config(tokenizer.vocab_size, ids)


def make_tokenizer(recipe: Recipe) -> Tokenizer:
    """The tokenizer that a recipe asks for: taken from a path, or trained on the training text."""
    plan = recipe.tokenizer
    if plan.path is not None:
        return Tokenizer.load(Path(plan.path))
    return train_tokenizer(
        plan.kind,
        _weighted(recipe.data.train),
        vocab_size=plan.vocab_size,
        specials=replace(default_plan(plan.kind), num_spares=plan.num_spares),
        keep_words=plan.keep_words,
    )


def make_corpora(recipe: Recipe, tokenizer: Tokenizer, cache: Path) -> tuple[list[Corpus], list[Corpus]]:
    """Training corpora, and those held out: named sources, or the end of the training text."""

    def encoded(source: Source) -> Corpus:
        return build_corpus(
            source,
            tokenizer.encode_begun,
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


def _check_held_out(corpus: Corpus, recipe: Recipe, tokenizer: Tokenizer) -> None:
    """A held-out text gives at least one whole window, or one document to predict where they are packed."""
    context = recipe.model.context
    if recipe.data.packing == "packed":
        next(sequential(corpus, context, 1, packed_with=tokenizer.roles.pad))
    elif corpus.num_tokens <= context:
        raise CutawayError(
            f"The held-out part of {corpus.name} has {corpus.num_tokens:,} tokens, but one window takes {context + 1:,} "
            f"(context {context:,} and the token after it). Add text, raise data.validation_share, or lower model.context."
        )


def _check_sample(recipe: Recipe, tokenizer: Tokenizer) -> None:
    """The prompt of the samples can be read, and leaves room for a token."""
    context = recipe.model.context
    try:
        ids = tokenizer.encode(recipe.sample.prompt)
    except CutawayError as error:
        raise CutawayError(f"sample.prompt cannot be read: {error} Give another sample.prompt.") from error
    if not ids and tokenizer.roles.bos is None:
        raise CutawayError("sample.prompt is empty, and this tokenizer has no token that begins a text. Give a text.")
    if recipe.model.decoder.position.is_table and len(ids) > context:
        raise CutawayError(
            f"sample.prompt has {len(ids)} tokens, and the model reads {context}. Give a shorter sample.prompt."
        )


def _weighted(sources: Sequence[Source]) -> Iterator[str]:
    """The documents a tokenizer learns from: each source as often as its weight says, a weight below 1 as every n-th."""
    return chain.from_iterable(
        islice(read_documents(source), None, None, max(1, round(1 / source.weight)))
        for source in sources
        for _ in range(max(1, round(source.weight)))
    )
