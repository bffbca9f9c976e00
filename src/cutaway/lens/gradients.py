"""Which tokens a logit leans on, to first order. In: a prompt and a token. Out: one signed number for each token read.

    score_i = x_i · ∂logit / ∂x_i,    x_i: the row of token i in the token table, as it enters the first layer

(gradient × input, Shrikumar et al. 2016.) If the model were linear in x, the scores would be what each token adds. It is not:
they say how the logit would move if the row were made a little longer, and do not add up to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..model import Transformer
from .charts import Bar, bars
from .colour import Theme
from .numerals import number, quoted
from .parts import check_token
from .passes import Changes, check_place, logits_at, states_of, texts_of
from .reading import Reading
from .result import Result
from .sheet import MARGIN, SMALL, Sheet


@dataclass(frozen=True, kw_only=True)
class GradientInput(Result):
    """One score for each token. position: whose logit; token_id, against: of which token, less that of which other.

    lengths: the length of each token's gradient, which says how much the logit depends on it in any direction. source_scores,
    source_lengths: of the source's tokens, empty for one stack. logit: the number itself.
    """

    position: int
    token_id: int
    against: int | None
    logit: float
    tokens: tuple[str, ...]
    scores: tuple[float, ...]
    lengths: tuple[float, ...]
    source_tokens: tuple[str, ...]
    source_scores: tuple[float, ...]
    source_lengths: tuple[float, ...]
    text: str
    against_text: str

    def draw(self, theme: Theme = "light") -> Sheet:
        """A bar for each token."""
        sheet = Sheet(720, theme)
        other = "" if self.against is None else f" rather than {quoted(self.against_text)}"
        measured = "logit" if self.against is None else "lead, one logit less the other"
        title = f"Which tokens {quoted(self.text)}{other} leans on"
        y = sheet.title(title, f"Gradient × input of the {measured}: {number(self.logit)}.")
        both = (*self.scores, *self.source_scores)
        groups: list[tuple[tuple[str, ...], tuple[float, ...], int | None]]
        groups = [(self.tokens, self.scores, self.position)]
        if self.source_scores:
            groups.insert(0, (self.source_tokens, self.source_scores, None))
        for head, (tokens, scores, look) in zip(("Source", "Target"), groups, strict=False):
            if len(groups) > 1:
                sheet.text(MARGIN, y + 8, head, size=SMALL)
                y += 20
            rows = _bars(tokens or tuple(map(str, range(len(scores)))), scores, look)
            y = bars(sheet, MARGIN, y, rows, label=96, room=540, span=(min(both), max(both))) + 12
        y -= 12
        sheet.caption(
            y + 16,
            "How the logit would move, to first order, if a token's row of the table were made longer. The scores do not add up "
            "to the logit. Orange: the token whose next one this is.",
        )
        return sheet


def gradient_input(
    model: Transformer,
    reading: Reading,
    token_id: int,
    against: int | None = None,
    *,
    position: int | None = None,
    texts: Callable[[int], str] = "id {}".format,
) -> GradientInput:
    """Gradient × input of the logit of a token at a position (None: the last), less that of `against` where given.

    texts: id -> its text.

    Raises CutawayError for a position or id that the model does not have.
    """
    check_token(model, token_id)
    if against is not None:
        check_token(model, against, "against")
    position = check_place(reading, position)
    leaves: dict[str, Tensor] = {}
    prefixes = ("encoder.", "decoder.") if model.config.has_cross else ("",)
    watch = Changes({f"{prefix}embedding.token": _leaf(prefix, leaves) for prefix in prefixes})
    with torch.inference_mode(False), torch.enable_grad():
        logits = logits_at(model, states_of(model, reading, watch), position)[0]
        logit = logits[token_id] if against is None else logits[token_id] - logits[against]
        gradients = dict(zip(leaves, torch.autograd.grad(logit, list(leaves.values())), strict=True))
    scores = {
        name: (leaves[name].detach() * gradient)[0].double().sum(-1).cpu() for name, gradient in gradients.items()
    }
    lengths = {name: gradient[0].double().norm(dim=-1).cpu() for name, gradient in gradients.items()}
    main, source = prefixes[-1], prefixes[0] if len(prefixes) > 1 else None
    return GradientInput(
        position=position,
        token_id=token_id,
        against=against,
        logit=float(logit.detach()),
        tokens=texts_of(reading),
        scores=tuple(scores[main].tolist()),
        lengths=tuple(lengths[main].tolist()),
        source_tokens=texts_of(reading.source),
        source_scores=() if source is None else tuple(scores[source].tolist()),
        source_lengths=() if source is None else tuple(lengths[source].tolist()),
        text=texts(token_id),
        against_text="" if against is None else texts(against),
    )


def _leaf(prefix: str, leaves: dict[str, Tensor]) -> Callable[[Tensor], Tensor]:
    def begin(tensor: Tensor) -> Tensor:
        leaves[prefix] = tensor.detach().clone().requires_grad_(True)
        return leaves[prefix]

    return begin


def _bars(names: tuple[str, ...], scores: tuple[float, ...], look: int | None) -> list[Bar]:
    pairs = zip(names, scores, strict=True)
    return [Bar(name=name, value=score, scale="computed", look=i == look) for i, (name, score) in enumerate(pairs)]
