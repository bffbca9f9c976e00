"""A whole model in fewer bits: equal tokens; embedding, taps, adapters and sessions as before; clear refusals."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cutaway.config import StackConfig
from cutaway.decode import Session
from cutaway.errors import CutawayError
from cutaway.lens import sites
from cutaway.lm import load
from cutaway.model import Call, Transformer, visibility
from cutaway.model.adapter import adapters, detach, merge
from cutaway.model.projection import Projection
from cutaway.runtime.attend import fused
from cutaway.runtime.kernels import NativeProjection, accelerate
from cutaway.runtime.quantise import Rounding, quantise
from cutaway.runtime.quantised.projection import IntegerProjection, QuantisedProjection
from cutaway.weights import checkpoint
from cutaway.weights.opening import open_model
from tests import tiny
from tests.model.test_adapter import trained
from tests.weights import gguf_files

LENGTH = 12
IDS = tiny.ids(2, LENGTH)
Product = Callable[[Tensor], Tensor]
ALL_BITS = pytest.mark.parametrize("bits", [16, 8, 4])
STACKS = {
    name: stack
    for name, stack in tiny.variants().items()
    if name in ("gated", "experts", "shared", "no biases", "parallel")
}


@torch.inference_mode()
def logits(model: Transformer, ids: Tensor = IDS) -> Tensor:
    return model(ids, Call(visibility.causal(ids.shape[1]), attend=fused))


def quantised(bits: int, stack: StackConfig | None = None, **knobs: object) -> Transformer:
    model = tiny.model(tiny.config(decoder=stack or tiny.stack(), **knobs))
    accelerate(model)
    quantise(model, bits)
    return model


def assert_products(model: Transformer, wanted: Callable[[QuantisedProjection, Tensor], Tensor]) -> None:
    """In a pass, every product of a quantised projection is the wanted one, of the same inputs.

    Whole passes are not compared: rounding the inputs makes of a difference of 1e-7 one of a whole step.
    """
    watched, met = copy.deepcopy(model), []
    for module in watched.modules():
        if isinstance(module, QuantisedProjection):

            def fast(x: Tensor, module: QuantisedProjection = module, product: Product = module.fast) -> Tensor:
                met.append(module)
                found = product(x)
                if x.numel():  # an expert may have nothing to do
                    tiny.assert_close(found, wanted(module, x))
                return found

            object.__setattr__(module, "fast", fast)
    logits(watched)
    assert len(set(met)) == sum(isinstance(module, QuantisedProjection) for module in model.modules())


@ALL_BITS
@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_a_quantised_model_is_its_dequantised_twin(bits: int, stack: StackConfig) -> None:
    assert_products(quantised(bits, stack), lambda projection, x: projection.slow(x))


@ALL_BITS
def test_every_projection_is_replaced_at_its_path_but_routers(bits: int) -> None:
    stack = tiny.variants()["gated experts"]
    before, after = tiny.model(tiny.config(decoder=stack)), quantised(bits, stack)
    names = [name for name, module in before.named_modules() if isinstance(module, Projection)]
    assert [name for name, module in after.named_modules() if isinstance(module, Projection)] == names
    for name in names:
        assert isinstance(after.get_submodule(name), QuantisedProjection) == (not name.endswith("router"))
    assert f"{bits} bits" in repr(after)


@pytest.mark.parametrize(("bits", "least", "most"), [(16, 0.0, 0.02), (8, 0.0, 0.05), (4, 0.01, 0.5)])
def test_fewer_bits_stay_near_and_fewer_are_further(bits: int, least: float, most: float) -> None:
    full = logits(tiny.model(tiny.config()))
    gap = (logits(quantised(bits)) - full).abs().mean() / full.abs().mean()
    assert least < gap < most


def test_32_changes_nothing() -> None:
    model = tiny.model(tiny.config())
    before = logits(model)
    quantise(model, 32)
    assert torch.equal(logits(model), before)
    assert not any(isinstance(module, QuantisedProjection) for module in model.modules())


@ALL_BITS
def test_a_tied_embedding_stays_in_full_precision(bits: int) -> None:
    before, after = tiny.model(tiny.config(is_tied=True)), quantised(bits, is_tied=True)
    assert torch.equal(after.token.weight, before.token.weight)
    assert after.head is not None
    weight = after.head.projection.weight
    assert not torch.equal(weight, before.token.weight)
    assert (weight - before.token.weight).abs().max() < (0.2 if bits == 4 else 0.01)
    assert [name for name, _ in after.named_parameters() if "head" in name or "token" in name] == ["token.weight"]


def test_a_module_reached_by_two_ways_stays_one() -> None:
    shared = Projection(8, 8, bias=False).requires_grad_(False)
    nn.init.normal_(shared.weight)
    both = nn.ModuleList([nn.ModuleDict({"one": shared}), nn.ModuleDict({"other": shared})])
    quantise(both, 8)
    assert isinstance(both[0]["one"], IntegerProjection)
    assert both[0]["one"] is both[1]["other"]


@ALL_BITS
def test_sessions_say_what_whole_passes_say(bits: int) -> None:
    model = tiny.lively(tiny.stack())
    quantise(model, bits)
    session, ids = Session(model), [1, 2, 3]
    last = session.extend(ids)[-1]
    for _ in range(20):
        ids.append(int(last.argmax()))
        assert ids[-1] == int(logits(model, torch.tensor([ids[:-1]]))[0, -1].argmax())
        last = session.extend(ids[-1:])[-1]
    assert len(set(ids)) > 4


@ALL_BITS
def test_sites_are_unchanged_and_watching_changes_no_bit(bits: int) -> None:
    model = quantised(bits)
    watch = tiny.recorder(model, 2, LENGTH)
    with torch.inference_mode():
        watched = model(IDS, Call(visibility.causal(LENGTH), watch=watch))
        plain = model(IDS, Call(visibility.causal(LENGTH)))
    assert torch.equal(watched, plain)
    assert set(watch.tensors) == {site.name for site in sites(model.config, 2, LENGTH)}


@ALL_BITS
def test_adapters_on_quantised_projections(bits: int) -> None:
    model = quantised(bits)
    plain = logits(model)
    trained(model)
    adapted = logits(model)
    assert (adapted - plain).abs().max() > 0.1
    assert_products(model, lambda projection, x: projection.slow(x))
    with pytest.raises(CutawayError, match="quantise what comes out"):
        merge(model)
    assert torch.equal(logits(model), adapted)
    loss = model(IDS, Call(visibility.causal(LENGTH))).square().mean()
    loss.backward()
    assert all(adapter.down.grad is not None and bool(adapter.down.grad.any()) for adapter in adapters(model).values())
    detach(model)
    assert torch.equal(logits(model), plain)


@ALL_BITS
def test_adapters_that_came_first_stay(bits: int) -> None:
    one, other = quantised(bits), tiny.model(tiny.config())
    trained(one), trained(other)
    accelerate(other)
    quantise(other, bits)
    assert torch.equal(logits(other), logits(one))


@pytest.mark.parametrize("bits", [0, 1, 2, 3, 5, 7, 12, 64, -8])
def test_other_bits_are_one_clear_error(bits: int, tmp_path: Path) -> None:
    with pytest.raises(CutawayError, match=rf"bits is {bits}.*32, 16, 8 or 4"):
        quantise(tiny.model(tiny.config()), bits)
    with pytest.raises(CutawayError, match=rf"bits is {bits}"):
        load(tmp_path / "said before anything is opened", bits=bits)


def test_refusals_leave_the_model_as_it_was(tmp_path: Path) -> None:
    model = quantised(8)
    before = logits(model)
    with pytest.raises(CutawayError, match="already"):
        quantise(model, 4)
    with pytest.raises(CutawayError, match="bits=32"):
        checkpoint.save(tmp_path / "model", model)
    assert torch.equal(logits(model), before)
    assert not (tmp_path / "model").exists()


@ALL_BITS
def test_opened_in_fewer_bits(bits: int, tmp_path: Path) -> None:
    model = tiny.model(tiny.config())
    checkpoint.save(tmp_path / "model", model)
    quantise(model, bits)
    opened = load(tmp_path / "model", bits=bits)
    tiny.assert_close(opened.logits(IDS), logits(model))
    assert not any(isinstance(module, NativeProjection) for module in opened.model.modules())
    half = load(tmp_path / "model", bits=bits, dtype=torch.bfloat16)
    assert half.logits(IDS).dtype is torch.bfloat16
    assert (half.logits(IDS).float() - opened.logits(IDS)).abs().mean() < 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("stack", [None, tiny.stack(), *STACKS.values()], ids=["gguf", "plain", *STACKS])
def test_a_weight_is_rounded_before_the_next_is_read(
    stack: StackConfig | None, dtype: torch.dtype, tmp_path: Path
) -> None:
    """So that no more than a layer's own share of a tensor is ever held in full; and what comes of it is what came before."""
    held: list[int] = []
    place = tmp_path / "model"
    if stack is None:
        place = gguf_files.saved(tmp_path, "f16")
    else:
        checkpoint.save(place, tiny.model(tiny.config(decoder=stack)), dtype=dtype)

    def watcher(model: Transformer) -> Callable[[nn.Module], bool]:
        rounding = Rounding(model, 8)

        def told(module: nn.Module) -> bool:
            held.append(sum(not each.weight.is_meta for each in rounding.left() if isinstance(each, Projection)))
            return rounding.take(module)

        return told

    opened = open_model(place, torch.float32, watcher).model
    assert 0 < max(held) <= 3  # q, k and v may lie in one tensor
    after = open_model(place).model
    quantise(after, 8)
    assert [name for name, _ in opened.named_modules()] == [name for name, _ in after.named_modules()]
    for name, tensor in after.state_dict().items():
        assert torch.equal(opened.state_dict()[name], tensor), name
        assert opened.state_dict()[name].dtype is tensor.dtype, name


@pytest.mark.parametrize(("kind", "bits"), [("q8_0", 8), ("q4_0", 4)])
def test_blocks_of_a_gguf_file_are_taken_without_an_error(kind: str, bits: int, tmp_path: Path) -> None:
    path = gguf_files.saved(tmp_path, kind, is_tied=False)
    full, fewer = load(path).model, load(path, bits=bits).model
    for name, module in fewer.named_modules():
        if isinstance(module, QuantisedProjection) and not (
            bits == 4 and name.startswith("head")
        ):  # kept in Q8_0 there
            assert torch.equal(module.weight, full.get_submodule(name).weight), name


@ALL_BITS
def test_without_kernels_the_tokens_are_the_same(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = logits(quantised(bits))
    for unit in ("integers", "halves"):
        monkeypatch.setattr(f"cutaway.runtime.quantised.kernels.{unit}", lambda: "none here")
    monkeypatch.setattr("cutaway.runtime.quantise.packed", lambda _: None)  # nor any of torch's own: see test_packed
    model = quantised(bits)
    assert_products(model, lambda projection, x: projection.slow(x))
    assert torch.equal(logits(model).argmax(-1), wanted.argmax(-1))
