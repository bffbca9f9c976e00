"""Torch's own products with rounded weights: against their slow twins, their trial, and whole models where no kernel runs."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cutaway.apps.bench.precision import num_bytes
from cutaway.errors import CutawayError
from cutaway.runtime import quantise as quantising
from cutaway.runtime.native.loader import SWITCH, supported
from cutaway.runtime.quantised import packed as packing
from cutaway.runtime.quantised.packed import (
    KINDS,
    PackedCodes,
    PackedHalves,
    PackedProjection,
    RoundedRows,
    RoundedWeights,
    is_admitted,
    packed,
    places_of_codes,
    tried,
)
from cutaway.runtime.quantised.rounding import rounded
from cutaway.runtime.roofline import instruction_sets
from tests.runtime.apart import printed
from tests.runtime.test_quantised import projection, random

SHAPES = [(1, 1), (5, 7), (16, 32), (70, 67), (130, 513)]
VNNI = [name for name in instruction_sets() if "vnni" in name]
WRONG = {RoundedRows: 1e-5, RoundedWeights: 2.0**-7, PackedCodes: 2.0**-7, PackedHalves: 2.0**-7}


OPERATORS: dict[type[PackedProjection], Callable[[], Tensor]] = {
    RoundedRows: lambda: torch.ops.onednn.qlinear_prepack(zeros(64, torch.int8), None),
    RoundedWeights: lambda: torch._weight_int8pack_mm(
        zeros(1, torch.bfloat16), zeros(64, torch.int8), torch.ones(64).bfloat16()
    ),
    PackedCodes: lambda: torch._convert_weight_to_int4pack_for_cpu(zeros(64, torch.int32), 1),
    PackedHalves: lambda: torch.ops.mkldnn._reorder_linear_weight(zeros(64, torch.bfloat16), None),
}


def zeros(rows: int, dtype: torch.dtype) -> Tensor:
    return torch.zeros(rows, 64, dtype=dtype)


def made_of(kind: type[PackedProjection], d_out: int, d_in: int, *, has_bias: bool = True) -> PackedProjection:
    try:
        OPERATORS[kind]()
    except (RuntimeError, AttributeError) as error:
        pytest.skip(f"This torch, or this processor, lacks it: {error}")
    return kind(projection(d_out, d_in, has_bias=has_bias))


def close(kind: type[PackedProjection], ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    assert ours.dtype is theirs.dtype
    if ours.numel():
        assert (ours - theirs).abs().max() <= WRONG[kind] * max(1.0, float(theirs.abs().max()))


ALL_KINDS = pytest.mark.parametrize("kind", WRONG)


@ALL_KINDS
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("rows", [0, 1, 2, 16, 17, 40])
def test_the_product_is_the_slow_one(kind: type[PackedProjection], shape: tuple[int, int], rows: int) -> None:
    made, x = made_of(kind, *shape, has_bias=shape[1] % 3 > 0), random(2, rows, shape[1])
    if kind is RoundedRows and tried(kind) is None and not VNNI:
        pytest.skip("This processor adds u8 by s8 in too few bits, which the trial found.")
    with torch.inference_mode():
        close(kind, made(x, None), made.slow(x))


@ALL_KINDS
def test_what_it_stands_for_is_the_rounded_weight(kind: type[PackedProjection]) -> None:
    whole = projection(130, 70)
    made = made_of(kind, 130, 70)
    assert made.weight.shape == whole.weight.shape
    size = float(whole.weight.abs().max())
    most = {RoundedRows: size / 254, RoundedWeights: size / 254 + size / 256, PackedHalves: size / 256}.get(kind)
    if most is not None:
        assert (made.weight - whole.weight).abs().max() <= most
        return
    codes = rounded(whole.weight, 4)
    scales = (codes.scales.float() * codes.factor).bfloat16().float()
    theirs = codes.codes.float() * scales.repeat_interleave(32, dim=1)[:, :70]
    assert torch.equal(made.weight, theirs)  # the same codes, though their order is the processor's own
    assert sorted(places_of_codes(96).tolist()) == list(range(64 * 96))


@ALL_KINDS
def test_it_moves_with_its_model_and_is_counted(kind: type[PackedProjection]) -> None:
    made, x = made_of(kind, 64, 96), random(1, 2, 96)
    wanted, bytes_each = made.slow(x), {16: 2.0, 8: 1.0, 4: 0.5}[made.bits]
    twin = copy.deepcopy(made)
    assert torch.equal(twin.slow(x), wanted)
    assert bytes_each <= num_bytes([made]) / (64 * 96) <= bytes_each + 0.3
    twin.double()
    close(kind, twin(x.double(), None), twin.slow(x.double()))
    assert twin(x.double(), None).dtype is torch.float64
    with pytest.raises(RuntimeError, match="shapes"):
        made(torch.ones(1, 1, 97), None)


@ALL_KINDS
def test_zeros_and_what_is_not_finite(kind: type[PackedProjection]) -> None:
    made, x = made_of(kind, 20, 70, has_bias=False), random(1, 3, 70)
    assert not made(torch.zeros_like(x), None).any()
    clean = made(x, None)
    for bad in (torch.nan, torch.inf, -torch.inf):
        x[0, 1, 65] = bad
        ours = made(x, None)
        assert not ours[0, 1].isfinite().any()
        assert torch.equal(ours[0, ::2], clean[0, ::2])


@ALL_KINDS
def test_gradients_are_those_of_the_product(kind: type[PackedProjection]) -> None:
    made, x = made_of(kind, 40, 64), random(1, 5, 64).requires_grad_()
    (gradient,) = torch.autograd.grad(made(x, None).sum(), x)
    close(kind, gradient, made.weight.sum(0).expand(1, 5, 64))


@pytest.mark.parametrize("kind", [RoundedRows, RoundedWeights, PackedCodes])
def test_a_weight_that_is_not_finite_is_refused(kind: type[PackedProjection]) -> None:
    whole = projection(16, 32)
    whole.weight[3, 4] = torch.inf
    with pytest.raises(CutawayError, match="not finite"):
        kind(whole)


@ALL_KINDS
def test_one_that_computes_wrongly_or_slowly_is_not_admitted(
    kind: type[PackedProjection], monkeypatch: pytest.MonkeyPatch
) -> None:
    if tried(kind) is None:
        pytest.skip("It computes nothing, or nothing right, on this processor.")
    for seconds, is_sooner in ((1.0, 2.0), True), ((1.0, 1.0), False), ((2.0, 1.0), False):
        left = list(seconds)  # of the product, and of a stretch at a time
        monkeypatch.setattr(packing, "least", lambda _, left=left: left.pop(0))
        assert is_admitted(kind) == is_sooner
    product = kind.product
    for wrong in (lambda self, x: product(self, x) * 1.02, lambda _, x: torch.ops.cutaway_nowhere.product(x)):
        monkeypatch.setattr(kind, "product", wrong)
        assert tried(kind) is None
        assert not is_admitted(kind)


@pytest.mark.skipif("avx2" not in supported(), reason="oneDNN can be held to AVX2 where there is AVX2.")
def test_sums_in_too_few_bits_are_found() -> None:
    """On processors without VNNI, oneDNN adds pairs of products in 16 bits, which saturate."""
    code = (
        "from cutaway.runtime.quantised.packed import *\n"
        "print(tried(RoundedRows) is None, packed(8) is RoundedRows, tried(RoundedWeights) is None)"
    )
    assert printed(code, ONEDNN_MAX_CPU_ISA="AVX2") == "True False False"


@pytest.mark.parametrize("bits", [16, 8, 4])
def test_where_no_kernel_runs_it_serves(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = projection(16, 32)
    for name in ("integers", "halves"):
        monkeypatch.setattr(quantising.kernels, name, lambda: "there is no compiler")
    for kind in (*KINDS[bits], None):
        monkeypatch.setattr(quantising, "packed", lambda _, kind=kind: kind)
        if kind is None:
            assert quantising.rounded_projection(whole, bits).bits == bits
        else:
            made_of(kind, 16, 32)
            assert type(quantising.rounded_projection(whole, bits)) is kind


def test_turned_off_a_model_is_served_by_what_was_admitted() -> None:
    code = (
        "from cutaway.runtime.quantised.packed import packed\nfrom cutaway.runtime.quantise import quantise\n"
        "from cutaway.runtime.quantised.projection import QuantisedProjection\nfrom tests import tiny\n"
        "for bits in (16, 8, 4):\n"
        "    model = tiny.model(tiny.config()); quantise(model, bits)\n"
        "    kinds = {type(part) for part in model.modules() if isinstance(part, QuantisedProjection)}\n"
        "    assert packed(bits) is None or kinds == {packed(bits)}, (bits, kinds)\n"
        "print('served')"
    )
    assert printed(code, **{SWITCH: "off"}) == "served"


def test_each_is_tried_once() -> None:
    assert packed(8) is packed(8)
    assert packed.cache_info().hits
