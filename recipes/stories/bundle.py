"""Put a trained run into the package. In: a run directory of stories.toml. Out: src/cutaway/models/stories and its card.

    python recipes/stories/bundle.py runs/stories

The weights are stored in half precision. The card's figures are measured here, on the stored weights: loss on text never trained
on, 20 seeds from one prompt, and for each the longest span that also stands in the training text.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # of bundling.py

from bundling import bundle, facts_table, made_by
from copied import longest_copies
from cutaway.cost import num_parameters
from cutaway.data import read_documents
from cutaway.decode import Sampling
from cutaway.lm import LM
from cutaway.tasks.evaluate import evaluate
from cutaway.train.recipe import Recipe, load_recipe

HERE = Path(__file__).parent
NAME = "stories"
PROMPT, NUM_SEEDS, MAX_TOKENS = "Once upon a time", 20, 180
SAMPLING = {"temperature": 0.7, "top_p": 0.9}
WORDS = ("cat", "dog", "apple", "bicycle", "love", "chased", "I", "you")
FRONT_MATTER = """---
license: mit
language: en
pipeline_tag: text-generation
---

"""
INTRODUCTION = """# stories

A small English story-teller: the model that comes with Cutaway, to look into and to play with. It knows the words of
children's books and a little of how stories go. It does not know facts, it does not follow instructions, and after a
few sentences it loses the thread. The books it read are of the nineteenth century, and so are some of their views."""
LICENCES = """
## Licences

The weights are under the MIT licence of this project. The books are in the public domain; the simple stories are a
sample of TinyStories (Eldan & Li 2023), CDLA-Sharing-1.0. `recipes/stories/README.md` names sources and checksums."""


def main() -> None:
    """Bundle the run that the command line names."""
    bundle(NAME, __doc__ or "", card)


def card(lm: LM, run: Path) -> str:
    """The model card, measured."""
    recipe = load_recipe(str(HERE / f"{NAME}.toml"))
    stories = [PROMPT + lm.generate(PROMPT, max_tokens=MAX_TOKENS, sampling=how(seed)) for seed in range(NUM_SEEDS)]
    copies = longest_copies(stories, training_documents(recipe))
    return "\n".join([*about(lm, recipe, run), *held_out(lm), *samples(stories, copies), *LICENCES.splitlines()]) + "\n"


def how(seed: int) -> Sampling:
    """How the stories of the card are sampled."""
    return Sampling(**SAMPLING, seed=seed)


def training_documents(recipe: Recipe) -> Iterator[str]:
    """Every document that the model was trained on."""
    for source in recipe.data.train:
        yield from read_documents(source)


def about(lm: LM, recipe: Recipe, run: Path) -> list[str]:
    """What the model is, and what it cost to make."""
    stack, training = lm.config.main, recipe.training
    tokens = training.steps * training.batch_size * training.accumulate * recipe.model.context
    ids = {word: [lm.tokenizer.id_of(form) for form in (word, " " + word)] for word in WORDS}
    assert all(None not in found for found in ids.values()), f"a word is not one token: {ids}"
    weights = [f"{source.weight:g}" for source in recipe.data.train]
    facts = {
        "parameters": f"{num_parameters(lm.config):,}",
        "layers, heads, width, feed-forward": f"{stack.num_layers}, {stack.attention.num_heads}, {stack.d_model}, "
        f"{stack.feedforward.d_hidden}",
        "vocabulary": f"{lm.tokenizer.vocab_size:,} byte-level BPE tokens. One token each, at the start of a text and behind a "
        f"space: {', '.join(WORDS)}. Reserved: mask, pad, four chat roles, 16 spare tokens",
        "context": f"{lm.config.context} tokens; fixed sinusoidal positions, added to the token embedding",
        "trained on": f"{tokens:,} tokens: stories in six tellings × {weights[0]}, children's books × {weights[1]}, "
        f"classics × {weights[2]}",
        "by": made_by(NAME, run),
        "stored as": "float16",
    }
    return [
        *FRONT_MATTER.splitlines(),
        *INTRODUCTION.splitlines(),
        "",
        *facts_table(facts).splitlines(),
    ]


def held_out(lm: LM) -> list[str]:
    """How well it predicts text that it never saw."""
    rows = [
        "",
        "## On text never trained on",
        "",
        "`cutaway evaluate stories FILE`, every token scored once, each from at least half a context:",
        "",
        "| text | loss, nats a token | perplexity | bits per byte |",
        "|---|--:|--:|--:|",
    ]
    for name in ("stories", "children", "classics"):
        found = evaluate(lm, HERE / "data" / f"{name}.heldout.jsonl")
        rows.append(f"| {name} | {found.loss:.3f} | {found.perplexity:.1f} | {found.bits_per_byte:.3f} |")
    return rows


def samples(stories: list[str], copies: list[tuple[int, str]]) -> list[str]:
    """The stories themselves, and how much of each was copied."""
    lengths = [length for length, _ in copies]
    few = sum(length <= 12 for length in lengths)
    rows = [
        "",
        f"## {len(stories)} seeds",
        "",
        f"From “{PROMPT}”, temperature {SAMPLING['temperature']}, top-p {SAMPLING['top_p']}, at most {MAX_TOKENS} tokens.",
        f"The longest span that also stands in the training text has {statistics.median(lengths):g} words in the median,",
        f"and at most 12 words in {few} of {len(stories)}.",
    ]
    for seed, (story, (length, span)) in enumerate(zip(stories, copies, strict=True)):
        quoted = "\n".join(f"> {line}".rstrip() for line in story.strip().splitlines())
        rows += ["", f"Seed {seed}, {length} words copied (“{' '.join(span.split())}”):", "", quoted]
    return rows


if __name__ == "__main__":
    main()
