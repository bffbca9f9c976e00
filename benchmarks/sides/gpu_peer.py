"""The peer's side of the benchmark on a GPU: transformers, static cache, compiled steps. In: a shape. Out: tokens a second."""

from __future__ import annotations

import time
from typing import Any

import torch

from cutaway.config import ModelConfig

from .gpu_ours import default_dtype, prompts, wait


class Peer:
    """The class for this architecture, with random weights of its own, on which time does not depend."""

    def __init__(self, config: ModelConfig, device: torch.device, dtype: torch.dtype) -> None:
        from transformers import LlamaConfig, LlamaForCausalLM

        self.config, self.device = config, device
        stack = config.main
        theirs = LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=stack.d_model,
            intermediate_size=stack.feedforward.d_hidden,
            num_hidden_layers=stack.num_layers,
            num_attention_heads=stack.attention.num_heads,
            num_key_value_heads=stack.attention.kv_heads,
            max_position_embeddings=config.context,
            tie_word_embeddings=config.is_tied,
            bos_token_id=None,
            eos_token_id=None,
        )
        with device, default_dtype(dtype):
            self.model: Any = LlamaForCausalLM(theirs).eval()

    @torch.inference_mode()
    def one(self, num_prompt: int, num_written: int) -> float:
        """Tokens a second of one text after its first token, by `generate` with a static cache, which compiles on a GPU."""
        clock = Clock(self.device)
        self.model.generate(
            prompts(self.config, 1, num_prompt, self.device),
            max_new_tokens=num_written + 1,
            do_sample=False,
            cache_implementation="static",
            pad_token_id=0,
            streamer=clock,
        )
        return num_written / (clock.ends[-1] - clock.ends[-num_written - 1])


class Clock:
    """A streamer of transformers: notes when each token was there."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.ends = device, [0.0][:0]

    def put(self, value: object) -> None:  # noqa: ARG002 (its name)
        """A token, or first of all the prompt."""
        wait(self.device)
        self.ends.append(time.perf_counter())

    def end(self) -> None:
        """The text has ended."""
