"""What is fused between products, against the leaves of the model that it stands for, over sizes that leave remainders."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from cutaway.config import NormConfig
from cutaway.model import Call, visibility
from cutaway.model.feedforward import ACTIVATIONS, gated
from cutaway.model.norm import RmsNorm
from cutaway.model.position import rotate
from cutaway.runtime import rows
from cutaway.runtime.activation import gelu_tanh
from cutaway.runtime.kernels import accelerate
from cutaway.runtime.native.loader import library, supported
from tests import tiny
from tests.decode.planned import SHAPES

ABSENT = library() if isinstance(library(), str) else ""
pytestmark = pytest.mark.skipif(bool(ABSENT) and not supported(), reason=f"No kernels here: {ABSENT}")


@pytest.fixture(params=[1, 2, 3], autouse=True)
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def called(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was served natively, however small it was."""
    found: list[object] = []

    def watched(x: Tensor, other: Tensor) -> object:
        found.append(real(x, other))
        return found[-1]

    real = rows.serves
    monkeypatch.setattr(rows, "SMALL", 0)
    monkeypatch.setattr(rows, "serves", watched)
    return found


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def close(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 1e-5 * max(1.0, float(theirs.abs().max()))


@pytest.mark.parametrize("width", [1, 7, 16, 33, 200])
@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_norms(width: int, offset: float, called: list[object]) -> None:
    slow = RmsNorm(width, NormConfig(kind="rms", offset=offset)).requires_grad_(False)
    slow.weight.copy_(random(width, seed=2))
    x = random(3, 11, width) * 3
    for given in (x, x.transpose(0, 1), torch.zeros_like(x)):
        close(rows.NativeRmsNorm(slow)(given), slow(given))
    assert called
    assert all(called)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 37), (2, 70, 64), (1, 40, 515)])
def test_gates(name: str, shape: tuple[int, ...], called: list[object]) -> None:
    x, y = random(*shape) * 4, random(*shape, seed=2)
    activate = ACTIVATIONS[name]  # type: ignore[index]
    close(rows.gate(activate, x, y), gated(activate, x, y))
    close(rows.gate(activate, x.transpose(0, 1), y.transpose(0, 1)), gated(activate, x, y).transpose(0, 1))
    assert called
    assert all(called)


def test_the_native_gelu_is_known_and_others_are_not() -> None:
    x, y = random(2, 3, 37), random(2, 3, 37, seed=2)
    close(rows.gate(gelu_tanh, x, y), gated(gelu_tanh, x, y))
    assert torch.equal(rows.gate(torch.sin, x, y), torch.sin(x) * y)


@pytest.mark.parametrize("is_interleaved", [False, True])
@pytest.mark.parametrize(("pairs", "width"), [(1, 2), (3, 7), (8, 16), (24, 48), (20, 60)])
@pytest.mark.parametrize("batch", [1, 3])
def test_rotations(is_interleaved: bool, pairs: int, width: int, batch: int, called: list[object]) -> None:
    x = random(3, 9, 4, width).transpose(1, 2)
    angles = random(batch, 1, 9, pairs, seed=2)
    for given in (x, x.contiguous(), x[:, :1], x[:, ::2]):
        ours = rows.turn(given, angles.cos(), angles.sin(), is_interleaved=is_interleaved)
        close(ours, rotate(given, angles.cos(), angles.sin(), is_interleaved=is_interleaved))
    assert called
    assert all(called)


def test_gradients_types_and_mixed_precision_are_torchs(called: list[object]) -> None:
    norm = rows.NativeRmsNorm(RmsNorm(8, NormConfig(kind="rms")))
    x = random(2, 3, 8)
    norm(x).sum().backward()
    assert norm.weight.grad is not None
    with torch.no_grad():
        assert norm.double()(x.double()).dtype is torch.float64
        with torch.autocast("cpu", torch.bfloat16):
            norm.float()(x)
    assert called == [False] * 3


@pytest.mark.parametrize("name", SHAPES)
@torch.inference_mode()
def test_whole_models(name: str) -> None:
    model, ids = tiny.model(SHAPES[name], seed=4), tiny.ids(2, 40)
    wanted = model(ids, Call(visibility.causal(40)))
    accelerate(model)
    close(model(ids, Call(visibility.causal(40))), wanted)
