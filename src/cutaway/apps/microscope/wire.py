"""Answers on their way out. In: what a route made. Out: bytes, a type, and headers that say their shape."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...errors import CutawayError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Body:
    """An answer that is complete. kind: its media type; headers: further ones."""

    data: bytes
    kind: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Lines:
    """An answer that comes line by line, each an object."""

    lines: Generator[Mapping[str, Any], None, None]


Answer = Body | Lines
Answering = Callable[[str, str, Mapping[str, str], bytes], Answer]
"""What answers: of a method, a path, a query and a body. Raises CutawayError for what cannot be answered."""


class NotHereError(CutawayError):
    """What was asked for is not here; another ask may find it."""


def json_body(value: Any) -> Body:
    """Anything of mappings, lists, texts and numbers. What is no number (NaN, infinite) becomes null, as JSON has none."""
    return Body(data=json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """The same as bytes, in one line."""
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def matrix_body(matrix: Tensor, deviation: float | None) -> Body:
    """A matrix as float32, little-endian, row after row. deviation: of the whole site, None where it has no use."""
    headers = {"X-Shape": ",".join(map(str, matrix.shape))}
    if deviation is not None:
        headers["X-Deviation"] = f"{deviation:.9g}"
    data = matrix.detach().cpu().float().contiguous().numpy().astype("<f4").tobytes()
    return Body(data=data, kind="application/octet-stream", headers=headers)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
