"""A family: how others write our models down. In: config.json or our config. Out: the other one, and what does not fit.

A family is a config mapping in both directions and a name table. It *holds* a config if writing it down and reading it back
gives the same config. Some knobs say what the tensors say already (a sinusoidal table is stored as any table of positions
is); these `extras` may differ, and are kept in config.json's own table `cutaway`, so that we read back exactly what we wrote.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ...config import ModelConfig, StackConfig
from ...errors import CutawayError
from ..names import Rule
from .fields import Fields

OURS = "cutaway"  # the key of our table in a config.json
Difference = tuple[str, Any, Any]


@dataclass(frozen=True, kw_only=True)
class Family:
    """One family of models.

    read: config.json -> knobs for `ModelConfig.from_dict`; write: a config -> keys of config.json. names: the name table, or what
    gives that of a config.
    extras: knobs kept in our own table, with the values allowed (none listed: any). prefix: of names in the file, where some
    tools leave it out. ignored: patterns of tensors that hold no weights of ours. copies: tensor -> the one it repeats when tied.
    optional: knob -> the tensor without which it is off. own_head: the head's tensor, where it and not config.json says whether
    it is tied. older: ending of a name -> the ending that old files have. derived: patterns of tables that are
    left out, for they follow from the config; a file may hold them.
    """

    model_type: str
    title: str
    architecture: str
    read: Callable[[Fields], dict[str, Any]]
    write: Callable[[ModelConfig], dict[str, Any]]
    names: tuple[Rule, ...] | Callable[[ModelConfig], tuple[Rule, ...]]
    extras: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    prefix: str = ""
    ignored: tuple[str, ...] = ()
    copies: Mapping[str, str] = field(default_factory=dict)
    optional: Mapping[str, str] = field(default_factory=dict)
    own_head: str = ""
    older: Mapping[str, str] = field(default_factory=dict)
    derived: tuple[str, ...] = ()

    def is_derived(self, name: str) -> bool:
        """Whether a tensor follows from the config, so that files leave it out."""
        return any(re.fullmatch(pattern, name) for pattern in self.derived)

    def rules(self, config: ModelConfig) -> tuple[Rule, ...]:
        """The name table of a config."""
        return self.names(config) if callable(self.names) else self.names

    def misfits(self, config: ModelConfig) -> list[str]:
        """A sentence for each knob that the family cannot hold, with the config's value and the family's."""
        config = plainest(config)
        try:
            held = self._reread(config)
        except CutawayError as error:
            return [f"the {self.title} family cannot say it ({error})"]
        return [
            f"{name} is {_shown(ours)}; in the {self.title} family it is {_shown(theirs)}"
            for name, ours, theirs in differences(config, held)
            if not self._is_extra(name, ours)
        ]

    def is_alike(self, config: ModelConfig) -> bool:
        """Whether the family's models have the stacks of this one; where it cannot say the config at all, they may."""
        try:
            return self._reread(plainest(config)).stacks.keys() == config.stacks.keys()
        except CutawayError:
            return True

    def to_json(self, config: ModelConfig) -> dict[str, Any]:
        """The config.json of a config that the family holds."""
        assert not self.misfits(config), "the family must hold the config"
        data = {"architectures": [self.architecture], "model_type": self.model_type, **self.write(plainest(config))}
        extras = _nested((name, ours) for name, ours, _ in differences(config, self._reread(plainest(config))))
        return {**data, OURS: merged(data.get(OURS, {}), extras)} if extras else data

    def from_json(self, data: Mapping[str, Any], where: str) -> ModelConfig:
        """The config that a config.json describes. where: the file, for messages."""
        fields = Fields(data, where)
        plain = _build(self.read(fields), where)
        config = _build(merged(asdict(plain), fields.table(OURS)), where)
        clash = self._clash(plain, config) if OURS in data else []
        if clash:
            raise CutawayError(
                f"{where} contradicts itself: by its table '{OURS}', {clash[0]}. Delete the table, or save it again."
            )
        return config

    def _clash(self, plain: ModelConfig, config: ModelConfig) -> list[str]:
        """What our own table changes though other keys, or the weights, have said it."""
        misfits = self.misfits(config)
        said = [] if misfits else differences(self._reread(plainest(config)), plainest(plain))
        return misfits or [
            f"{name} is {_shown(ours)}; by other keys it is {_shown(theirs)}" for name, ours, theirs in said
        ]

    def _reread(self, config: ModelConfig) -> ModelConfig:
        return _build(self.read(Fields(self.write(config), "config.json")), "config.json")

    def _is_extra(self, name: str, value: object) -> bool:
        return name in self.extras and (not self.extras[name] or value in self.extras[name])


def differences(one: ModelConfig, other: ModelConfig) -> list[Difference]:
    """The knobs in which two configs differ, by dotted name, in the order of the config."""
    return list(_differences(asdict(one), asdict(other), ()))


def plainest(config: ModelConfig) -> ModelConfig:
    """The same model with knobs left out that say what is so without them (as many key-value heads as heads, say)."""
    stacks: dict[str, Any] = {name: _plainest_stack(stack) for name, stack in config.stacks.items()}
    return replace(config, **stacks)


def _plainest_stack(stack: StackConfig) -> StackConfig:
    knobs = stack.attention
    is_usual = knobs.num_heads * stack.d_head == stack.d_model
    attention = replace(
        knobs,
        num_kv_heads=None if knobs.kv_heads == knobs.num_heads else knobs.num_kv_heads,
        d_head=None if is_usual else knobs.d_head,
        scale=None if knobs.scale == stack.d_head**-0.5 else knobs.scale,
    )
    return replace(stack, attention=attention)


def merged(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """One table over another, key by key."""
    both = dict(base)
    for key, value in over.items():
        inner = both.get(key)
        both[key] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return both


def _build(knobs: Mapping[str, Any], where: str) -> ModelConfig:
    try:
        return ModelConfig.from_dict(knobs)
    except CutawayError as error:
        raise CutawayError(f"{where}: {error}") from error


def _differences(one: Any, other: Any, path: tuple[str, ...]) -> Iterator[Difference]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in {**one, **other}:
            yield from _differences(one.get(key), other.get(key), (*path, key))
    elif one != other:
        yield ".".join(path), one, other


def _shown(value: object) -> str:
    return "given" if isinstance(value, dict) else "none" if value is None else repr(value)


def _nested(values: Iterator[tuple[str, Any]]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in values:
        *outer, last = name.split(".")
        place = tree
        for key in outer:
            place = place.setdefault(key, {})
        place[last] = value
    return tree
