"""Change what flows. In: edits as data, and the sites of a pass. Out: a watcher that makes them while the pass runs.

    {"site": "layers.1.attention.mixed", "op": "zero", "heads": [2]}
    {"site": "layers.*.residual.end", "op": "add", "value": direction, "positions": "4:"}

op: zero · scale (× value) · add (+ value) · set (value) · swap (two positions, or two heads, change places) · freeze (what the
site holds where nothing is edited) · or a function of the chosen part. Edits of one site are made in the order given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import torch
from torch import Tensor

from ..errors import CutawayError, near
from ..model.call import Watch
from .places import ALL, Chosen, Places, chosen, head_axis, is_of_source, token_axis
from .sites import Site, match

Change = Callable[[Tensor], Tensor]
OPS: Final = ("zero", "scale", "add", "set", "swap", "freeze")
_KEYS: Final = ("site", "op", "value", "positions", "heads")
_TAKES_VALUE: Final = ("scale", "add", "set")
_STARTS: Final = "embedding.token"  # where every pass of every stack begins


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One edit. site: a name, or a pattern with `*`; op: one of `OPS`, or a function of the chosen part [.., as the site is].

    value: a number, or numbers that can be spread over the chosen part. positions, heads: see `places`; None: all.
    """

    site: str
    op: str | Change
    value: Any = None
    positions: Places = None
    heads: Places = None


@dataclass(frozen=True, slots=True)
class _Step:
    """One edit at one site, checked."""

    site: Site
    op: str | Change
    value: Tensor | None
    positions: Chosen
    heads: Chosen


@dataclass
class Edits:
    """A `model.call.Watch` that makes edits, and then shows what they left to `then`.

    frozen: where the passes without edits leave what `freeze` holds on to. past: how many tokens lie before this pass.
    """

    steps: Mapping[str, Sequence[_Step]]
    then: Watch | None = None
    frozen: Mapping[str, Tensor] = field(default_factory=dict)
    past: int = 0
    _length: int = 0

    @property
    def counts_from_end(self) -> bool:
        """Whether a position of an edit is counted from the end of the text."""
        return any(step.positions.is_from_end for steps in self.steps.values() for step in steps)

    @property
    def to_freeze(self) -> list[str]:
        """The sites that some edit freezes."""
        return [name for name, steps in self.steps.items() if any(step.op == "freeze" for step in steps)]

    def wants(self, site: str) -> bool:
        """Whether the site is edited, or `then` wants it."""
        return site in self.steps or (self.then is not None and self.then.wants(site))

    def __call__(self, site: str, tensor: Tensor) -> Tensor:
        """The tensor as the edits leave it."""
        if site.endswith(_STARTS):
            self._length = tensor.shape[1]
        for step in self.steps.get(site, ()):
            tensor = self._make(step, tensor)
        return tensor if self.then is None else self.then(site, tensor)

    def _make(self, step: _Step, tensor: Tensor) -> Tensor:
        grid = self._grid(step, tensor)
        if grid is None:
            return tensor
        edited = tensor.clone()
        edited[grid] = self._changed(step, tensor[grid], grid)
        return edited

    def _grid(self, step: _Step, tensor: Tensor) -> tuple[Tensor, ...] | None:
        """The indices of the chosen part, an axis each; None where the pass has none of it."""
        indices = [torch.arange(size, device=tensor.device) for size in tensor.shape]
        axis = token_axis(step.site.axes)
        if axis is not None and not step.positions.is_all:
            of_source = is_of_source(step.site.name, step.site.axes)
            begin = 0 if of_source else self.past + self._length - tensor.shape[axis]
            indices[axis] = indices[axis][step.positions.within(begin, tensor.shape[axis])]
        heads = head_axis(step.site.axes)
        if heads is not None:
            indices[heads] = indices[heads][step.heads.within(0, tensor.shape[heads])]
        if not all(map(len, indices)):
            return None
        return (
            torch.meshgrid(*indices, indexing="ij") if tensor.ndim == 1 else torch.broadcast_tensors(*_spread(indices))
        )

    def _changed(self, step: _Step, part: Tensor, grid: tuple[Tensor, ...]) -> Tensor:
        if step.op == "zero":
            return torch.zeros_like(part)
        if step.op == "swap":
            return part.flip(self._swapped(step))
        if step.op == "freeze":
            return _frozen(self.frozen, step.site.name, part, grid)
        if isinstance(step.op, str):
            value = _like(step, part)
            return {"scale": part * value, "add": part + value, "set": value}[step.op].to(part.dtype).expand_as(part)
        return _returned(step.site.name, step.op(part), part)

    def _swapped(self, step: _Step) -> int:
        axis = head_axis(step.site.axes) if step.positions.is_all else token_axis(step.site.axes)
        assert axis is not None, "checked with the edit"
        return axis


def make_edits(
    edits: Sequence[Edit | Mapping[str, Any]],
    available: Sequence[Site],
    *,
    num_tokens: int,
    num_source: int = 0,
    more: int = 0,
    then: Watch | None = None,
) -> Edits:
    """Check edits against the sites of a pass.

    num_tokens, num_source: how many tokens are read, and of the source; more: how many may follow. then: who sees what is left.
    Raises CutawayError for an unknown key, operation or site, places that do not exist, and a value that does not fit.
    """
    if isinstance(edits, Edit | Mapping | str):
        raise CutawayError(f"edits is {edits!r:.80}. Give a list of edits: [{{'site': …, 'op': 'zero'}}].")
    by_name = {site.name: site for site in available}
    steps: dict[str, list[_Step]] = {}
    for given in edits:
        edit = _checked(given)
        for name in match(edit.site, list(by_name)):
            steps.setdefault(name, []).append(_step(edit, by_name[name], num_tokens, num_source, more))
    return Edits(steps, then)


def _checked(given: Edit | Mapping[str, Any]) -> Edit:
    if isinstance(given, Edit):
        edit = given
    elif isinstance(given, Mapping):
        for key in given:
            if key not in _KEYS:
                raise CutawayError(f"An edit has no key '{key}'.{near(str(key), _KEYS)}")
        if missing := [key for key in ("site", "op") if key not in given]:
            raise CutawayError(
                f"The edit {dict(given)} has no '{missing[0]}'. It takes a site and an op: {', '.join(OPS)}."
            )
        edit = Edit(**given)
    else:
        raise CutawayError(f"An edit is {given!r:.80}. It takes a mapping such as {{'site': …, 'op': 'zero'}}.")
    if isinstance(edit.op, str) and edit.op not in OPS:
        raise CutawayError(f"The edit of '{edit.site}' has the op '{edit.op}'.{near(edit.op, OPS)} Or give a function.")
    needs = isinstance(edit.op, str) and edit.op in _TAKES_VALUE
    if needs != (edit.value is not None):
        what = "needs a value: a number, or numbers for the chosen part" if needs else "takes no value"
        raise CutawayError(f"The edit '{edit.op}' of '{edit.site}' {what}.")
    return edit


def _step(edit: Edit, site: Site, num_tokens: int, num_source: int, more: int) -> _Step:
    count = num_source if is_of_source(site.name, site.axes) else num_tokens
    positions = chosen(edit.positions, count, more=0 if is_of_source(site.name, site.axes) else more)
    axis = head_axis(site.axes)
    if edit.positions is not None and token_axis(site.axes) is None:
        raise CutawayError(f"'{site.name}' has no tokens to choose among: {', '.join(site.axes)}. Leave positions out.")
    if edit.heads is not None and axis is None:
        raise CutawayError(
            f"'{site.name}' has no heads: {', '.join(site.axes)}. Leave heads out, or edit attention.query, key, value or mixed."
        )
    heads = ALL if axis is None else chosen(edit.heads, site.shape[axis], name="heads")
    if edit.op == "swap":
        _check_swap(edit, positions, heads, count)
    return _Step(site, edit.op, None if edit.value is None else _tensor(edit), positions, heads)


def _check_swap(edit: Edit, positions: Chosen, heads: Chosen, count: int) -> None:
    pair = [each for each in (positions, heads) if not each.is_all]
    if len(pair) != 1 or len(pair[0].places) != 2:
        raise CutawayError(
            f"The edit 'swap' of '{edit.site}' takes two positions or two heads, as in positions=[1, 3]."
        )
    if pair[0] is positions and max(positions.places) >= count:
        raise CutawayError(
            f"The edit 'swap' of '{edit.site}' names token {max(positions.places)}, and the prompt has {count}: "
            "tokens that are written one by one are in no pass together."
        )


def _tensor(edit: Edit) -> Tensor:
    try:
        return torch.as_tensor(edit.value)
    except (TypeError, ValueError, RuntimeError):
        raise CutawayError(f"The value of the edit of '{edit.site}' is {edit.value!r:.60}. Give numbers.") from None


def _like(step: _Step, part: Tensor) -> Tensor:
    """The value, where it can be spread over the part."""
    assert step.value is not None, "checked with the edit"
    try:
        step.value.expand_as(part)
    except RuntimeError:
        raise CutawayError(
            f"The edit of '{step.site.name}' gives {list(step.value.shape)} numbers for a part of {list(part.shape)} "
            f"({', '.join(step.site.axes)}). Give as many, or one for all."
        ) from None
    return step.value.to(part.device)


def _returned(site: str, found: object, part: Tensor) -> Tensor:
    if not isinstance(found, Tensor) or found.shape != part.shape:
        shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise CutawayError(
            f"The function that edits '{site}' was given {list(part.shape)} and returned {shape}. Keep the shape."
        )
    return found


def _frozen(frozen: Mapping[str, Tensor], site: str, part: Tensor, grid: tuple[Tensor, ...]) -> Tensor:
    held = frozen[site]
    assert math.prod(held.shape) >= part.numel(), "the pass without edits is as large"
    return held[grid].to(part.dtype)


def _spread(indices: Sequence[Tensor]) -> list[Tensor]:
    """Each axis's indices, laid along that axis."""
    return [each.view([-1 if at == axis else 1 for at in range(len(indices))]) for axis, each in enumerate(indices)]


def frozen_twin(edits: Edits) -> Edits:
    """The same edits without what freezes: what is taken from a pass where nothing is edited needs none of them."""
    return replace(edits, steps={})
