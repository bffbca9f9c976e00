"""Native kernels against torch: products, GELU and attention with their gradients, over shapes that leave remainders."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cutaway.model import Call, Transformer, initialise, visibility
from cutaway.model.call import Spec
from cutaway.model.projection import Projection
from cutaway.model.transformer import make_frame
from cutaway.runtime import activation, kernels
from cutaway.runtime.attend import fused
from cutaway.runtime.native.loader import Library, library, supported
from tests import tiny

SEED = 1
ABSENT = library() if isinstance(library(), str) else ""
pytestmark = pytest.mark.skipif(bool(ABSENT) and not supported(), reason=f"No kernels here: {ABSENT}")


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def random(*shape: int, seed: int = SEED) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def close(ours: Tensor, theirs: Tensor) -> None:
    ours, theirs = ours.detach(), theirs.detach()
    assert (ours - theirs).abs().max() <= 1e-5 * max(1.0, float(theirs.abs().max()))


def test_a_processor_with_an_instruction_set_of_ours_has_kernels() -> None:
    """Without this, every comparison below would be of torch with itself."""
    assert isinstance(library(), Library) or os.environ.get("CUTAWAY_KERNELS"), library()


@pytest.mark.parametrize(
    ("rows", "d_in", "d_out"),
    [(64, 1, 1), (65, 7, 5), (96, 33, 17), (300, 257, 65), (768, 128, 512), (70, 600, 48), (1100, 40, 300)],
)
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.usefixtures("threads")
def test_a_projection_and_its_gradients(rows: int, d_in: int, d_out: int, has_bias: bool) -> None:
    x, weight = random(2, rows, d_in), random(d_out, d_in, seed=2) / d_in**0.5
    bias = random(d_out, seed=3) if has_bias else None
    above = random(2, rows, d_out, seed=4) / rows**0.5
    results = []
    for function in (kernels.linear, F.linear):
        given = [tensor.clone().requires_grad_() for tensor in (x, weight, bias) if tensor is not None]
        out = function(*given) if has_bias else function(*given, None)
        out.backward(above)
        results.append([out, *(tensor.grad for tensor in given)])
    for ours, theirs in zip(*results, strict=True):
        close(ours, theirs)


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_what_is_frozen_gets_no_gradient(frozen: int) -> None:
    results = []
    for function in (kernels.linear, F.linear):
        given = [random(70, 9), random(5, 9, seed=2), random(5, seed=3)]
        for index, tensor in enumerate(given):
            tensor.requires_grad_(index != frozen)
        function(*given).square().mean().backward()
        assert given[frozen].grad is None
        results.append([tensor.grad for index, tensor in enumerate(given) if index != frozen])
    for ours, theirs in zip(*results, strict=True):
        close(ours, theirs)


@pytest.mark.usefixtures("threads")
def test_gelu_and_its_gradient_from_end_to_end() -> None:
    x = torch.cat([torch.linspace(-30, 30, activation.SMALL), torch.tensor([0.0, -0.0, 1e-30, -1e9, 1e9])])
    one, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    ours, theirs = activation.gelu_tanh(one), F.gelu(other, approximate="tanh")
    ours.sum().backward()
    theirs.sum().backward()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=3e-6)


@pytest.mark.parametrize(("d_in", "d_out"), [(1, 1), (7, 5), (192, 768), (300, 2)])
@pytest.mark.parametrize("rows", [1, 3, kernels.FEW])
@pytest.mark.usefixtures("threads")
def test_few_rows(rows: int, d_in: int, d_out: int) -> None:
    x, weight, bias = random(1, rows, d_in), random(d_out, d_in, seed=2) / d_in**0.5, random(d_out, seed=3)
    with torch.inference_mode():
        for given in (bias, None):
            close(kernels.linear(x, weight, given), F.linear(x, weight, given))
    assert kernels.linear(x, weight.requires_grad_(), bias).requires_grad


def attention_cases() -> Iterator[tuple[int, int, int, int, int, str]]:
    for (heads, kv_heads), width, length in itertools.product([(2, 2), (6, 2)], [8, 20, 64], [2, 47, 49, 130]):
        yield heads, kv_heads, width, length, length, "causal"
    yield 4, 4, 16, 30, 77, "full"
    yield 4, 2, 33, 100, 9, "full"


@pytest.mark.parametrize(("heads", "kv_heads", "width", "queries", "keys", "flag"), list(attention_cases()))
@pytest.mark.usefixtures("threads")
def test_attention_and_its_gradients(heads: int, kv_heads: int, width: int, queries: int, keys: int, flag: str) -> None:
    def laid_out(num_heads: int, length: int, seed: int) -> Tensor:
        return random(2, length, num_heads * width, seed=seed).unflatten(-1, (num_heads, width)).transpose(1, 2)

    q, k, v = laid_out(heads, queries, 1), laid_out(kv_heads, keys, 2), laid_out(kv_heads, keys, 3)
    above, spec = laid_out(heads, queries, 4), Spec("attention.", 0.37)
    make = visibility.causal if flag == "causal" else visibility.full
    call = Call(make(queries), frame=make_frame(make(queries), make(keys)))
    call.frame.flag = flag  # type: ignore[union-attr,assignment]
    results = []
    for function in (kernels.attend, fused):
        given = [tensor.detach().clone().requires_grad_() for tensor in (q, k, v)]
        out = function(spec, *given, call)
        out.backward(above)
        results.append([out, *(tensor.grad for tensor in given)])
    for ours, theirs in zip(*results, strict=True):
        close(ours, theirs)


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    x, weight = random(200, 96), random(80, 96, seed=2)
    assert torch.equal(kernels.linear(x, weight, None)[:78], kernels.linear(x[:78], weight, None))


def test_the_same_numbers_every_time() -> None:
    """Threads take rows as they come; what they compute does not depend on who took them."""
    x, weight = random(1000, 256).requires_grad_(), random(384, 256, seed=2).requires_grad_()
    results = []
    for _ in range(5):
        out = kernels.linear(x, weight, None)
        results.append((out.detach(), *torch.autograd.grad(out.square().sum(), (x, weight))))
    for other in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(results[0], other, strict=True))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_are_left_to_torch(dtype: torch.dtype) -> None:
    x, weight = random(80, 16).to(dtype), random(8, 16, seed=2).to(dtype)
    assert torch.equal(kernels.linear(x, weight, None), F.linear(x, weight))
    many = random(activation.SMALL).to(dtype)
    assert torch.equal(activation.gelu_tanh(many), F.gelu(many, approximate="tanh"))
    with torch.autocast("cpu", torch.bfloat16):
        assert kernels.linear(x.float(), weight.float(), None).dtype is torch.bfloat16


def test_an_accelerated_model_is_the_same_model() -> None:
    """Same weights under the same names, same logits and gradients within tolerance, however the call is masked."""
    models = [initialise(Transformer(tiny.config()), torch.Generator().manual_seed(SEED), 0.2) for _ in range(2)]
    names = list(models[0].state_dict())
    assert kernels.accelerate(models[1]) is None
    assert list(models[1].state_dict()) == names
    projections = [module for module in models[1].modules() if isinstance(module, Projection)]
    assert all(isinstance(module, kernels.NativeProjection) for module in projections)
    ids = torch.randint(models[0].config.vocab_size, (8, 12), generator=torch.Generator().manual_seed(SEED))
    for tokens in (visibility.causal(12), visibility.prefix([3] * 8, 12)):
        sides = zip(models, (fused, kernels.attend), strict=True)
        logits = [model(ids, Call(tokens, attend=attend)) for model, attend in sides]
        close(logits[1], logits[0])
        for result in logits:
            result.square().sum().backward()
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        close(other.grad, one.grad)
