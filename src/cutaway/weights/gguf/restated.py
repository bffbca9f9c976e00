"""The same model in another form, where llama.cpp has only that one. In: a config and tensors. Out: both, computing the same.

Rows of positions that no token takes are left out: RoBERTa's first ones, and with them it is BERT. T5's tied head
becomes one of its own, with the scale of its logits in it: llama.cpp's t5 scales nothing, and no key says whether to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from ...config import ModelConfig

Tensors = Mapping[str, Tensor]
POSITIONS, TOKENS, HEAD = "encoder.embedding.position.weight", "token.weight", "head.projection.weight"


def restated(config: ModelConfig, tensors: Tensors) -> tuple[ModelConfig, Tensors]:
    """The model as llama.cpp can say it; itself where nothing has to change. tensors: by our names."""
    if config.encoder is not None and config.decoder is None and POSITIONS in tensors:
        return _from_the_first_row(config, tensors)
    if config.has_cross and config.is_tied and config.main.position.kind == "relative":
        return _with_a_head_of_its_own(config, tensors)
    return config, tensors


def _from_the_first_row(config: ModelConfig, tensors: Tensors) -> tuple[ModelConfig, Tensors]:
    encoder = config.main
    plain = replace(encoder, position=replace(encoder.position, offset=0))
    return replace(config, encoder=plain), {**tensors, POSITIONS: tensors[POSITIONS][encoder.position.offset :]}


def _with_a_head_of_its_own(config: ModelConfig, tensors: Tensors) -> tuple[ModelConfig, Tensors]:
    head = tensors[TOKENS].detach().float() * config.logit_scale
    return replace(config, is_tied=False, logit_scale=1.0), {**tensors, HEAD: head}
