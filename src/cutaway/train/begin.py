"""Where a run stands when it starts. In: a recipe, a checkpoint or a base. Out: a model and what it reads.

A run with adapters keeps the base as it is: its checkpoints hold the adapters alone, and the base is read at every start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from ..errors import CutawayError
from ..model import Transformer, initialise, with_labels
from ..model.masks import Masks
from ..text import Tokenizer
from ..weights import checkpoint
from ..weights.adapters import load_adapter
from ..weights.opening import open_model, read_template
from .adapters import AdapterConfig, attach
from .conversion import begun_row, mask_of, with_mask
from .feed import Feed
from .prepare import prepare
from .question_feed import SPAN_LABELS, check_reader
from .recipe import Recipe

FindBase = Callable[[str], Path]


class Begun(NamedTuple):
    """A model, what it reads, and where its base lies ("" without one)."""

    model: Transformer
    feed: Feed
    base: str = ""


def begin(recipe: Recipe, newest: Path | None, cache: Path, find_base: FindBase) -> Begun:
    """The model and the data of a run.

    newest: its newest checkpoint, if it has one. cache: where encoded corpora are kept. find_base: the place of a model by name.
    Raises CutawayError as `prepare` does, and for a base or a checkpoint that does not fit the recipe.
    """
    if recipe.base is not None and (newest is None or recipe.adapter is not None):
        return _from_base(recipe, newest, cache, find_base(recipe.base))
    if newest is not None:
        return _resumed(recipe, newest, cache)
    assert recipe.model is not None, "checked with the recipe"
    feed = prepare(recipe, cache)
    generator = torch.Generator().manual_seed(recipe.seed)
    return Begun(initialise(Transformer(feed.config), generator, recipe.model.initial_std), feed)


def _resumed(recipe: Recipe, newest: Path, cache: Path) -> Begun:
    stored = checkpoint.load(newest)
    config, template = (None, None) if recipe.base is None else (stored.config, read_template(newest))
    feed = prepare(recipe, cache, Tokenizer.load(newest), config, template)
    if stored.config != feed.config:
        raise CutawayError(f"{newest} holds another model than the recipe describes. Start over with --fresh.")
    return Begun(stored, feed)


def _from_base(recipe: Recipe, newest: Path | None, cache: Path, place: Path) -> Begun:
    opened = open_model(place)
    model, tokenizer = opened.model, opened.tokenizer
    if tokenizer is None:
        raise CutawayError(
            f"The base {recipe.base} has no tokenizer, and texts are to be read. Put its files beside it."
        )
    if recipe.marks_answers:
        check_reader(recipe, model.config)
        model = with_labels(model, SPAN_LABELS, torch.Generator().manual_seed(recipe.seed))
    base = model.config
    if recipe.objective.kind != "next":
        tokenizer = with_mask(model, tokenizer) if recipe.adapter is None else _beside(model, tokenizer)
    feed = prepare(recipe, cache, tokenizer, model.config, read_template(place))
    if recipe.adapter is None:
        model.config = feed.config
    else:
        model.config = base
        _adapt(recipe, recipe.adapter, newest, model, feed, opened.tokenizer)
    return Begun(model, feed, str(place.resolve()))


def _beside(model: Transformer, tokenizer: Tokenizer) -> Tokenizer:
    """A mask token beside a base that stays as it is: in the tokenizer, which is returned, and in the config."""
    tokenizer, mask_id = mask_of(model.config, tokenizer)
    tokens = replace(model.config.tokens, mask=mask_id)
    model.config = replace(model.config, vocab_size=max(model.config.vocab_size, mask_id + 1), tokens=tokens)
    return tokenizer


def _adapt(
    recipe: Recipe,
    adapter: AdapterConfig,
    newest: Path | None,
    model: Transformer,
    feed: Feed,
    tokenizer: Tokenizer | None,
) -> None:
    """Put the adapters on the base, first ones or those of the newest checkpoint. tokenizer: of the base."""
    if newest is not None:
        load_adapter(newest, model)
    elif adapter.at == "masks":
        config, mask_id = feed.config, feed.config.tokens.mask
        assert mask_id is not None, "checked with the objective"
        assert config.block_size is not None, "checked with the objective"
        assert tokenizer is not None, "checked before"
        masks = Masks(mask_id=mask_id, predicts=config.predicts, block_size=config.block_size)
        attach(model, adapter, recipe.seed, masks=masks, mask=begun_row(model, tokenizer, mask_id))
    else:
        attach(model, adapter, recipe.seed)
    if model.config != feed.config:
        raise CutawayError(
            f"objective.kind is '{recipe.objective.kind}', and the base {recipe.base} was trained to predict "
            f"'{model.config.predicts}'. Beside a base that stays as it is, a hybrid is trained with adapter.at = 'masks'; for "
            "all else, leave [adapter] out."
        )
