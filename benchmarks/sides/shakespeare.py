"""The held-out loss, counted again. In: a finished run. Out: nats a token, without a line of Cutaway.

Every token of the last part of the text after its first is predicted once, in windows of the model's context that follow each
other; the last window moves back to be full, and scores only what is new.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import GPT2LMHeadModel


def recount(run: str, checkpoint: str, folder: str) -> Callable[[], dict[str, float]]:
    """run: its directory; checkpoint: that of the last step; folder: where the recipe and its text are."""
    recipe = json.loads((Path(run) / "recipe.json").read_text("utf-8"))
    source = recipe["data"]["train"][0]
    text = (Path(folder) / source["files"]).read_text("utf-8")
    ids = torch.tensor(Tokenizer.from_file(str(Path(checkpoint) / "tokenizer.json")).encode(text).ids)
    held_out = ids[int((1 - recipe["data"]["validation_share"]) * len(ids)) :]
    model = GPT2LMHeadModel.from_pretrained(checkpoint)  # in evaluation mode already
    return lambda: {"loss": mean_loss(model, held_out, recipe["model"]["context"]), "tokens": len(held_out) - 1}


@torch.inference_mode()
def mean_loss(model: GPT2LMHeadModel, ids: torch.Tensor, context: int) -> float:
    """ids: [position]. Nats a predicted token."""
    num_targets, total = len(ids) - 1, 0.0
    for first in range(0, num_targets, context):
        start = min(first, num_targets - context)
        window = ids[start : start + context + 1]
        chances = torch.log_softmax(model(window[None, :-1]).logits[0].double(), dim=-1)
        scored = chances.gather(1, window[1:, None])[first - start :]
        total -= float(scored.sum())
    return total / num_targets
