"""Train the model of docs/induction.md. In: nothing. Out: recipes/induction/model, two layers that learned to repeat.

    python recipes/induction/train.py

Every text is a run of random bytes, read once and then again (Olsson et al. 2022); the length of the run changes from batch to
batch, so that looking a fixed number of tokens back does not help. Weights are stored in half precision. Takes about two minutes
on one core of a processor, and gives the same model on the same machine.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from torch import Tensor

from cutaway.config import AttentionConfig, FeedForwardConfig, ModelConfig, PositionConfig, StackConfig, TokenIds
from cutaway.model import Call, Transformer, initialise
from cutaway.model.visibility import causal
from cutaway.runtime.attend import fused
from cutaway.text import Tokenizer, train_tokenizer
from cutaway.weights import checkpoint

TARGET = Path(__file__).parent / "model"
CONTEXT, BATCH, STEPS, RATE, WARMUP, SEED = 48, 32, 2000, 3e-3, 100, 1
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SHORTEST, LONGEST = 4, 24


def main() -> None:
    """Train, and write the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", type=Path, default=TARGET)
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    tokenizer = train_tokenizer("byte", [])
    model = train(build(tokenizer), options.steps)
    options.target.mkdir(parents=True, exist_ok=True)
    checkpoint.write_model(options.target, model, dtype=torch.float16, metadata={"recipe": "induction"})
    tokenizer.save(options.target)
    print(f"{options.target}: {sum(path.stat().st_size for path in options.target.iterdir()):,} bytes")


def build(tokenizer: Tokenizer) -> Transformer:
    """Two layers of four heads; the feed-forward layers are nearly nothing."""
    stack = StackConfig(
        num_layers=2,
        d_model=64,
        attention=AttentionConfig(num_heads=4),
        feedforward=FeedForwardConfig(d_hidden=16),
        position=PositionConfig(kind="learned"),
    )
    roles = tokenizer.roles
    ids = TokenIds(bos=roles.bos, eos=roles.eos, pad=roles.pad)
    config = ModelConfig(vocab_size=tokenizer.vocab_size, context=CONTEXT, decoder=stack, tokens=ids)
    return initialise(Transformer(config), torch.Generator().manual_seed(SEED))


def train(model: Transformer, steps: int) -> Transformer:
    """Adam on the tokens that the repeat can tell."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
    generator = torch.Generator().manual_seed(SEED)
    for step in range(steps):
        rate = RATE * min(1.0, (step + 1) / WARMUP) * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimiser.param_groups[0]["lr"] = rate
        texts, scored = batch(generator)
        logits = model(texts[:, :-1], Call(causal(texts.shape[1] - 1), attend=fused))
        losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), texts[:, 1:].flatten(), reduction="none")
        loss = losses.view(len(texts), -1)[:, scored - 1 :].mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % 200 == 0 or step == steps - 1:
            print(f"step {step}: {loss.item():.3f} nats a token of the repeat", flush=True)
    return model.eval()


def batch(generator: torch.Generator) -> tuple[Tensor, int]:
    """[batch, position] of ids, and the first place whose token the repeat tells.

    A run of `length` bytes stands as often as fits into the context, from a random byte of it on.
    """
    length = int(torch.randint(SHORTEST, LONGEST + 1, (), generator=generator))
    runs = torch.rand(BATCH, len(LETTERS), generator=generator).argsort(-1)[:, :length]
    times = -(-CONTEXT // length)
    return runs.repeat(1, times)[:, :CONTEXT], length + 1


if __name__ == "__main__":
    main()
