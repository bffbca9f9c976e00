"""Conversations -> what the assistant says in them. In: a recipe with [dialogues]. Out: a `TextFeed` over packed dialogues.

Supervised finetuning (Ouyang et al. 2022 §3.5): the loss counts the assistant's tokens and what ends its turns; dialogues stand
side by side in a row, and none sees another.
"""

from __future__ import annotations

from pathlib import Path

from ..config import ModelConfig
from ..data import Loader
from ..data.dialogue_corpus import build_dialogues
from ..errors import CutawayError
from ..text import ChatTemplate, Tokenizer
from ..text.turns import end_of_turn, role_template
from .recipe import Recipe
from .recipe_data import DialoguesRecipe
from .text_feed import Opening, TextFeed, row_length


def prepare_dialogues(
    recipe: Recipe, tokenizer: Tokenizer, config: ModelConfig, cache: Path, template: ChatTemplate | None
) -> TextFeed:
    """Read, render and lay out the dialogues of a recipe.

    template: of the base; None: that of the tokenizer's role tokens. Raises CutawayError for whatever cannot be read or rendered,
    a base with neither, and a sample that does not fit.
    """
    template = role_template(tokenizer) if template is None else template
    if template is None or tokenizer.roles.pad is None:
        lacks = "chat template and no tokens for the roles" if template is None else "token that pads a row"
        raise CutawayError(
            f"The base {recipe.base} has no {lacks}, so no conversation can be written for it. Name another base."
        )
    data, context, batch_size = dialogues_of(recipe), row_length(recipe, config), recipe.training.batch_size
    assert batch_size is not None, "checked with the recipe"
    train, validation = (
        [build_dialogues(source, tokenizer, template, cache) for source in sources]
        for sources in (data.train, data.validation)
    )
    loader = Loader(
        train,
        context=context,
        micro_batch_size=batch_size,
        seed=recipe.seed,
        weights=[source.weight for source in data.train],
        num_micro_batches=recipe.training.accumulate,
        packing="packed",
        pad_id=tokenizer.roles.pad,
    )
    opening = _opening(recipe, tokenizer, template, context)
    return TextFeed(recipe, tokenizer, config, train, validation, loader, opening, tokenizer.roles.pad, template)


def dialogues_of(recipe: Recipe) -> DialoguesRecipe:
    """The dialogues of a recipe that has them."""
    assert recipe.dialogues is not None, "a dialogue feed is made of [dialogues]"
    return recipe.dialogues


def _opening(recipe: Recipe, tokenizer: Tokenizer, template: ChatTemplate, context: int) -> Opening:
    prompt = recipe.sample.prompt.strip() or "Hello!"
    ids = template.ids(tokenizer, [{"role": "user", "content": prompt}], add_generation_prompt=True)
    if len(ids) >= context:
        raise CutawayError(f"sample.prompt has {len(ids)} tokens as a message, a row {context}. Shorten sample.prompt.")
    ends = {end_of_turn(template, tokenizer), tokenizer.roles.eos} - {None}
    return Opening(f"{prompt} → ", tuple(ids), frozenset(end for end in ends if end is not None))
