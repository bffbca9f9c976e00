"""The passes of the hybrid decoder. In: certain tokens, and drafts behind them. Out: what stands of them, and new drafts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..config import ModelConfig
from ..errors import CutawayError
from ..model import layouts
from .autoregressive import mask_id_of
from .chance import DRAFT
from .choosing import Choosing
from .drafted import Wishes, judged
from .session import Session, places
from .step import Step, ask
from .verify import Draft

Layout = Literal["one", "two"]


@dataclass(frozen=True, kw_only=True)
class Drafting:
    """How many tokens are guessed ahead, and in how many passes a round goes. num_drafts: None for the most the model learned."""

    num_drafts: int | None = None
    passes: Layout = "one"

    def __post_init__(self) -> None:
        """Raises CutawayError for what no model can do."""
        if self.num_drafts is not None and self.num_drafts < 1:
            raise CutawayError(f"num_drafts is {self.num_drafts}. Draft at least 1 token, or decode autoregressively.")
        if self.passes not in ("one", "two"):
            raise CutawayError(f"passes is '{self.passes}'. Allowed: one, two.")


def num_drafts_of(config: ModelConfig, drafting: Drafting) -> int:
    """How many tokens are guessed ahead. Raises CutawayError for a model not trained to, and for more than it learned."""
    if not (config.says_next and config.says_masked) or config.block_size is None:
        raise CutawayError(
            f"The hybrid decoder needs a model that was trained to draft, and this one was trained to predict "
            f"'{config.predicts}'. Use the decoder that fits it, or train it on with objective.kind = 'hybrid'."
        )
    most = config.block_size - (not config.is_shifted)
    wanted = most if drafting.num_drafts is None else drafting.num_drafts
    if not 1 <= wanted <= most:
        raise CutawayError(f"num_drafts is {wanted}. This model learned to draft 1 to {most} tokens ahead.")
    return wanted


class Rounds:
    """One pass after another over a session: certain tokens, drafts behind them, masks behind those. A `Guesser`."""

    def __init__(self, session: Session, choosing: Choosing, drafting: Drafting) -> None:
        config = session.model.config
        self.session, self.choosing = session, choosing
        self.most, self.is_shifted = num_drafts_of(config, drafting), config.is_shifted
        self.mask_id, self.has_one_pass = mask_id_of(config), drafting.passes == "one"
        self.proposals: Tensor | None = None
        """The logits of the block of masks that counts, [mask, vocab]; None before the first pass."""

    def round(self, ids: Sequence[int], drafts: Sequence[Draft], place: int) -> Wishes[list[Draft]]:
        """Run ids and drafts, and masks where it is their turn: see `Guesser`."""
        session, start = self.session, self.session.length
        known = [*ids, *(draft.token for draft in drafts)]
        sizes = self._sizes(start + len(ids), len(drafts)) if self.has_one_pass or not drafts else []
        row = [*known, *[self.mask_id] * sum(sizes)]
        tokens = layouts.drafting(start, len(known), sizes, device=session.device) if sum(sizes) else None
        logits = yield from ask(Step(session, row, tokens, range(len(ids) - 1, len(row)), keep=len(known)))
        said = judged(session, logits, drafts, self.choosing, place)
        num_accepted = len(said) - 1
        first = len(drafts) + 1 + sum(sizes[:num_accepted])
        self.proposals = logits[first : first + (sizes[num_accepted] if sizes else 0)]
        return said

    def drafts(self, ids: Sequence[int], place: int, most: int) -> Wishes[list[Draft]]:
        """Guesses from the logits at a block of masks, as many as there is room for."""
        yield from ()
        if self.proposals is None:
            return []
        rows = self.proposals if self.is_shifted else self.proposals[1:]
        rows = rows[:most].clone()
        rows[:, self.mask_id] = -torch.inf
        found, seen = list[Draft](), [*self.session.ids, *ids]
        for index, row in enumerate(rows):
            spread = self.choosing.spread(row, seen, place + index)
            token = self.choosing.draw(spread.probabilities, place + index, DRAFT)
            found.append(Draft(token, spread.probability(token, place + index), spread.probabilities))
        return found

    def _sizes(self, position: int, num_drafts: int) -> list[int]:
        """How many masks stand behind 0 … num_drafts drafts. position: of the first draft."""
        wanted = self.most + (not self.is_shifted)
        limit = places(self.session.model.config.main, self.session.model)
        ends = [wanted if limit is None else limit - position - r for r in range(num_drafts + 1)]
        return [max(0, min(wanted, end)) for end in ends]
