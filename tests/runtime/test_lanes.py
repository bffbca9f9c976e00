"""The kernels with the vectors of other processors: what one instruction set computes is checked on a machine with another."""

from __future__ import annotations

from pathlib import Path

import pytest

from cutaway.runtime import ops
from cutaway.runtime.native import build
from cutaway.runtime.native.loader import Library, library, supported

from . import test_kernels as checks
from . import test_plan_operations as plans

pytestmark = pytest.mark.skipif(not supported(), reason="This processor has no instruction set with kernels.")


@pytest.mark.parametrize(("lanes", "rows"), [(16, 12), (4, 6)], ids=["as AVX-512", "as NEON"])
def test_other_vectors_compute_the_same(lanes: int, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "kernels.so"
    monkeypatch.setattr(build, "SETS", {machine: dict([*sets.items()][:1]) for machine, sets in build.SETS.items()})
    monkeypatch.setattr("cutaway.runtime.native.loader.LIBRARY", place)
    monkeypatch.setenv("CUTAWAY_KERNELS", next(iter(build.SETS[build.platform.machine()])))
    assert build.build(place, f"-DLANES={lanes}", f"-DROWS={rows}") is None
    found = library.__wrapped__()
    assert isinstance(found, Library), found
    monkeypatch.setattr(ops, "library", lambda: found)
    for rows_in, d_in, d_out in ((64, 1, 1), (65, 7, 5), (300, 257, 65), (70, 600, 48), (1100, 40, 300)):
        for has_bias in (True, False):
            checks.test_a_projection_and_its_gradients(rows_in, d_in, d_out, has_bias)
    for shape in ((7, 5), (192, 768)):
        checks.test_few_rows(3, *shape)
    checks.test_gelu_and_its_gradient_from_end_to_end()
    for case in checks.attention_cases():
        checks.test_attention_and_its_gradients(*case)
    monkeypatch.setattr(plans, "library", lambda: found)
    for width in (7, 33, 100):
        plans.test_norms(width, 3)
        for name in plans.BY_NUMBER:
            plans.test_operations_number_by_number(name, width)
    for bias in ("none", "slopes", "buckets"):
        plans.test_attention_over_a_store(2, 40, bias, 5, 2, 1.5, 21)
    plans.test_rotary_positions(50, False, 0.5)
    plans.test_products_have_the_bits_of_the_kernel_for_few_rows(33, 40, True)
