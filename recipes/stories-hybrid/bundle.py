"""Put a trained run into the package. In: a run directory. Out: src/cutaway/models/stories-hybrid and its card.

    python recipes/stories-hybrid/bundle.py runs/stories-hybrid

The weights are stored in half precision, and the card's figures are measured on them.
"""

from __future__ import annotations

import argparse
import statistics
from itertools import groupby
from pathlib import Path

import measure
import torch

import cutaway
from cutaway.cost import num_parameters
from cutaway.decode import Drafting, Sampling, Way
from cutaway.lm import LM
from cutaway.train.events import read_events
from cutaway.train.recipe import load_recipe
from cutaway.weights import checkpoint

HERE = Path(__file__).parent
NAME, BASE = "stories-hybrid", "stories"
TARGET = HERE.parents[1] / "src" / "cutaway" / "models" / NAME
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the run directory")
    run: Path = parser.parse_args().run
    trained = cutaway.load(run)
    TARGET.mkdir(parents=True, exist_ok=True)
    checkpoint.write_model(TARGET, trained.model, dtype=torch.float16, metadata={"recipe": NAME})
    trained.tokenizer.save(TARGET)
    (TARGET / "README.md").write_text(card(cutaway.load(TARGET), run), "utf-8")
    print(f"{TARGET}: {sum(path.stat().st_size for path in TARGET.iterdir()):,} bytes")


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
    decoder, training = lm.config.main, load_recipe(str(HERE / f"{NAME}.toml")).training
    steps = [event.values for event in read_events(run / "events.jsonl") if event.kind == "step"]
    seconds, tokens = (statistics.median(step[key] for step in steps) for key in ("seconds", "tokens"))
    facts = {
        "parameters": f"{num_parameters(lm.config):,}",
        "layers, heads, width, feed-forward": f"{decoder.num_layers}, {decoder.attention.num_heads}, {decoder.d_model}, "
        f"{decoder.feedforward.d_hidden}",
        "predicts": f"the next token; at masks, up to {lm.config.block_size} tokens of what follows it",
        "by": f"`recipes/{NAME}/{NAME}.toml`: {training.steps:,} steps of {tokens:,.0f} tokens, half of them masks, "
        f"{seconds:.1f} s each on two shared cores",
        "stored as": "float16",
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in facts.items())])


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
