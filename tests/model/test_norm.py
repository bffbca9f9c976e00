"""Norms against torch and against the Llama implementation."""

from __future__ import annotations

import pytest
import torch
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from cutaway.config import NormConfig
from cutaway.model.norm import make_norm


def random_norm(config: NormConfig, width: int = 12) -> torch.nn.Module:
    norm, generator = make_norm(width, config), torch.Generator().manual_seed(2)
    for parameter in norm.parameters():
        parameter.data = torch.randn(width, generator=generator)
    return norm.requires_grad_(False)


X = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(3)) * 4 + 1


@pytest.mark.parametrize("has_bias", [True, False])
def test_layer_norm_equals_torch(has_bias: bool) -> None:
    norm = random_norm(NormConfig(eps=1e-3, bias=has_bias))
    twin = torch.nn.LayerNorm(12, eps=1e-3, bias=has_bias)
    twin.load_state_dict(norm.state_dict())
    assert torch.equal(norm(X), twin(X))


def test_rms_norm_equals_llama() -> None:
    norm = random_norm(NormConfig(kind="rms", eps=1e-6))
    twin = LlamaRMSNorm(12, eps=1e-6)
    twin.load_state_dict(norm.state_dict())
    torch.testing.assert_close(norm(X), twin(X))


def test_rms_norm_with_offset_equals_gemma() -> None:
    norm = random_norm(NormConfig(kind="rms", eps=1e-6, offset=1.0))
    twin = GemmaRMSNorm(12, eps=1e-6)
    twin.load_state_dict(norm.state_dict())
    torch.testing.assert_close(norm(X), twin(X))


def test_a_new_norm_rescales_by_one_whatever_its_offset() -> None:
    for offset in (0.0, 1.0):
        out = make_norm(12, NormConfig(kind="rms", offset=offset))(X)
        torch.testing.assert_close(out.square().mean(-1), torch.ones(2, 5), rtol=1e-4, atol=0)


def test_rms_norm_works_in_single_precision_inside() -> None:
    """In half precision the squares of large numbers would overflow."""
    norm = make_norm(12, NormConfig(kind="rms"))
    out = norm(torch.full((1, 12), 3e4, dtype=torch.float16))
    assert out.dtype == torch.float16
    assert torch.allclose(out, torch.ones_like(out))
