"""What a run teaches. In: the table [objective] of a recipe. Out: the config's words for it, and the task of each batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch

from ..config import ModelConfig, Prediction
from ..data import Batch
from ..errors import CutawayError
from ..objectives import Task, at_rate, block_numbers, by_blocks, by_time, causal, drafted, masked, rows_of
from .recipe_data import at_least, check

Estimate = Literal["exact", "bound"]
PREDICTIONS: dict[str, tuple[Prediction, Prediction]] = {
    "next": ("next", "next"),
    "masked": ("masked", "masked_next"),
    "diffusion": ("masked", "masked_next"),
    "hybrid": ("hybrid", "hybrid_next"),
}


@dataclass(frozen=True, kw_only=True)
class ObjectiveRecipe:
    """What is predicted. next: the next token. masked: tokens hidden at one `rate`. diffusion: tokens hidden at every rate, of
    the whole text or, with a block_size, block by block. hybrid: the next token, and drafts of blocks of block_size.

    is_shifted: a hidden token is said one place earlier, as a model that predicts the next token would. draft_weight: of the
    drafts' loss beside the next token's. draws: how often the held-out texts are hidden for their bound.
    """

    kind: Literal["next", "masked", "diffusion", "hybrid"] = "next"
    block_size: int | None = None
    rate: float = 0.15
    is_shifted: bool = False
    draft_weight: float = 1.0
    draws: int = 2

    def __post_init__(self) -> None:
        if self.block_size is not None:
            at_least("objective.block_size", self.block_size, 1)
        has_blocks = self.kind == "hybrid" or (self.kind == "diffusion" and self.block_size is not None)
        if has_blocks != (self.block_size is not None):
            wants = (
                "needs one: how many tokens it drafts"
                if self.kind == "hybrid"
                else "has none; diffusion and hybrid have"
            )
            raise CutawayError(
                f"objective.kind is '{self.kind}' and objective.block_size is {self.block_size}. '{self.kind}' {wants}."
            )
        if self.kind == "hybrid" and self.block_size == 1 and not self.is_shifted:
            raise CutawayError(
                "objective.block_size is 1 and objective.kind is 'hybrid'. The first mask of a block says what the next token "
                "says already, so nothing would be drafted. Give 2 or more, or set objective.is_shifted."
            )
        check("objective.rate", self.rate, 0 < self.rate <= 1, "above 0 and at most 1")
        check("objective.draft_weight", self.draft_weight, self.draft_weight > 0, "above 0")
        at_least("objective.draws", self.draws, 1)
        if self.is_shifted and self.kind in ("next", "diffusion") and (self.kind == "next" or has_blocks):
            raise CutawayError(
                f"objective.is_shifted is true and objective.kind is '{self.kind}'"
                f"{' with blocks' if has_blocks else ''}. What is hidden is said one place earlier by masked, diffusion without "
                "block_size, and hybrid."
            )

    @property
    def label(self) -> str:
        """The objective in a few words, for a reader: "diffusion in blocks of 4"."""
        blocks = "" if self.block_size is None else f" in blocks of {self.block_size}"
        return {"next": "next token", "masked": "masked tokens"}.get(self.kind, self.kind) + blocks

    @property
    def estimate(self) -> Estimate:
        """What is known of the likelihood of a text: its very value, or a bound above −log p."""
        return "exact" if self.kind in ("next", "hybrid") else "bound"

    def applied(self, config: ModelConfig, context: int) -> ModelConfig:
        """The config of a model that learns this. context: tokens in a row. Raises CutawayError for what does not fit."""
        if self.kind == "next" and not config.says_masked:
            return config
        if self.kind != "next" and config.tokens.mask is None:
            raise CutawayError(
                f"objective.kind is '{self.kind}', and the tokenizer has no token to hide others with. Use one of kind word, "
                "byte or bpe, which do."
            )
        if self.kind == "hybrid" and self.block_size is not None and self.block_size > context:
            raise CutawayError(
                f"objective.block_size is {self.block_size:,}, and a row has {context:,} tokens, so that no such block would be "
                f"drafted. Allowed: up to {context:,}."
            )
        if self.kind == "diffusion" and self.block_size is not None and context % self.block_size:
            near = [size for size in range(1, context + 1) if context % size == 0]
            allowed = ", ".join(map(str, sorted(near, key=lambda size: abs(size - (self.block_size or 1)))[:5]))
            raise CutawayError(
                f"objective.block_size is {self.block_size}, which does not divide the {context} tokens of a row. Allowed near "
                f"it: {allowed}."
            )
        return replace(config, predicts=PREDICTIONS[self.kind][self.is_shifted], block_size=self.block_size)

    def task(self, batch: Batch, config: ModelConfig, seed: int) -> Task:
        """What a batch teaches; which tokens are hidden is drawn from the seed."""
        if self.kind == "next":
            return causal(batch)
        assert config.tokens.mask is not None, "checked when it was applied"
        generator = torch.Generator().manual_seed(seed)
        rows, mask_id = rows_of(batch, is_shifted=self.is_shifted), config.tokens.mask
        if self.kind == "hybrid":
            assert self.block_size is not None, "checked at construction"
            offset = int(torch.randint(self.block_size, (1,), generator=generator))
            return drafted(
                rows, mask_id, self.block_size, offset, is_shifted=self.is_shifted, draft_weight=self.draft_weight
            )
        if self.kind == "masked":
            noise = at_rate(rows.may_hide, self.rate, generator)
        else:
            noise = by_time(rows.may_hide, block_numbers(rows, self.block_size), generator)
        if self.block_size is not None:
            return by_blocks(rows, noise, mask_id, self.block_size)
        return masked(rows, noise, mask_id, is_shifted=self.is_shifted)
