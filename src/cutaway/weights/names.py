"""What a family calls our tensors. In: a name table and our names. Out: for each name in the file, ours and the layout between.

A rule is a pair of patterns. `{name}` stands for any text, every other `{word}` for a number (a layer, an expert); what
it stood for in our name is put into theirs. Our names that lead to the same name in the file are joined in it, in the order of
the numbers that are not in it, then of the rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from .layout import Word

PLACEHOLDER = re.compile(r"\\\{(\w+)\\\}")


@dataclass(frozen=True)
class Rule:
    """theirs: the pattern of a name in the file. ours: one pattern, or several that are joined. layout: from ours to theirs."""

    theirs: str
    ours: tuple[str, ...]
    layout: tuple[Word, ...] = ()

    @cached_property
    def _patterns(self) -> list[re.Pattern[str]]:
        return [re.compile(PLACEHOLDER.sub(_group, re.escape(pattern))) for pattern in self.ours]

    def match(self, name: str) -> tuple[str, tuple[int, ...]] | None:
        """Their name for ours, and its place among those joined; None where the rule does not speak of it."""
        for place, pattern in enumerate(self._patterns):
            found = pattern.fullmatch(name)
            if found:
                values = found.groupdict()
                inner = [int(value) for key, value in values.items() if "{" + key + "}" not in self.theirs]
                return self.theirs.format(**values), (*inner, place)
        return None


@dataclass(frozen=True)
class Mapped:
    """One name in the file and what it holds of ours, in order."""

    theirs: str
    ours: tuple[str, ...]
    layout: tuple[Word, ...]


def affine(theirs: str, *ours: str, layout: Sequence[Word] = ()) -> tuple[Rule, Rule]:
    """The two rules of what has a weight and a bias."""
    return tuple(  # type: ignore[return-value]
        Rule(f"{theirs}.{part}", tuple(f"{name}.{part}" for name in ours), tuple(layout)) for part in ("weight", "bias")
    )


def expand(rules: Iterable[Rule], names: Iterable[str]) -> list[Mapped]:
    """The whole map of a model. names: all of ours; each must be spoken of by a rule, the first that does counts."""
    rules = list(rules)
    gathered: dict[str, tuple[Rule, list[tuple[tuple[int, ...], str]]]] = {}
    for name in names:
        rule, theirs, place = _first(rules, name)
        gathered.setdefault(theirs, (rule, []))[1].append((place, name))
    return [
        Mapped(theirs, tuple(name for _, name in sorted(parts)), rule.layout)
        for theirs, (rule, parts) in gathered.items()
    ]


def _first(rules: Sequence[Rule], name: str) -> tuple[Rule, str, tuple[int, ...]]:
    for rule in rules:
        found = rule.match(name)
        if found:
            return rule, *found
    raise AssertionError(f"the name table has no rule for {name}")


def _group(match: re.Match[str]) -> str:
    return f"(?P<{match[1]}>{'.+' if match[1] == 'name' else '[0-9]+'})"
