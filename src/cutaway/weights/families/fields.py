"""Keys of a config.json, read by type. In: the table. Out: checked values, or a message with file, key and value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from ...errors import CutawayError, near

Known = TypeVar("Known", bool, str)
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "relu2": "relu_squared",
    "silu": "silu",
    "swish": "silu",
}
NAMED = {"gelu": "gelu", "gelu_tanh": "gelu_new", "relu": "relu", "relu_squared": "relu2", "silu": "silu"}


class Fields:
    """A config.json with typed access. where: the file, for messages. Every method raises CutawayError for a wrong value."""

    def __init__(self, data: Mapping[str, Any], where: str) -> None:
        self.data, self.where = data, where

    def integer(self, key: str) -> int:
        """A whole number that must be there."""
        value = self.data.get(key)
        if type(value) is not int:
            raise self.fault(key, "a whole number")
        return value

    def integer_or(self, key: str, default: int) -> int:
        """A whole number, or the default where the key is missing or null."""
        return default if self.data.get(key) is None else self.integer(key)

    def integer_or_none(self, key: str) -> int | None:
        """A whole number, or None where the key is missing or null."""
        return None if self.data.get(key) is None else self.integer(key)

    def number_or_none(self, key: str) -> float | None:
        """A number, or None where the key is missing or null."""
        return None if self.data.get(key) is None else self.number(key, 0.0)

    def number(self, key: str, default: float) -> float:
        """A number, or the default where the key is missing."""
        value = self.data.get(key, default)
        if type(value) not in (int, float):
            raise self.fault(key, "a number")
        return float(value)

    def boolean(self, key: str, default: bool) -> bool:
        """true or false, or the default where the key is missing."""
        value = self.data.get(key, default)
        if not isinstance(value, bool):
            raise self.fault(key, "true or false")
        return value

    def table(self, key: str) -> dict[str, Any]:
        """A table; empty where the key is missing or null."""
        value = self.data.get(key)
        value = {} if value is None else value
        if not isinstance(value, dict):
            raise self.fault(key, "a table")
        return value

    def activation(self, key: str, default: str) -> str:
        """Our name of an activation."""
        value = self.data.get(key, default)
        if not isinstance(value, str) or value not in ACTIVATIONS:
            raise self.fault(key, f"one of {', '.join(ACTIVATIONS)}")
        return ACTIVATIONS[value]

    def architecture(self, known: Mapping[str, Known]) -> Known:
        """What the first of `architectures` stands for; the first of `known` where none is named."""
        named = self.data.get("architectures") or [next(iter(known))]
        if not isinstance(named, list) or not isinstance(named[0], str) or named[0] not in known:
            raise self.fault("architectures", f"one of {', '.join(known)}")
        return known[named[0]]

    def token_id(self, key: str, vocab_size: int) -> int | None:
        """The id with a role; the first where there are several, none where it is null or beyond the vocabulary.

        transformers writes its default ids into configs whose vocabulary is smaller; such an id never occurs.
        """
        value = self.data.get(key)
        first = value[0] if isinstance(value, list) and value else value
        if first is None or first == []:
            return None
        if type(first) is not int:
            raise self.fault(key, "a token id")
        return first if 0 <= first < vocab_size else None

    def must_be(self, **wanted: object) -> None:
        """Refuse a config that switches on what no knob of ours does. wanted: the only value allowed where a key is there."""
        for key, value in wanted.items():
            if self.data.get(key, value) != value:
                raise self.fault(key, f"{value!r} only, for Cutaway has no knob for it")

    def fault(self, key: str, allowed: str) -> CutawayError:
        """The message for a key whose value is wrong or missing."""
        if key not in self.data:
            return CutawayError(f"{self.where} has no key '{key}'. It takes {allowed}.{near(key, self.data)}")
        return CutawayError(f"{self.where}: '{key}' is {str(self.data[key])[:80]!r}. It takes {allowed}.")
