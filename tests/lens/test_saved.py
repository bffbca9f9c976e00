"""Results and traces come back as they were saved, and what is none is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from cutaway.errors import CutawayError
from cutaway.lens.result import Result
from cutaway.lens.saved import KINDS, read_result, read_trace
from cutaway.lens.trace import Trace
from tests.lens.models import one_stack, two_stacks
from tests.lens.test_result import NAMES, results


@pytest.mark.parametrize("name", NAMES)
def test_a_result_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    result = results()[name]
    again = read_result(result.save(tmp_path / "x.json"))
    assert again == result
    assert type(again) is type(result)
    assert again.save(tmp_path / "y.json").read_bytes() == (tmp_path / "x.json").read_bytes()


def test_every_kind_of_result_is_known() -> None:
    assert {type(result).__name__ for result in results().values()} == set(KINDS)
    assert set(KINDS.values()) == {
        kind for kind in Result.__subclasses__() if kind.__module__.startswith("cutaway.lens.")
    }


def test_a_result_that_was_read_draws_itself(tmp_path: Path) -> None:
    path = results()["rollout of two"].save(tmp_path / "x.json")
    drawn = read_result(path).save(tmp_path / "x.svg", theme="dark").read_bytes()
    assert drawn == results()["rollout of two"].save(tmp_path / "y.svg", theme="dark").read_bytes()


BAD = {
    "no JSON": ("{", "holds no result of the lens"),
    "another mapping": ("{}", "holds no result of the lens"),
    "a list": ("[1]", "holds no result of the lens"),
    "an unknown kind": ('{"result": "Maps"}', r"a result 'Maps'\. Did you mean 'Map'"),
    "half of it": ('{"result": "Map", "ids": [1]}', "holds no whole Map"),
    "words for numbers": (
        '{"result": "Map", "ids": ["a"], "texts": [], "points": [], "shares": [0, 1]}',
        "no whole Map",
    ),
    "a pair of one": ('{"result": "Map", "ids": [], "texts": [], "points": [], "shares": [0]}', "no whole Map"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_result_is_said(case: str, tmp_path: Path) -> None:
    text, message = BAD[case]
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(CutawayError, match=message):
        read_result(tmp_path / "x.json")
    with pytest.raises(CutawayError, match="cannot be read"):
        read_result(tmp_path / "not-there.json")


def traces() -> dict[str, Trace]:
    half = one_stack()
    half.model.to(torch.bfloat16)
    return {
        "whole": one_stack().trace("the cat"),
        "batch": one_stack().trace(["the cat", "a"], "layers.1.*", positions=[0]),
        "bfloat16": half.trace("a b", "*.weights"),
        "both stacks": two_stacks().trace("ab c", target="xyz"),
        "steps": one_stack().trace_steps("ab", "output.*", max_tokens=3),
    }


@pytest.mark.parametrize("name", traces())
def test_a_trace_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    trace = traces()[name]
    again = read_trace(trace.save(tmp_path / "x.safetensors"))
    assert again.names == trace.names
    assert all(torch.equal(again[site], tensor) and again[site].dtype == tensor.dtype for site, tensor in trace.items())
    assert torch.equal(again.ids, trace.ids)
    assert (again.texts, again.source_texts, again.axes) == (trace.texts, trace.source_texts, trace.axes)
    assert repr(again) == repr(trace)


def test_a_trace_says_how_much_it_is() -> None:
    trace = one_stack().trace("the cat", "output.norm")
    assert repr(trace) == "Trace(1 site of [1, 7] tokens, 448 bytes)"


def test_what_is_no_trace_is_said(tmp_path: Path) -> None:
    trace = one_stack().trace("a", "output.norm")
    with pytest.raises(CutawayError, match=r"ends in '\.npz'\. A trace is saved as \.safetensors"):
        trace.save(tmp_path / "x.npz")
    with pytest.raises(CutawayError, match="Could not open"):
        read_trace(tmp_path / "not-there.safetensors")
    path = trace.save(tmp_path / "x.safetensors")
    whole = path.read_bytes()
    path.write_bytes(whole[:-4])
    with pytest.raises(CutawayError, match="is not a whole safetensors file"):
        read_trace(path)
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])
    del header["__metadata__"]["sites"]
    written = json.dumps(header).encode()
    path.write_bytes(len(written).to_bytes(8, "little") + written + whole[8 + length :])
    with pytest.raises(CutawayError, match="holds tensors, but no trace"):
        read_trace(path)
