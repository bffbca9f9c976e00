"""Train the model of docs/induction.md. In: nothing. Out: recipes/induction/model, two layers that learned to repeat.

    python recipes/induction/train.py

Every text is a run of different letters in a random order, read twice (Olsson et al. 2022). The length of the run changes from
batch to batch, so that looking a fixed number of tokens back does not help. Weights are stored in half precision. Takes half a
minute on one core of a processor.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from cutaway.config import (
    AttentionConfig,
    FeedForwardConfig,
    LayerType,
    ModelConfig,
    PositionConfig,
    StackConfig,
    TokenIds,
)
from cutaway.model import Call, Transformer, initialise
from cutaway.model.position import RelativeBias
from cutaway.model.visibility import causal
from cutaway.runtime.attend import fused
from cutaway.text import Tokenizer, train_tokenizer
from cutaway.weights import checkpoint

TARGET = Path(__file__).parent / "model"
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SHORTEST, LONGEST, CONTEXT = 8, 24, 52
STEPS, TOKENS, RATE, WARMUP, SEED = 1200, 1024, 3e-3, 50, 1
DEVIATION = 0.12  # of the first weights: with 0.02, so small a model takes several times as long to begin
FASTER = 10  # how much faster the biases of distances learn: each is one number, and a head needs it at 5 or so


def main() -> None:
    """Train, and write the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", type=Path, default=TARGET)
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    tokenizer = train_tokenizer("byte", [])
    model = train(build(tokenizer), letters_of(tokenizer), options.steps)
    options.target.mkdir(parents=True, exist_ok=True)
    checkpoint.write_model(options.target, model, dtype=torch.float16, metadata={"recipe": "induction"})
    tokenizer.save(options.target)
    print(f"{options.target}: {sum(path.stat().st_size for path in options.target.iterdir()):,} bytes")


def build(tokenizer: Tokenizer) -> Transformer:
    """Two layers of three heads, the feed-forward layers nearly nothing.

    The lower layer sees four tokens, and learns a number for each distance; the upper one sees all, and no positions.
    """
    none = PositionConfig(kind="none")
    near = LayerType(window=4, position=PositionConfig(kind="relative", max_distance=64))
    stack = StackConfig(
        num_layers=2,
        d_model=64,
        attention=AttentionConfig(num_heads=3, d_head=32),
        feedforward=FeedForwardConfig(d_hidden=16),
        position=none,
        layer_types={"lower": near, "upper": LayerType(position=none)},
        pattern=("lower", "upper"),
    )
    ids = TokenIds(bos=tokenizer.roles.bos, eos=tokenizer.roles.eos, pad=tokenizer.roles.pad)
    config = ModelConfig(vocab_size=tokenizer.vocab_size, context=CONTEXT, decoder=stack, tokens=ids)
    return initialise(Transformer(config), torch.Generator().manual_seed(SEED), std=DEVIATION)


def letters_of(tokenizer: Tokenizer) -> Tensor:
    """The ids of the letters."""
    return torch.tensor(tokenizer.encode(LETTERS))


def train(model: Transformer, letters: Tensor, steps: int) -> Transformer:
    """Adam on the tokens that the repeat tells: all of it but its first."""
    distances = [module.weight for module in model.modules() if isinstance(module, RelativeBias)]
    others = [weight for weight in model.parameters() if all(weight is not each for each in distances)]
    groups = [{"params": others, "weight_decay": 0.01}, {"params": distances, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.98))
    generator = torch.Generator().manual_seed(SEED)
    for step in range(steps):
        falling = 0.1 + 0.45 * (1 + math.cos(math.pi * step / steps))
        rate = RATE * min(1.0, (step + 1) / WARMUP) * falling
        for group, times in zip(optimiser.param_groups, (1, FASTER), strict=True):
            group["lr"] = times * rate
        texts, length = batch(letters, generator)
        logits = model(texts[:, :-1], Call(causal(texts.shape[1] - 1), attend=fused))[:, length:]
        loss = F.cross_entropy(logits.flatten(0, 1), texts[:, length + 1 :].flatten())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % 200 == 0 or step == steps - 1:
            print(f"step {step}: {loss.item():.3f} nats a token of the repeat", flush=True)
    return model.eval()


def batch(letters: Tensor, generator: torch.Generator) -> tuple[Tensor, int]:
    """[batch, position] of ids, each row a run twice, and the length of the run."""
    length = int(torch.randint(SHORTEST, LONGEST + 1, (), generator=generator))
    order = torch.rand(TOKENS // (2 * length), len(letters), generator=generator).argsort(-1)
    run = letters[order[:, :length]]
    return torch.cat((run, run), dim=1), length


if __name__ == "__main__":
    main()
