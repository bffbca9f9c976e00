"""Adapters in files for tests. In: a model, or tensors by name. Out: a directory as PEFT writes it, made without PEFT or us."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from cutaway.model import Call, Transformer, visibility
from cutaway.model.adapter import adapters
from cutaway.train.adapters import AdapterConfig, attach
from tests import tiny

NAME = "base_model.model."


def written(directory: Path, tensors: Mapping[str, Tensor], **keys: Any) -> Path:
    """A directory with these tensors (`module.A` for lora_A) and the keys that every adapter_config.json has."""
    directory.mkdir()
    usual = {"peft_type": "LORA", "r": 2, "lora_alpha": 6, "target_modules": ["any"], "bias": "none"}
    (directory / "adapter_config.json").write_text(json.dumps({**usual, **keys}))
    ends = {"A": "lora_A.weight", "B": "lora_B.weight"}
    named = {f"{NAME}{name[:-1]}{ends[name[-1]]}": tensor.contiguous() for name, tensor in tensors.items()}
    save_file(named, directory / "adapter_model.safetensors")
    return directory


def stored(directory: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The settings and the tensors of a directory, the latter by `module.A`."""
    tensors = load_file(directory / "adapter_model.safetensors")
    short = {
        name.removeprefix(NAME).replace("lora_A.weight", "A").replace("lora_B.weight", "B"): tensor
        for name, tensor in tensors.items()
    }
    return json.loads((directory / "adapter_config.json").read_text()), short


def trained(model: Transformer, *targets: str, **knobs: Any) -> Transformer:
    """With adapters on these targets, whose B is random too."""
    attach(model, AdapterConfig(targets=targets, **{"rank": 3, "alpha": 5.0, **knobs}), seed=2)
    generator = torch.Generator().manual_seed(3)
    for adapter in adapters(model).values():
        adapter.up.data.copy_(0.3 * torch.randn(adapter.up.shape, generator=generator))
    return model


@torch.inference_mode()
def logits(model: Transformer) -> Tensor:
    """Of two texts, causal unless the model sees ahead: [batch, position, vocab]."""
    tokens = visibility.full(9) if model.config.sees_ahead else visibility.causal(9)
    if model.config.has_cross:
        memory = model.encode(tiny.ids(2, 7), Call(visibility.full(7)))
        return model(tiny.ids(2, 9), Call(tokens, memory=memory))
    return model(tiny.ids(2, 9), Call(tokens))
