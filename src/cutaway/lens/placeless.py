"""A model whose tokens cannot tell their place. In: a model. Out: its twin, with the same weights and without positions.

No table is added, queries and keys are not turned, and no bias is added to the scores; what a mask or a window hides stays
hidden. The twin is what a config of the kind `none` describes; it holds the very modules of the model, so it costs no memory.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TypeVar

from torch import nn

from ..config import ModelConfig, PositionConfig, StackConfig
from ..model import Transformer
from ..model.embedding import NoTable
from ..model.transformer import Stack

M = TypeVar("M", bound=nn.Module)
NONE = PositionConfig(kind="none")


def placeless(model: Transformer) -> Transformer:
    """The twin."""
    twin = _shallow(model)
    twin.config = _config(model.config)
    if model.encoder is not None:
        twin.encoder = _stack(model.encoder)
    if model.decoder is not None:
        twin.decoder = _stack(model.decoder)
    return twin


def _stack(stack: Stack) -> Stack:
    twin = _shallow(stack)
    twin.config = _stack_config(stack.config)
    twin.embedding = _shallow(stack.embedding)
    twin.embedding.position = NoTable()
    twin.rotary, twin.bias = nn.ModuleDict(), nn.ModuleDict()
    return twin


def _shallow(module: M) -> M:
    """A module with tables of its own that hold the same modules and parameters."""
    twin = copy.copy(module)
    for table in ("_modules", "_parameters", "_buffers"):
        twin.__dict__[table] = dict(module.__dict__[table])
    return twin


def _config(config: ModelConfig) -> ModelConfig:
    stacks = {name: _stack_config(stack) for name, stack in config.stacks.items()}
    return replace(config, encoder=stacks.get("encoder"), decoder=stacks.get("decoder"))


def _stack_config(stack: StackConfig) -> StackConfig:
    kinds = {name: replace(kind, position=None) for name, kind in stack.layer_types.items()}
    return replace(stack, position=NONE, layer_types=kinds)
