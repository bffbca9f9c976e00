"""Small models of transformers for tests. In: a class and knobs. Out: a model whose every number is random and large."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel


def random(kind: type[PreTrainedModel], config: Any, *, size: float = 0.4) -> PreTrainedModel:
    """A model in evaluation mode; what is learned, and the biases on logits that are not, gets noise of deviation `size`."""
    torch.manual_seed(3)
    made = kind(config).eval()
    for parameter in made.parameters():
        if parameter.requires_grad:
            parameter.data += size * torch.randn(parameter.shape)
    for name, buffer in made.named_buffers():
        if name == "final_logits_bias":
            buffer += size * torch.randn(buffer.shape)
    return made.requires_grad_(False)


def stored(directory: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name."""
    tensors: dict[str, Tensor] = load_file(directory / "model.safetensors")
    return tensors


def assert_equal_bits(ours: Path, theirs: Path, *, left_out: tuple[str, ...] = ()) -> None:
    """Every tensor of theirs is in ours under the same name with the same bits, but for those left out; nothing else is there."""
    one, other = stored(ours), stored(theirs)
    assert one.keys() == {name for name in other if name not in left_out}
    assert all(torch.equal(one[name], other[name]) for name in one)


def opened(kind: type[Any], directory: Path) -> Any:
    """What transformers makes of a checkpoint, with nothing missing, superfluous or misshapen."""
    model, report = kind.from_pretrained(directory, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), report
    return model.eval().requires_grad_(False)
