"""The peer's side of the training benchmark: transformers' GPT-2 class with torch's AdamW. Imports nothing of Cutaway."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from .steps import BETAS, LEARNING_RATE, WEIGHT_DECAY, timed


def train(**shape: int) -> Callable[..., dict[str, float]]:
    """As documented, with AdamW as it comes."""
    return _train(is_fused=None, has_cache=True, **shape)


def train_at_its_best(**shape: int) -> Callable[..., dict[str, float]]:
    """With the fused AdamW, and without making a cache that nobody reads."""
    return _train(is_fused=True, has_cache=False, **shape)


def _train(*, is_fused: bool | None, has_cache: bool, batch_size: int, **shape: int) -> Callable[..., dict[str, float]]:
    model = GPT2LMHeadModel(_config(has_cache=has_cache, **shape)).train()
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, betas=BETAS, weight_decay=WEIGHT_DECAY, fused=is_fused
    )

    def step(_: int, input_ids: Tensor, __: Tensor) -> None:
        model(input_ids, labels=input_ids).loss.backward()  # the labels are shifted inside
        optimiser.step()
        optimiser.zero_grad()

    return timed(
        step,
        num_parameters=model.num_parameters(),
        context=shape["context"],
        batch_size=batch_size,
        vocab_size=shape["vocab_size"],
    )


def _config(
    *, num_layers: int, num_heads: int, d_model: int, context: int, vocab_size: int, has_cache: bool
) -> GPT2Config:
    return GPT2Config(
        vocab_size=vocab_size,
        n_positions=context,
        n_embd=d_model,
        n_layer=num_layers,
        n_head=num_heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        use_cache=has_cache,
        bos_token_id=None,
        eos_token_id=None,
    )
