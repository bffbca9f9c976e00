"""Mappings <-> frozen dataclasses, strictly. In: what TOML or JSON held. Out: a checked dataclass, or one clear error.

Used by the architecture config and by recipes: an unknown key names its nearest neighbour, a value of the wrong type
names the key, the value got and the type wanted. No coercion but int -> float and list -> tuple.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import CutawayError, near

T = TypeVar("T")


def build(cls: type[T], data: object, where: str = "") -> T:
    """Make a dataclass of type `cls` from a mapping. where: the path of keys so far, for messages.

    Raises CutawayError for a non-mapping, an unknown key, a missing key or a value of the wrong type.
    """
    if not isinstance(data, Mapping):
        raise CutawayError(f"{where or cls.__name__} must be a table of keys and values, got {data!r}.")
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            raise CutawayError(f"Unknown key '{_join(where, str(key))}'.{near(str(key), fields)}")
    hints = get_type_hints(cls)
    values = {name: _value(hints[name], data[name], _join(where, name)) for name in fields if name in data}
    for name, field in fields.items():
        if name not in values and is_required(field):
            raise CutawayError(f"Key '{_join(where, name)}' is missing. It takes {describe(hints[name])}.")
    return cls(**values)


def plain(value: object) -> Any:
    """The JSON-able form of a dataclass: nested mappings and lists, values equal to their default left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if is_required(field) or getattr(value, field.name) != default_of(field)
        }
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def is_required(field: dataclasses.Field[Any]) -> bool:
    """Whether a field has no default."""
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def default_of(field: dataclasses.Field[Any]) -> object:
    """The default of a field that has one."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _value(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _union(arguments, value, where)
    if origin is Literal:
        return _choice(arguments, value, where)
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(_value(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if origin in (dict, Mapping, typing.cast(Any, Mapping)) and isinstance(value, Mapping):
        return {str(key): _value(arguments[1], item, _join(where, str(key))) for key, item in value.items()}
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, typing.cast(type, hint)) else build(typing.cast(type, hint), value, where)
    return _scalar(hint, value, where)


def _union(options: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in options:
        return None
    kinds = [option for option in options if option is not type(None)]
    if len(kinds) > 1 and all(map(dataclasses.is_dataclass, kinds)):
        kinds = [_likeliest(kinds, value)]
    if len(kinds) == 1:
        return _value(kinds[0], value, where)
    for kind in kinds:
        try:
            return _value(kind, value, where)
        except CutawayError:
            continue
    raise CutawayError(f"'{where}' is {value!r}. It takes {' or '.join(describe(kind) for kind in kinds)}.")


def _likeliest(kinds: list[Any], value: Any) -> Any:
    """The dataclass that is meant: of those whose required keys are all there, the one with the most; else the first."""
    if not isinstance(value, Mapping):
        return next((kind for kind in kinds if isinstance(value, kind)), kinds[0])
    required = [[field.name for field in dataclasses.fields(kind) if is_required(field)] for kind in kinds]
    counts = [len(names) if set(names) <= set(value) else 0 for names in required]
    return kinds[counts.index(max(counts))]


def _choice(allowed: tuple[Any, ...], value: Any, where: str) -> Any:
    if value in allowed and type(value) in {type(option) for option in allowed}:
        return value
    hint = near(value, [str(option) for option in allowed]) if isinstance(value, str) else ""
    raise CutawayError(
        f"'{where}' is {value!r}. Allowed: {', '.join(map(str, allowed))}.{hint if 'mean' in hint else ''}"
    )


def _scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is Any or hint is object or (type(value) is hint):
        return value
    raise CutawayError(f"'{where}' is {value!r}. It takes {describe(hint)}.")


def describe(hint: Any) -> str:
    """A type in the words of a person: "a whole number", "one of pre, post"."""
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(describe(option) for option in get_args(hint) if option is not type(None)))
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    if get_origin(hint) is tuple:
        return "a list, each item " + describe(get_args(hint)[0])
    if dataclasses.is_dataclass(hint) or get_origin(hint) is not None:
        return "a table"
    return names.get(hint, str(hint))
