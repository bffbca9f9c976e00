"""The sides of the generation benchmark. In: a model, a prompt, a number of tokens. Out: their ids and the seconds they took."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

import cutaway
from cutaway.decode import Sampling, Session, autoregressive, run
from cutaway.finding import find


def ours(model: str, prompt: str, num_tokens: int) -> Callable[[], dict[str, Any]]:
    """What `cutaway generate --temperature 0` does, but that no token ends it."""
    lm = cutaway.load(model)
    prompt_ids = lm.ids(prompt)

    def generate() -> list[int | None]:
        greedy = Sampling(temperature=0)
        decoder = autoregressive(Session(lm.model), prompt_ids, greedy, max_tokens=num_tokens, eos_ids=())
        return [event.new for event in run(decoder)]

    return timed(generate)


def peer(model: str, prompt: str, num_tokens: int) -> Callable[[], dict[str, Any]]:
    """transformers' `generate` on the same checkpoint, with its own cache."""
    from transformers import GenerationConfig, GPT2LMHeadModel

    gpt2: Any = GPT2LMHeadModel.from_pretrained(find(model))  # in evaluation mode already
    prompt_ids = torch.tensor([cutaway.load(model).ids(prompt)])
    wanted = GenerationConfig(max_new_tokens=num_tokens, do_sample=False, use_cache=True, pad_token_id=0)
    gpt2.generation_config = wanted  # the checkpoint's own names a token that ends the text

    def generate() -> list[int]:
        ids = gpt2.generate(prompt_ids, attention_mask=torch.ones_like(prompt_ids))
        return list(ids[0, prompt_ids.shape[1] :].tolist())

    return timed(generate)


def timed(generate: Callable[[], list[Any]]) -> Callable[[], dict[str, Any]]:
    """One generation on request."""

    def answer() -> dict[str, Any]:
        start = time.perf_counter()
        ids = generate()
        return {"seconds": time.perf_counter() - start, "ids": ids}

    return answer
