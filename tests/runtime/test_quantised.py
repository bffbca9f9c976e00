"""Products with rounded weights against their slow twins: every instruction set that is here, models of those that are not."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import Tensor

from cutaway.model.projection import Projection
from cutaway.runtime.native import build
from cutaway.runtime.native.loader import SIZE, SWITCH, library, supported
from cutaway.runtime.quantised import kernels
from cutaway.runtime.quantised.kernels import LADDER, Product
from cutaway.runtime.quantised.projection import HalfProjection, IntegerProjection, QuantisedProjection
from tests.runtime.apart import printed

UNITS = ("integers", "halves", "rounding")
SHAPES = [(1, 1), (5, 7), (16, 32), (35, 67), (33, 513)]
ROWS = (1, 2, 3, 5, 8, 9, 30)
MAKERS: dict[int, Callable[[Projection], QuantisedProjection]] = {
    16: HalfProjection,
    8: lambda projection: IntegerProjection(projection, 8),
    4: lambda projection: IntegerProjection(projection, 4),
}
ALL_BITS = pytest.mark.parametrize("bits", MAKERS)
native = pytest.mark.skipif(isinstance(library(), str) and not supported(), reason=f"No kernels here: {library()}")
compiled = pytest.mark.skipif(
    "avx2" not in supported() or not shutil.which("g++"), reason="Neither AVX2 nor a compiler is here."
)


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def projection(d_out: int, d_in: int, *, has_bias: bool = True) -> Projection:
    made = Projection(d_in, d_out, bias=has_bias).requires_grad_(False)
    made.weight.copy_(random(d_out, d_in, seed=2) / d_in**0.5)
    if made.bias is not None:
        made.bias.copy_(random(d_out, seed=3))
    return made


def close(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 1e-5 * max(1.0, float(theirs.abs().max()))


def check(bits: int, shapes: list[tuple[int, int]] = SHAPES) -> None:
    """Every shape and number of rows, with a bias and without."""
    with torch.inference_mode():
        for d_out, d_in in shapes:
            made = MAKERS[bits](projection(d_out, d_in, has_bias=d_in % 3 > 0))
            for rows in ROWS:
                x = random(1, rows, d_in, seed=rows)
                close(made.fast(x), made.slow(x))


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@native
def test_a_processor_with_an_instruction_set_of_ours_has_products() -> None:
    """Without this, the comparisons below would be of torch with itself."""
    if os.environ.get(SWITCH) != "off" and "avx2" in supported():
        assert isinstance(kernels.integers(), Product), kernels.integers()
        assert isinstance(kernels.halves(), Product), kernels.halves()


@ALL_BITS
@pytest.mark.usefixtures("threads")
def test_the_fast_product_is_the_slow_one(bits: int) -> None:
    check(bits, [*SHAPES, (700, 64)])


@ALL_BITS
@pytest.mark.parametrize("name", LADDER)
def test_every_instruction_set(name: str, bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also how the absence of one is tried out: nothing beyond the set that is named is used."""
    if name not in kernels.sets():
        pytest.skip(f"This processor lacks {name}, or the kernels were not built.")
    monkeypatch.setenv(SWITCH, name)
    for unit, found in (("integers", kernels.integers.__wrapped__()), ("halves", kernels.halves.__wrapped__())):
        assert isinstance(found, Product)
        assert LADDER.index(found.instructions) <= LADDER.index(name)
        assert (found.instructions == name) == (name in build.OTHERWISE[unit])
        monkeypatch.setattr(kernels, unit, lambda found=found: found)
    check(bits)


@native
@pytest.mark.parametrize("absent", LADDER[1:])
def test_without_an_instruction_set_the_next_lower_one_serves(absent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = kernels.sets()
    monkeypatch.setattr(kernels, "sets", lambda: [name for name in real if name != absent])
    for find in (kernels.integers, kernels.halves):
        found = find.__wrapped__()
        assert isinstance(found, Product)
        assert found.instructions != absent


@native
@ALL_BITS
def test_a_product_that_computes_wrongly_is_not_used(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    test = "_multiplies_halves" if bits == 16 else "_multiplies_integers"
    assert getattr(kernels, test)(kernels.halves() if bits == 16 else kernels.integers())
    monkeypatch.setattr(kernels, "rounded_inputs", lambda x: x * 1.001)
    monkeypatch.setattr(kernels, "tiled_pairs", lambda _: torch.zeros(3, 34, 16, 2, dtype=torch.bfloat16))
    found = (kernels.halves if bits == 16 else kernels.integers).__wrapped__()
    assert isinstance(found, str)
    assert "self-test" in found


def test_turned_off_torch_serves() -> None:
    code = (
        "import torch\nfrom cutaway.runtime.quantised import kernels\nfrom tests.runtime.test_quantised import *\n"
        "assert isinstance(kernels.integers(), str) and isinstance(kernels.halves(), str)\n"
        "[check(bits) for bits in MAKERS]; print('equal')"
    )
    assert printed(code, **{SWITCH: "off"}) == "equal"


@ALL_BITS
def test_a_stretch_at_a_time_is_the_whole(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cutaway.runtime.quantised.projection.STRETCH", 700)
    made, x = MAKERS[bits](projection(70, 33)), random(2, 3, 33)
    assert len(list(made.stretches(16))) == 5
    close(made.streamed(x), made.slow(x))
    made.double()  # what is kept in bits stays, and the bias goes along
    close(made(x.double(), None), made.slow(x.double()))
    assert made(x.double(), None).dtype is torch.float64


@ALL_BITS
@settings(max_examples=30, deadline=None)
@given(
    shape=some.tuples(*(some.integers(1, most) for most in (70, 100, 9))),
    seed=some.integers(0, 99),
    step=some.integers(1, 3),
)
def test_any_shape_and_stride(bits: int, shape: tuple[int, int, int], seed: int, step: int) -> None:
    d_out, d_in, rows = shape
    made, whole = MAKERS[bits](projection(d_out, d_in)), random(d_in * step, rows, seed=seed)
    x = whole[::step].t().unsqueeze(0)
    with torch.inference_mode():
        close(made.fast(x), made.slow(x.contiguous()))


@ALL_BITS
def test_rows_do_not_depend_on_their_neighbours_and_no_rows_are_none(bits: int) -> None:
    made, x = MAKERS[bits](projection(40, 64)), random(1, 24, 64)
    assert made.fast(x[:, :0]).shape == (1, 0, 40)
    many = made.fast(x)
    close(torch.cat([made.fast(x[:, i : i + 1]) for i in range(24)], 1), many)
    assert torch.equal(made.fast(x), many)
    other = torch.cat((x[:, :12], random(1, 12, 64, seed=9) * 100), 1)
    assert torch.equal(made.fast(other)[:, :12], many[:, :12])


@ALL_BITS
def test_an_input_of_another_width_is_an_error_and_no_read_behind_the_weights(bits: int) -> None:
    made = MAKERS[bits](projection(16, 64))
    for width in (32, 65, 640):
        with pytest.raises(RuntimeError, match="shapes"):
            made(torch.ones(1, 1, width), None)


@ALL_BITS
@pytest.mark.parametrize("rows", [1, 4])
def test_zeros_huge_and_tiny_numbers(bits: int, rows: int) -> None:
    made = MAKERS[bits](projection(20, 40, has_bias=False))
    x = random(1, rows, 40)
    assert not made.fast(torch.zeros_like(x)).any()
    for size in (2.0**100, 2.0**-90):
        ours, theirs = made.fast(x * size) / size, made.slow(x * size) / size
        assert theirs.abs().max() > 0.1
        close(ours, theirs)
    assert made.fast(x * 1e-42).abs().max() <= 1e-40


@ALL_BITS
@pytest.mark.parametrize("rows", [1, 2, 7])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_stays_so_in_its_row(bits: int, rows: int, bad: float) -> None:
    made, x = MAKERS[bits](projection(20, 70)), random(1, rows, 70)
    clean = made.fast(x)
    x[0, 0, 65] = bad
    ours = made.fast(x)
    assert not ours[0, 0].isfinite().any()
    assert torch.equal(ours[0, 1:], clean[0, 1:])
    assert not made.slow(x)[0, 0].isfinite().any()


@ALL_BITS
def test_rounding_x_costs_little_and_gradients_are_those_of_the_product(bits: int) -> None:
    made, x = MAKERS[bits](projection(40, 64)), random(1, 5, 64).requires_grad_()
    out = made(x, None)
    close(out.detach(), made.fast(x.detach()))
    gap = (out - made.in_full(x)).abs().max()
    assert gap <= (1e-6 if bits == 16 else 0.03)
    assert made.bias is not None
    made.bias.requires_grad_()
    (of_bias,) = torch.autograd.grad(made(x.detach(), None).sum(), made.bias)
    assert torch.equal(of_bias, torch.full((40,), 5.0))
    (gradient,) = torch.autograd.grad(out.sum(), x)
    close(gradient, made.weight.sum(0).expand(1, 5, 64))


@native
@ALL_BITS
@pytest.mark.parametrize("count", [1, 2, 7])
def test_rows_in_parts_are_the_product_with_each(count: int, bits: int) -> None:
    made = MAKERS[bits](projection(50, 70))
    parts, x, out = made.row_product(), random(1, count, 70), torch.full((count, 50), torch.nan)
    if parts is None:
        pytest.skip("No kernels here.")
    prepared = torch.zeros(count * parts.prepared_bytes, dtype=torch.uint8)
    place, matrix = ctypes.c_void_p, ctypes.byref(parts.matrix)
    given = [matrix, SIZE(count), place(x.data_ptr()), place(prepared.data_ptr())]
    if parts.prepare:
        ctypes.CFUNCTYPE(None, place, SIZE, place, place)(parts.prepare)(*given)
    rows = ctypes.CFUNCTYPE(None, place, SIZE, place, place, place, SIZE, SIZE)(parts.rows)
    rows(*given, place(out.data_ptr()), 0, 16)
    assert bool(out[:, :16].isfinite().all())
    assert bool(out[:, 16:].isnan().all())
    rows(*given, place(out.data_ptr()), 16, 50)
    for row in range(count):
        assert torch.equal(out[row], made.fast(x[:, row : row + 1])[0, 0])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The units with the model of AVX-512's instructions in their place."""
    place = tmp_path_factory.mktemp("models") / "models.so"
    sources = [str(build.HERE / f"{unit}.cpp") for unit in ("integers", "halves")]
    flags = (
        "-O1",
        "-fPIC",
        "-shared",
        "-fopenmp",
        "-w",
        "-std=c++17",
        "-march=x86-64-v3",
        "-DLANES=16",
        "-DROWS=12",
        "-DINSTRUCTIONS=model",
    )
    subprocess.run(["g++", *flags, *sources, "-o", str(place)], check=True)
    return ctypes.CDLL(str(place))


@compiled
@ALL_BITS
def test_the_lines_of_other_processors_compute_the_same(
    bits: int, models: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vpdpbusd by a model of what it does: packing, signs and tails are those lines that run there."""
    unit, name, signature = (
        ("halves", "product_halves", kernels.HALVES)
        if bits == 16
        else ("integers", "product_rounded", kernels.INTEGERS)
    )
    function = models[f"cutaway_{name}_model"]
    function.argtypes, function.restype = signature, None
    found = Product(function, "model", {})
    monkeypatch.setattr(kernels, unit, lambda: found)
    check(bits)
    test_zeros_huge_and_tiny_numbers(bits, 4)
    test_what_is_not_finite_stays_so_in_its_row(bits, 2, torch.nan)


@compiled
@pytest.mark.parametrize("lanes", [None, 16], ids=["AVX2", "as AVX-512"])
def test_under_sanitizers(lanes: int | None, tmp_path: Path) -> None:
    """Every shape in memory that ends where the tensors end: addresses and undefined behaviour are watched."""
    sources = [str(Path(__file__).with_name("sanitised.cpp")), *(str(build.HERE / f"{unit}.cpp") for unit in UNITS)]
    program = tmp_path / "sanitised"
    flags = ["-O0", "-g0", "-w", "-std=c++17", "-march=x86-64-v3", "-fopenmp", "-fsanitize=address,undefined"]
    flags += [
        "-fno-sanitize-recover=all",
        "-DINSTRUCTIONS=here",
        *([] if lanes is None else [f"-DLANES={lanes}", "-DROWS=12"]),
    ]
    made = subprocess.run(["g++", *flags, *sources, "-o", str(program)], check=False, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run([str(program)], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "sound"
