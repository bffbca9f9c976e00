"""The state of a run: bit for bit, whatever the numbers; and never a pickle."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from cutaway.errors import CutawayError
from cutaway.weights.train_state import load_state, save_state

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def same(one: object, other: object) -> bool:
    """Equal, and of the same sign and kind; NaN equals NaN."""
    if isinstance(one, float) and isinstance(other, float):
        return (math.isnan(one) and math.isnan(other)) or (
            one == other and math.copysign(1, one) == math.copysign(1, other)
        )
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@settings(max_examples=60, deadline=None)
@given(facts=st.dictionaries(st.text(), json_values, max_size=4))
def test_facts_come_back(facts: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("state") / "s"
    save_state(path, {}, facts)
    assert same(load_state(path)[1], facts)


def test_tensors_come_back_bit_for_bit(tmp_path: Path) -> None:
    odd = torch.tensor([float("nan"), -0.0, float("inf"), 1e-45, 3e38])
    tensors = {
        "step": torch.tensor(7.0),
        "odd": odd,
        "turned": torch.randn(3, 5).t(),
        "rng": torch.get_rng_state(),
        "long": torch.tensor([2**62, -1]),
        "short": torch.randn(4).bfloat16(),
        "flag": torch.tensor([True, False]),
    }
    save_state(tmp_path / "s", tensors, {})
    again, _ = load_state(tmp_path / "s")
    assert again.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert again[name].dtype == tensor.dtype
        assert again[name].shape == tensor.shape
        raw = tensor.contiguous().reshape(-1).view(torch.uint8)
        assert torch.equal(again[name].reshape(-1).view(torch.uint8), raw)


def test_an_optimiser_goes_on_bit_for_bit(tmp_path: Path) -> None:
    def trained(steps: int, is_interrupted: bool) -> torch.Tensor:
        weight = torch.nn.Parameter(torch.ones(3, 4))
        optimiser = torch.optim.AdamW([weight], lr=0.1)
        for step in range(steps):
            if is_interrupted and step == 3:
                state = optimiser.state_dict()["state"][0]
                save_state(tmp_path / "s", {"weight": weight, **state}, {"step": step})
                loaded, facts = load_state(tmp_path / "s")
                assert facts == {"step": 3}
                weight = torch.nn.Parameter(loaded.pop("weight"))
                optimiser = torch.optim.AdamW([weight], lr=0.1)
                optimiser.load_state_dict(
                    {"state": {0: loaded}, "param_groups": optimiser.state_dict()["param_groups"]}
                )
            optimiser.zero_grad()
            (weight.sin() * torch.arange(4)).sum().backward()
            optimiser.step()
        return weight.detach()

    assert torch.equal(trained(6, False), trained(6, True))


def test_what_is_not_a_state(tmp_path: Path) -> None:
    with pytest.raises(CutawayError, match="No such file"):
        load_state(tmp_path / "s")
    for facts in (None, {"facts": "[1]"}, {"facts": "{"}):
        save_file({"a": torch.zeros(2)}, tmp_path / "s", metadata=facts)
        with pytest.raises(CutawayError, match="not the state of a training run"):
            load_state(tmp_path / "s")
    save_state(tmp_path / "s", {"a": torch.zeros(100)}, {"step": 1})
    raw = (tmp_path / "s").read_bytes()
    for length in (0, 7, 8, 50, len(raw) - 1):
        (tmp_path / "s").write_bytes(raw[:length])
        with pytest.raises(CutawayError, match="not a whole safetensors file"):
            load_state(tmp_path / "s")
