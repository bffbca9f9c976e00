"""Write recipes.md beside this file from the dataclasses that check a recipe: `python docs/reference/make_recipes.py`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, get_type_hints

from cutaway import config
from cutaway.data.denoise import DenoiseSource
from cutaway.data.pairs import PairSource
from cutaway.data.questions import QuestionSource
from cutaway.data.sources import Source
from cutaway.strict import default_of, describe, is_required
from cutaway.train import recipe, recipe_data
from cutaway.train.adapters import AdapterConfig

TARGET = Path(__file__).with_name("recipes.md")
INTRODUCTION = """# Recipes

A recipe is a TOML file that decides a training run: two runs of one recipe on one machine are bitwise equal. `cutaway train`
takes a file or the name of a bundled recipe; `key=value` behind it changes a key, dots going into tables. An unknown key is
an error that names its nearest neighbour. Files are named relative to the recipe's own folder.

A small one, for any text:

```toml
name = "mine"

[tokenizer]
kind = "bpe"
vocab_size = 2000

[[data.train]]
files = "my-text.txt"

[model]
context = 128

[model.decoder]
num_layers = 4
d_model = 128

[model.decoder.attention]
num_heads = 4

[model.decoder.feedforward]
d_hidden = 512

[training]
steps = 1000
batch_size = 16
```

What follows is written by `make_recipes.py` from the code that checks recipes.
"""
TABLES: dict[str, type] = {
    "the top": recipe.Recipe,
    "`[tokenizer]`": recipe.TokenizerRecipe,
    "`[data]`": recipe_data.DataRecipe,
    "`[[data.train]]` and `[[data.validation]]`": Source,
    "`[pairs]`": recipe_data.PairsRecipe,
    "`[[pairs.train]]` and `[[pairs.validation]]`": PairSource,
    "`[dialogues]`": recipe_data.DialoguesRecipe,
    "`[adapter]`": AdapterConfig,
    "`[[pairs.train]]` and `[[pairs.validation]]`, with `denoise`": DenoiseSource,
    "`[questions]`": recipe_data.QuestionsRecipe,
    "`[[questions.train]]` and `[[questions.validation]]`": QuestionSource,
    "`[model]`": recipe.ModelRecipe,
    "`[model.decoder]`": config.StackConfig,
    "`[model.decoder.norm]`": config.NormConfig,
    "`[model.decoder.position]`": config.PositionConfig,
    "`[model.decoder.position.scaling]`": config.RotaryScaling,
    "`[model.decoder.attention]`": config.AttentionConfig,
    "`[model.decoder.feedforward]`": config.FeedForwardConfig,
    "`[model.decoder.feedforward.experts]`": config.ExpertsConfig,
    "`[model.decoder.layer_types.NAME]`": config.LayerType,
    "`[optimiser]`": recipe.OptimiserRecipe,
    "`[schedule]`": recipe.ScheduleRecipe,
    "`[training]`": recipe.TrainingRecipe,
    "`[sample]`": recipe.SampleRecipe,
}


def page() -> str:
    """The whole of recipes.md."""
    return INTRODUCTION + "".join(section(name, kind) for name, kind in TABLES.items())


def section(name: str, kind: type) -> str:
    """One table of a recipe: what it is for, and its keys."""
    hints = get_type_hints(kind)
    about = " ".join((kind.__doc__ or "").split()).replace(" Raises `CutawayError`.", "").replace("|", "\\|")
    fields = [field for field in dataclasses.fields(kind) if field.init and field.name != "folder"]
    rows = [f"| `{field.name}` | {describe(hints[field.name])} | {fallback(field)} |" for field in fields]
    head = ["", f"## {name[0].upper() + name[1:]}", "", about, "", "| key | takes | if left out |", "|---|---|---|"]
    return "\n".join([*head, *rows, ""])


def fallback(field: dataclasses.Field[Any]) -> str:
    """What holds when a key is left out."""
    if is_required(field):
        return "required"
    value = default_of(field)
    if value is None:
        return "none"
    if dataclasses.is_dataclass(value):
        return "its own defaults"
    if isinstance(value, dict):
        return "one type, `full`, that sees everything"
    if isinstance(value, tuple):
        return ", ".join(f"`{item}`" for item in value) or "none"
    shown = json.dumps(value)
    return "empty" if value == "" else f"`{shown}`"


if __name__ == "__main__":
    TARGET.write_text(page(), "utf-8")
