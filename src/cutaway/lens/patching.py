"""Activation patching. In: two prompts that differ in a few tokens. Out: where what differs is held, layer by layer.

The model reads the second prompt, and one tensor of that pass is replaced by what it was for the first (Vig et al. 2020; Meng et
al. 2022, "causal tracing"; Wang et al. 2023). With d = logit(right) − logit(wrong) at the place read,

    restored = (d of the patched pass − d of the second) / (d of the first − d of the second)

0: nothing came back; 1: all of it; it can lie outside. It says that a place is enough to bring the answer back, not that it is
needed, nor that it is the only one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..errors import CutawayError
from ..model import Transformer
from .parts import check_token, prefix_of, stack_name
from .passes import Change, Progress, Prompt, batches, check_place, check_prompt, logits_of, traced

Patched = Literal["residual", "attention", "feedforward", "cross", "heads", "cross_heads"]
SITES: dict[str, str] = {
    "residual": "residual.start",
    "attention": "attention.output",
    "feedforward": "feedforward.output",
    "cross": "cross.output",
    "heads": "attention.mixed",
    "cross_heads": "cross.mixed",
}


@dataclass(frozen=True, kw_only=True)
class Patching:
    """One number for every replaced tensor.

    what: what was replaced, at one token (residual: what enters the layer; attention, feedforward, cross: what they write) or of
    one head at all tokens (heads, cross_heads). restored: [layer][token or head]. first, second: d of the two prompts.
    position: the place read; right, wrong: the two tokens, with texts. tokens, other_tokens: of both prompts, in the stack patched.
    """

    what: Patched
    stack: str
    restored: tuple[tuple[float, ...], ...]
    first: float
    second: float
    position: int
    right: int
    wrong: int
    right_text: str
    wrong_text: str
    tokens: tuple[str, ...]
    other_tokens: tuple[str, ...]


@torch.inference_mode()
def patching(
    model: Transformer,
    first: Prompt,
    second: Prompt,
    *,
    what: Patched = "residual",
    right: int | None = None,
    wrong: int | None = None,
    position: int | None = None,
    of_encoder: bool = False,
    texts: Callable[[int], str] = str,
    progress: Progress | None = None,
) -> Patching:
    """Patch from the first prompt into the second. Both have equally many tokens.

    right, wrong: ids; None: what the model says to the first, and to the second. position: the place read, the last if None.
    of_encoder: patch the encoder of two stacks. texts: id -> its text. Raises CutawayError for prompts of different lengths, or
    whose difference of logits is the same.
    """
    position = _check(model, first, second, what, position, of_encoder=of_encoder)
    read = slice(position, position + 1)
    ends = [logits_of(model, prompt, read)[0, 0] for prompt in (first, second)]
    right = int(ends[0].argmax()) if right is None else right
    wrong = int(ends[1].argmax()) if wrong is None else wrong
    leads = [float(logits[right] - logits[wrong]) for logits in ends]
    _check_leads(model, leads, right, wrong, texts)
    stack = model.encoder if of_encoder else model.main
    assert stack is not None, "checked"
    site = f"{prefix_of(model, of_encoder=of_encoder)}layers.{{}}.{SITES[what]}"
    tokens, others = ((prompt.source_tokens if of_encoder else prompt.tokens) for prompt in (first, second))
    length = len((first.source_ids if of_encoder else first.ids) or ())
    width = stack.config.attention.num_heads if what.endswith("heads") else length
    places = [(site.format(layer), place) for layer in range(stack.config.num_layers) for place in range(width)]
    clean = traced(model, first, site.format("*"))
    found: list[float] = []
    for batch in batches(second, len(places)):
        chosen = [places[index] for index in batch]
        watch = Change({name: _put(clean[name][0], chosen, name) for name in dict(chosen)})
        logits = logits_of(model, second, read, watch, len(chosen))[:, 0]
        found += ((logits[:, right] - logits[:, wrong] - leads[1]) / (leads[0] - leads[1])).tolist()
        if progress is not None:
            progress(len(found), len(places))
    return Patching(
        what=what,
        stack="encoder" if of_encoder else stack_name(model),
        restored=tuple(tuple(found[start : start + width]) for start in range(0, len(found), width)),
        first=leads[0],
        second=leads[1],
        position=position,
        right=right,
        wrong=wrong,
        right_text=texts(right),
        wrong_text=texts(wrong),
        tokens=tokens,
        other_tokens=others,
    )


def _put(clean: Tensor, chosen: list[tuple[str, int]], site: str) -> Callable[[Tensor], Tensor]:
    """Each row whose place is at this site gets the clean numbers there. clean: [position, d_model] or [head, position, d_head]."""
    places = [(row, place) for row, (name, place) in enumerate(chosen) if name == site]

    def patched(tensor: Tensor) -> Tensor:
        tensor = tensor.clone()
        for row, place in places:
            tensor[row, place] = clean[place]
        return tensor

    return patched


def _check(
    model: Transformer, first: Prompt, second: Prompt, what: str, position: int | None, *, of_encoder: bool
) -> int:
    """The place read."""
    for prompt in (first, second):
        check_prompt(model, prompt)
    if what not in SITES:
        raise CutawayError(f"what is '{what}'. Allowed: {', '.join(SITES)}.")
    if of_encoder and not model.config.has_cross:
        raise CutawayError("of_encoder is true, but this model has one stack. Leave it out.")
    if what.startswith("cross") and (of_encoder or not model.config.has_cross):
        raise CutawayError(f"what is '{what}', but only the decoder of two stacks has cross-attention. Choose another.")
    for name, one, other in (("", first.ids, second.ids), ("sources ", first.source_ids, second.source_ids)):
        if len(one or ()) != len(other or ()):
            raise CutawayError(
                f"The {name or 'prompts '}have {len(one or ())} and {len(other or ())} tokens. Patching goes from a token to the token "
                "at the same place: choose two with equally many."
            )
    return check_place(first, position)


def _check_leads(model: Transformer, leads: list[float], right: int, wrong: int, texts: Callable[[int], str]) -> None:
    check_token(model, right, "right")
    check_token(model, wrong, "wrong")
    if right == wrong:
        raise CutawayError(
            f"The right and the wrong token are both '{texts(right)}'. Name two that the prompts differ in."
        )
    if leads[0] == leads[1]:
        raise CutawayError(
            "Both prompts give the same difference of logits: there is nothing to restore. Name other tokens."
        )
