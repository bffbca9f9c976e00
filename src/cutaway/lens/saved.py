"""Results and traces that were saved. In: a file that `Result.save` or `Trace.save` wrote. Out: the same object again.

    read_result("why.json").save("why.svg", theme="dark")

Nothing is run: a result draws itself from its numbers, and a trace is its tensors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from ..errors import CutawayError, near
from ..weights.tensor_file import TensorFile
from .ablation import Ablation
from .contributions import Contributions
from .embeddings import Analogy, Map, Neighbourhood, PositionSimilarity
from .gradients import GradientInput
from .induction import Induction
from .logit_lens import LogitLens
from .patching import Patching
from .result import Result
from .rollout import Rollout
from .trace import IDS, Trace

KINDS: Final[Mapping[str, type[Result]]] = {
    kind.__name__: kind
    for kind in (
        Ablation, Analogy, Contributions, GradientInput, Induction, LogitLens, Map, Neighbourhood, Patching, PositionSimilarity,
        Rollout,
    )
}  # fmt: skip


def read_result(path: str | Path) -> Result:
    """The result that `Result.save` wrote as .json. Raises CutawayError for a file that holds none."""
    path = Path(path).expanduser()
    try:
        data = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise CutawayError(f"{path} cannot be read: {error.strerror}. Name a file that `save` wrote.") from error
    except ValueError:
        data = None
    if not isinstance(data, dict) or "result" not in data:
        raise CutawayError(f"{path} holds no result of the lens. Name a .json that `save` wrote.")
    name = str(data["result"])
    if name not in KINDS:
        raise CutawayError(f"{path} holds a result '{name:.40}'.{near(name, KINDS)}")
    try:
        found = _made(KINDS[name], data)
    except (KeyError, TypeError, ValueError) as error:
        raise CutawayError(f"{path} holds no whole {name} ({error}). Save the result again.") from None
    assert isinstance(found, Result), "the kinds are results"
    return found


def read_trace(path: str | Path) -> Trace:
    """The trace that `Trace.save` wrote as .safetensors. Raises CutawayError for a file that holds none."""
    with TensorFile(Path(path).expanduser()) as file:
        try:
            notes = {name: json.loads(file.metadata[name]) for name in ("sites", "texts", "source_texts", "axes")}
            places = {name: file.entries[name] for name in (*notes["sites"], IDS)}
        except (KeyError, ValueError):
            raise CutawayError(
                f"{path} holds tensors, but no trace. Name a .safetensors that `Trace.save` wrote."
            ) from None
        tensors = {name: file.read(name) for name in places}
    axes = {name: tuple(words) for name, words in notes["axes"].items()}
    return Trace(tensors, tensors.pop(IDS), notes["texts"], axes, notes["source_texts"])


def _made(kind: Any, value: Any) -> Any:
    """A value of a type, from what JSON holds of it: lists become tuples, mappings the dataclass that is asked for."""
    origin, inside = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(**{each.name: _made(hints[each.name], value[each.name]) for each in fields(kind)})  # type: ignore[operator]
    if origin is tuple:
        kinds = [inside[0]] * len(value) if inside[1:] == (...,) else inside
        return tuple(_made(each, item) for each, item in zip(kinds, value, strict=True))
    if origin in (Union, UnionType):
        return None if value is None else _made(next(each for each in inside if each is not type(None)), value)
    if kind is float:
        return float(value)
    if isinstance(kind, type) and not isinstance(value, kind):
        raise TypeError(f"{value!r:.40} is no {kind.__name__}")
    return value
