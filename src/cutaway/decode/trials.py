"""How far ahead to draft on this machine. In: a hybrid model and a prompt. Out: every way to decode it, the fastest first.

More drafts cost longer passes and stand less often: what pays depends on the model, the text and the machine, so it is measured.
All of them say the same text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..model import Transformer
from .autoregressive import autoregressive
from .hybrid import hybrid
from .rounds import Drafting, num_drafts_of
from .run import Figures, run
from .samplers import Sampling
from .session import Session
from .step import Decoder

NUM_TOKENS = 12
ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Trial:
    """One way to decode. drafting: None for the autoregressive decoder. seconds_per_token: of the fastest of the rounds."""

    drafting: Drafting | None
    seconds_per_token: float
    tokens_per_pass: float
    acceptance: float | None


def trials(
    model: Transformer, prompt_ids: Sequence[int], sampling: Sampling, *, num_tokens: int = NUM_TOKENS
) -> list[Trial]:
    """Continue the prompt in every way, in turns, the fastest first. Raises CutawayError as `hybrid` does."""
    most = num_drafts_of(model.config, Drafting())
    sizes = sorted({size for size in (2, 4, 8, 16) if size <= most} | {most})
    ways: list[Drafting | None] = [None]
    ways += [Drafting(num_drafts=size, passes=passes) for size in sizes for passes in ("one", "two")]
    found: dict[Drafting | None, Trial] = {}
    for _ in range(ROUNDS):
        for way in ways:
            trial = _try(model, prompt_ids, sampling, way, num_tokens)
            best = found.get(way)
            if best is None or trial.seconds_per_token < best.seconds_per_token:
                found[way] = trial
    return sorted(found.values(), key=lambda trial: trial.seconds_per_token)


def fastest_drafting(model: Transformer, prompt_ids: Sequence[int], sampling: Sampling) -> Drafting:
    """The hybrid way that was fastest."""
    return next(trial.drafting for trial in trials(model, prompt_ids, sampling) if trial.drafting is not None)


def _try(
    model: Transformer, prompt_ids: Sequence[int], sampling: Sampling, drafting: Drafting | None, num_tokens: int
) -> Trial:
    session, figures = Session(model), Figures()
    decoder: Decoder
    if drafting is None:
        decoder = autoregressive(session, prompt_ids, sampling, max_tokens=num_tokens, eos_ids=())
    else:
        decoder = hybrid(session, prompt_ids, sampling, max_tokens=num_tokens, drafting=drafting, eos_ids=())
    for _ in run(decoder, figures):
        pass
    seconds = (figures.seconds - (figures.seconds_to_first or 0)) / max(1, figures.num_tokens - 1)
    return Trial(drafting, seconds, figures.tokens_per_pass, figures.acceptance)
