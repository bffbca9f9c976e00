"""The operations of plans, each against the leaf of the readable pass that it stands for, over sizes that leave remainders."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from ctypes import addressof
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cutaway.config import NormConfig, PositionConfig
from cutaway.model import Call, visibility
from cutaway.model.attend import readable
from cutaway.model.attention import HeadNorm
from cutaway.model.call import Frame, Spec
from cutaway.model.feedforward import ACTIVATIONS
from cutaway.model.norm import LayerNorm, RmsNorm
from cutaway.model.position import AlibiBias, RelativeBias, Rotary, rotate
from cutaway.model.visibility import Tokens, allow
from cutaway.runtime import kernels
from cutaway.runtime.native import build
from cutaway.runtime.native.loader import Library, library, supported
from cutaway.runtime.plans import record
from cutaway.runtime.plans.product import dense
from cutaway.runtime.plans.program import Program, Step, Vector
from cutaway.runtime.plans.room import FORMS, Pass
from cutaway.runtime.plans.tape import LONG, POSITION, TOKEN, Tape
from cutaway.runtime.stores import KVStore
from tests import tiny

ABSENT = library() if isinstance(library(), str) else ""
pytestmark = pytest.mark.skipif(bool(ABSENT) and not supported(), reason=f"No kernels here: {ABSENT}")
compiled = pytest.mark.skipif(
    shutil.which("g++") is None or sys.platform != "linux" or build.platform.machine() != "x86_64",
    reason="There is no g++ for a processor with AVX2 here.",
)
WIDTHS = (1, 7, 8, 33, 100)


def random(*shape: int, seed: int = 1, scale: float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def tape() -> Tape:
    found = library()
    assert isinstance(found, Library), found
    return Tape(found)


def computed(taped: Tape, vector: Vector, *, token: int = 0, position: int = 0, store: KVStore | None = None) -> Tensor:
    """What the tape computes, and that it is the same for every number of threads."""
    results = []
    for num_threads in (1, 2, 3):
        result = torch.full((vector.size,), torch.nan)
        asked = Pass([token])
        now = Step(count=1, start=position, is_causal=1, ids=addressof(asked.numbers), result=result.data_ptr())
        if store is not None:
            now = asked.step(store, position, 1, result)
        taped.program(vector, num_threads).replay(now)
        results.append(result)
    bits = [result.view(torch.int32) for result in results]
    assert all(torch.equal(bits[0], each) for each in bits), "the number of threads changes no bit"
    return results[0]


def close(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 1e-5 * max(1.0, float(theirs.abs().max()))


BY_NUMBER: dict[str, tuple[Callable[[Tape, Vector, Vector], Vector], Callable[[Tensor, Tensor], Tensor]]] = {
    "add": (Tape.add, torch.add),
    "multiply": (Tape.multiply, torch.mul),
    "scale": (lambda t, x, _: t.scale(x, 1.7), lambda x, _: x * 1.7),
    "tanh": (lambda t, x, _: t.tanh(x), lambda x, _: torch.tanh(x)),
    "clamp": (lambda t, x, _: t.clamp(x, -0.5, 0.75), lambda x, _: x.clamp(-0.5, 0.75)),
    "clamp from above": (lambda t, x, _: t.clamp(x, -torch.inf, 0.75), lambda x, _: x.clamp(max=0.75)),
    **{
        name: (lambda t, x, _, name=name: t.activate(x, name), lambda x, _, function=function: function(x))  # type: ignore[misc]
        for name, function in ACTIVATIONS.items()
    },
}


@pytest.mark.parametrize("name", BY_NUMBER)
@pytest.mark.parametrize("width", [*WIDTHS, LONG + 5])
def test_operations_number_by_number(name: str, width: int) -> None:
    ours, theirs = BY_NUMBER[name]
    x, y = random(width, scale=3.0), random(width, seed=2)
    taped = tape()
    close(computed(taped, ours(taped, taped.fixed(x), taped.fixed(y))), theirs(x, y))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_far_out(name: Any) -> None:
    """At large numbers they end as torch's do, and what is no number stays none."""
    x = torch.tensor([-1e4, -90.0, -20.0, -4.0, -1e-3, 0.0, 1e-3, 4.0, 20.0, 90.0, 1e4, torch.nan])
    taped = tape()
    found = computed(taped, taped.activate(taped.fixed(x), name))
    torch.testing.assert_close(found, ACTIVATIONS[name](x), rtol=1e-5, atol=1e-6, equal_nan=True)


def test_what_is_no_number_stays_none() -> None:
    x = torch.tensor([torch.nan] * 9)
    for make in (lambda t, v: t.tanh(v), lambda t, v: t.clamp(v, -1.0, 1.0), lambda t, v: t.rms_norm(v, x, 0.0, 1e-5)):
        taped = tape()
        assert computed(taped, make(taped, taped.fixed(x))).isnan().all()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("count", [1, 3])
def test_norms(width: int, count: int) -> None:
    x, weight, bias = random(count * width) + 2.0, random(width, seed=2), random(width, seed=3)
    layer = LayerNorm(width, NormConfig(eps=1e-3)).requires_grad_(False)
    rms = RmsNorm(width, NormConfig(kind="rms", offset=1.0, eps=1e-3)).requires_grad_(False)
    for norm in (layer, rms):
        norm.weight.copy_(weight)
    assert layer.bias is not None
    layer.bias.copy_(bias)
    taped = tape()
    close(computed(taped, taped.layer_norm(taped.fixed(x), weight, bias, 1e-3)), HeadNorm(width, layer)(x))
    taped = tape()
    close(computed(taped, taped.rms_norm(taped.fixed(x), weight, 1.0, 1e-3)), HeadNorm(width, rms)(x))
    taped = tape()
    close(
        computed(taped, taped.layer_norm(taped.fixed(x), weight, None, 1e-3)),
        F.layer_norm(x.view(count, width), (width,), weight, None, 1e-3).flatten(),
    )


@pytest.mark.parametrize("d_head", [2, 6, 16, 50])
@pytest.mark.parametrize("is_interleaved", [True, False])
@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_rotary_positions(d_head: int, is_interleaved: bool, fraction: float) -> None:
    rotary = Rotary(d_head, PositionConfig(kind="rotary", fraction=fraction, base=100.0))
    rotary.factor = 1.25
    x, taped = random(3, d_head), tape()
    angles = taped.angles(rotary.frequencies, rotary.factor)
    ours = computed(taped, taped.rotate(taped.fixed(x), angles, d_head, is_interleaved=is_interleaved), position=1234)
    cos, sin = rotary(torch.tensor([[1234]]))
    close(ours, rotate(x.view(1, 3, 1, d_head), cos, sin, is_interleaved=is_interleaved).flatten())


@pytest.mark.parametrize(("d_out", "d_in"), [(1, 1), (3, 5), (5, 16), (33, 40), (258, 192)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_products_have_the_bits_of_the_kernel_for_few_rows(d_out: int, d_in: int, has_bias: bool) -> None:
    x, weight, bias = random(d_in), random(d_out, d_in, seed=2), random(d_out, seed=3) if has_bias else None
    taped = tape()
    ours = computed(taped, taped.product(taped.fixed(x), dense(taped.kernels, weight, bias)))
    close(ours, F.linear(x, weight, bias))
    with torch.no_grad():
        assert torch.equal(ours, kernels.linear(x.view(1, -1), weight, bias)[0])


def test_rows_of_tables() -> None:
    table, taped = random(12, 9), tape()
    token = taped.scale(taped.look_up(table, TOKEN, scale=2.0), 3.0)
    both = taped.add(token, taped.look_up(table, POSITION, offset=2))
    close(computed(taped, both, token=4, position=7), table[4] * 6.0 + table[9])


def bias_of(name: str) -> AlibiBias | RelativeBias | None:
    if name == "slopes":
        return AlibiBias(4)
    if name == "buckets":
        made = RelativeBias(4, PositionConfig(kind="relative", num_buckets=8, max_distance=12)).requires_grad_(False)
        made.weight.copy_(random(8, 4, seed=8))
        return made
    return None


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("d_head", [3, 16, 40, 70])
@pytest.mark.parametrize("bias", ["none", "slopes", "buckets"])
@pytest.mark.parametrize(("window", "sinks", "softcap"), [(None, 0, None), (5, 2, None), (1, 0, None), (None, 0, 1.5)])
@pytest.mark.parametrize("length", [0, 1, 21])
def test_attention_over_a_store(
    kv_heads: int, d_head: int, bias: str, window: int | None, sinks: int, softcap: float | None, length: int
) -> None:
    """Three layers, of which the second attends: the token enters the store where the readable pass puts it, in every form."""
    stack = tiny.stack(num_layers=3, attention=tiny.AttentionConfig(num_heads=4, num_kv_heads=kv_heads, d_head=d_head))
    for form in FORMS:
        store = KVStore(stack, capacity=22, form=form)
        if length:
            store.begin(visibility.causal(length))
            for layer in range(3):
                store.layer(layer).append(*random(2, 1, kv_heads, length, d_head, seed=7 + layer))
        for tensor in store.tensors:
            tensor[..., length:, :] = torch.nan if tensor.is_floating_point() else 77
        check_attention(store, Spec("attention.", 0.3, softcap), bias_of(bias), window, sinks)


def check_attention(
    store: KVStore, spec: Spec, given: AlibiBias | RelativeBias | None, window: int | None, sinks: int
) -> None:
    length, d_head, kv_heads = store.length, store.values.shape[-1], store.values.shape[3]
    twin = store.copy()
    q, k, v = random(1, 4, 1, d_head), random(1, kv_heads, 1, d_head, seed=2), random(1, kv_heads, 1, d_head, seed=3)

    tokens = visibility.causal(1, length)
    keys = Tokens(twin.begin(tokens).fields)
    frame = Frame(tokens, keys, None, allow(tokens, keys, window, sinks).unsqueeze(1))
    frame.bias = None if given is None else given(tokens, keys)
    theirs = readable(spec, q, k, v, Call(tokens, store=twin.layer(1), frame=frame))

    taped = tape()
    q_in, k_in, v_in = (taped.fixed(x) for x in (q, k, v))
    vector = taped.attend(spec, q_in, k_in, v_in, layer=1, d_head=d_head, window=window, sinks=sinks, bias=given)
    store.begin_next()
    close(computed(taped, vector, position=length, store=store), theirs.flatten())
    for ours, wanted in zip(store.tensors, twin.tensors, strict=True):
        assert torch.equal(ours[1, ..., : length + 1, :], wanted[1, ..., : length + 1, :])
        left = ours[0::2, ..., length, :]
        assert bool((left.isnan() if left.is_floating_point() else left == 77).all()), "no other layer is written"
    assert torch.equal(store.fields[..., : length + 1], keys.fields)


@pytest.mark.parametrize("num_threads", [1, 2, 3])
@pytest.mark.parametrize("name", ["rms", "head norm", "gated", "parallel", "shared", "mixed types"])
def test_a_replayed_plan_has_the_bits_of_its_operations_one_by_one(name: str, num_threads: int) -> None:
    """Where its vectors lie, which memory they share and where threads wait for each other changes no bit."""
    model = tiny.model(tiny.config(decoder=tiny.variants()[name], logit_softcap=3.0, head_bias=True))
    plan = record(model, num_threads)
    assert not isinstance(plan, str), plan
    whole, single = KVStore(model.config.main), KVStore(model.config.main)
    for token in tiny.ids(1, 5)[0].tolist():
        whole.begin_next()
        single.begin_next()
        logits = plan.run(Pass([token]), whole, whole.start)[0]
        assert torch.equal(logits, one_by_one(plan.program, token, single))
    assert torch.equal(whole.values, single.values)


def one_by_one(program: Program, token: int, store: KVStore) -> Tensor:
    """Each operation alone in a program of its own, what it reads being there beforehand."""
    asked, made = Pass([token]), dict[int, Tensor]()
    out = torch.empty(0)
    for operation in program.operations:
        inputs = [v if v.fixed is not None else Vector(v.size, fixed=made[id(v)]) for v in operation.inputs]
        result = Vector(operation.out.size, is_shared=operation.out.is_shared)
        alone = Program(
            kernels=program.kernels,
            operations=[replace(operation, inputs=inputs, out=result)],
            result=result,
            num_threads=1,
        )
        out = made[id(operation.out)] = torch.full((result.size,), torch.nan)
        alone.replay(asked.step(store, store.start, 1, out))
    return out


@compiled
@pytest.mark.parametrize("lanes", [None, 16], ids=["AVX2", "as AVX-512"])
def test_under_sanitizers(lanes: int | None, tmp_path: Path) -> None:
    """Every operation in memory that ends where the vectors end: addresses and undefined behaviour are watched."""
    program, source = tmp_path / "sanitised", Path(__file__).with_name("sanitised_plan.cpp")
    flags = ["-O1", "-g0", "-w", "-std=c++17", "-march=x86-64-v3", "-fopenmp", "-fsanitize=address,undefined"]
    flags += ["-fno-sanitize-recover=all", "-DINSTRUCTIONS=here", f"-I{build.HERE}"]
    flags += [] if lanes is None else [f"-DLANES={lanes}", "-DROWS=12"]
    made = subprocess.run(["g++", *flags, str(source), "-o", str(program)], check=False, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run([str(program)], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert done.stdout.strip() == "sound"


@pytest.mark.parametrize("value", [0.0, torch.inf, -torch.inf, torch.nan, 3e38, 1e-40])
def test_what_is_held_of_odd_numbers_is_what_stores_write(value: float) -> None:
    """Zeros, what is not finite, what is near the ends of fp32."""
    stack = tiny.stack(num_layers=1, attention=tiny.AttentionConfig(num_heads=2, num_kv_heads=2, d_head=5))
    q, k, v = random(1, 2, 1, 5), random(1, 2, 1, 5, seed=2), torch.full((1, 2, 1, 5), value)
    k[0, 1, 0, 3] = value
    for form in FORMS:
        store, twin = KVStore(stack, capacity=2, form=form), KVStore(stack, capacity=2, form=form)
        twin.begin(visibility.causal(1))
        twin.layer(0).append(k, v)
        store.begin_next()
        taped = tape()
        places = [taped.fixed(x) for x in (q, k, v)]
        vector = taped.attend(
            Spec("attention.", 0.3, None), *places, layer=0, d_head=5, window=None, sinks=0, bias=None
        )
        result = torch.empty(10)
        taped.program(vector, 1).replay(Pass([0]).step(store, 0, 1, result))
        for ours, wanted in zip(store.tensors, twin.tensors, strict=True):
            torch.testing.assert_close(ours[..., 0, :], wanted[..., 0, :], rtol=0, atol=0, equal_nan=True)
