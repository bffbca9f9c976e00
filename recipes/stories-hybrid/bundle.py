"""Put a trained run into the package. In: a run directory. Out: src/cutaway/models/stories-hybrid and its card.

    python recipes/stories-hybrid/bundle.py runs/stories-hybrid

The weights are stored in half precision, and the card's figures are measured on them.
"""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

import measure

sys.path.append(str(Path(__file__).parents[1]))  # of bundling.py

import cutaway
from bundling import bundle, facts_table, made_by
from cutaway.cost import num_parameters
from cutaway.decode import Drafting, Sampling, Way
from cutaway.lm import LM

HERE = Path(__file__).parent
NAME, BASE = "stories-hybrid", "stories"
PROMPT, NUM_TOKENS, DRAFTS = "Once upon a time", 60, 4
FRONT_MATTER = """---
license: mit
language: en
pipeline_tag: text-generation
base_model: stories
---
"""
INTRODUCTION = f"""
# {NAME}

A small story-teller that drafts in diffusion and talks autoregressively: `stories`, trained on to guess up to eight tokens that
follow, all at once, at mask tokens that see each other. Its autoregressive half has the say over every draft, so that the greedy
text is what it would say one token a pass, token for token, and a sampled text has the same distribution.

    cutaway generate {NAME} "Once upon a time" --decoder hybrid
"""


def main() -> None:
    """Bundle the run that the command line names."""
    bundle(NAME, __doc__ or "", card)


def card(lm: LM, run: Path) -> str:
    """The model card, measured."""
    rows = list(measure.decoders(lm))
    losses = measure.held_out(lm, cutaway.load(BASE))
    count = f"{measure.NUM_PROMPTS} held-out stories, {measure.MAX_TOKENS} tokens each"
    return "\n".join(
        [
            FRONT_MATTER,
            INTRODUCTION,
            about(lm, run),
            "\n## Drafts\n",
            f"Greedy, from the first {measure.PROMPT_TOKENS} tokens of {count}; every text equals the autoregressive one.\n",
            *measure.table(rows),
            "\n## What it cost the autoregressive half\n",
            *measure.losses_table(losses),
            "\n## A story, draft by draft\n",
            story(lm),
            "\n## Licences\n",
            "MIT. The texts are those of `stories`; its card names them.",
            "",
        ]
    )


def about(lm: LM, run: Path) -> str:
    """What the model is, and what it cost to make."""
    decoder = lm.config.main
    facts = {
        "parameters": f"{num_parameters(lm.config):,}",
        "layers, heads, width, feed-forward": f"{decoder.num_layers}, {decoder.attention.num_heads}, {decoder.d_model}, "
        f"{decoder.feedforward.d_hidden}",
        "predicts": f"the next token; at masks, up to {lm.config.block_size} tokens of what follows it",
        "by": made_by(NAME, run, of_the_tokens=", half of them masks"),
        "stored as": "float16",
    }
    return facts_table(facts)


def story(lm: LM) -> str:
    """A greedy story whose accepted drafts are in bold."""
    way = Way(decoder="hybrid", drafting=Drafting(num_drafts=DRAFTS))
    pieces = list(lm.stream(PROMPT, max_tokens=NUM_TOKENS, sampling=Sampling(temperature=0), way=way))
    parts = [
        strong("".join(piece.text for piece in group)) if is_accepted else "".join(piece.text for piece in group)
        for is_accepted, group in groupby(
            pieces, key=lambda piece: piece.event is not None and piece.event.kind == "accept"
        )
    ]
    lines = f"{PROMPT}{''.join(parts)}".splitlines()
    figures = lm.figures
    count = (
        f"{figures.num_tokens} tokens in {figures.num_passes} passes, {DRAFTS} drafts ahead; accepted drafts in bold:"
    )
    return "\n".join([count, "", *(f"> {line}".rstrip() for line in lines)])


def strong(text: str) -> str:
    """A text in bold, but for the spaces around it."""
    bare = text.strip()
    return text.replace(bare, f"**{bare}**") if bare else text


if __name__ == "__main__":
    main()
