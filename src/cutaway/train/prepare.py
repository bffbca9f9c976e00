"""What a run needs before its first step. In: a recipe. Out: a `Feed`; whatever is wrong is said here.

The tokenizer is trained once and then lies in every checkpoint; what it encodes is kept in a cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..config import ModelConfig, TokenIds
from ..errors import CutawayError
from ..text import ChatTemplate, Tokenizer, default_plan, train_tokenizer
from .answer_feed import prepare_answers, texts_of_questions
from .dialogue_feed import prepare_dialogues
from .feed import Feed
from .pair_feed import prepare_pairs, texts_of_pairs
from .question_feed import check_reader, prepare_questions
from .recipe import Recipe
from .text_feed import data_of, prepare_texts, row_length, texts_of


def prepare(
    recipe: Recipe,
    cache: Path,
    tokenizer: Tokenizer | None = None,
    config: ModelConfig | None = None,
    template: ChatTemplate | None = None,
) -> Feed:
    """Read, tokenise and lay out the data of a recipe.

    cache: where encoded corpora are kept. tokenizer: that of a run to be resumed, or of the base; None: the recipe says which.
    config, template: likewise.
    Raises CutawayError for whatever cannot be read, is too short to train on or to evaluate, and an impossible sample.
    """
    data = recipe.data or recipe.pairs or recipe.dialogues or recipe.questions
    assert data is not None, "checked with the recipe"
    for source in (*data.train, *data.validation):
        source.paths()  # a missing file is said before a long tokenizer training
    tokenizer = make_tokenizer(recipe) if tokenizer is None else tokenizer
    config = make_config(recipe, tokenizer) if config is None else config
    _check_stacks(recipe, config)
    config = recipe.objective.applied(config, row_length(recipe, config))
    if recipe.dialogues is not None:
        return prepare_dialogues(recipe, tokenizer, config, cache, template)
    if recipe.marks_answers:
        return prepare_questions(recipe, tokenizer, config)
    if recipe.writes_answers:
        return prepare_answers(recipe, tokenizer, config)
    if recipe.pairs is not None:
        return prepare_pairs(recipe, tokenizer, config, cache)
    return prepare_texts(recipe, tokenizer, config, cache, template)


def make_config(recipe: Recipe, tokenizer: Tokenizer) -> ModelConfig:
    """The architecture, with the vocabulary and the ids that the tokenizer decides."""
    roles = tokenizer.roles
    assert recipe.model is not None, "a base brings its config"
    start = None if recipe.pairs is None else roles.bos
    ids = TokenIds(bos=roles.bos, eos=roles.eos, pad=roles.pad, mask=roles.mask, decoder_start=start)
    return recipe.model.config(tokenizer.vocab_size, ids)


def make_tokenizer(recipe: Recipe) -> Tokenizer:
    """The tokenizer that a recipe asks for: taken from a path, or trained on the training text.

    One for pairs ends every text with the end token, for other tools too: that is how an encoder knows that it read all.
    """
    plan = recipe.tokenizer
    if plan.path is not None:
        return Tokenizer.load(Path(plan.path))
    trained = train_tokenizer(
        plan.kind,
        _texts(recipe),
        vocab_size=plan.vocab_size,
        specials=replace(default_plan(plan.kind), num_spares=plan.num_spares),
        keep_words=plan.keep_words,
        merges=plan.merges,
    )
    if recipe.pairs is None or trained.roles.eos is None:
        return trained
    return trained.framed(None, trained.spelling(trained.roles.eos))


def _texts(recipe: Recipe) -> Iterator[str]:
    if recipe.pairs is not None:
        return texts_of_pairs(recipe)
    return texts_of_questions(recipe) if recipe.questions is not None else texts_of(data_of(recipe).train)


def _check_stacks(recipe: Recipe, config: ModelConfig) -> None:
    """Pairs are for models with an encoder and a decoder, answers that are marked for those with an encoder alone, all else for
    those with a decoder alone that predict the next token."""
    if recipe.marks_answers:
        check_reader(recipe, config)
        return
    wanted = "an encoder and a decoder" if recipe.pairs is not None else "a decoder alone"
    is_right = config.has_cross if recipe.pairs is not None else config.encoder is None
    if recipe.pairs is None and recipe.objective.kind == "next":
        wanted, is_right = f"{wanted}, which predicts the next token", is_right and config.says_next
    if not is_right or not config.has_head:
        raise CutawayError(
            f"The base {recipe.base} does not fit the data: it takes a model with {wanted}. Name another base."
        )
