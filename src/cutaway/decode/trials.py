"""How far ahead to draft on this machine. In: a model, a prompt, a decoder. Out: every way to decode it, the fastest first.

More drafts cost longer passes and stand less often: what pays depends on the model, the text and the machine, so it is measured.
All of them say the same text, or, sampled, texts of the same distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..config import ModelConfig
from ..model import Transformer
from .lookup import Lookup
from .natural import Way, natural, opened
from .rounds import Drafting, num_drafts_of
from .run import Figures, run
from .samplers import Sampling

NUM_TOKENS = 12  # of each way at least
ALL_TOKENS = 96  # of all ways together, where these are few
ROUNDS = 2
SIZES = (2, 4, 8, 16)


@dataclass(frozen=True, slots=True)
class Trial:
    """One way to decode. seconds_per_token: of the fastest of the rounds."""

    way: Way
    seconds_per_token: float
    tokens_per_pass: float
    acceptance: float | None


def trials(
    model: Transformer, prompt_ids: Sequence[int], sampling: Sampling, ways: Sequence[Way], *, num_tokens: int
) -> list[Trial]:
    """Continue the prompt (the source of an encoder-decoder) in every way, in turns, the fastest first.

    Raises CutawayError as the decoders do.
    """
    found: dict[Way, Trial] = {}
    for _ in range(ROUNDS):
        for way in ways:
            trial = _try(model, prompt_ids, sampling, way, num_tokens)
            best = found.get(way)
            if best is None or trial.seconds_per_token < best.seconds_per_token:
                found[way] = trial
    return sorted(found.values(), key=lambda trial: trial.seconds_per_token)


def ways_to_draft(config: ModelConfig, way: Way) -> list[Way]:
    """A way that drafts, with every number of drafts that is worth a try. Raises CutawayError for a model that cannot."""
    if way.decoder == "lookup":
        looking = way.looking or Lookup()
        return [replace(way, looking=replace(looking, num_drafts=size)) for size in SIZES]
    if way.drafter is not None:
        return [replace(way, drafter=replace(way.drafter, num_drafts=size)) for size in (1, *SIZES[:-1])]
    most = num_drafts_of(config, Drafting())
    sizes = sorted({size for size in SIZES if size <= most} | {most})
    return [
        replace(way, drafting=Drafting(num_drafts=size, passes=passes)) for size in sizes for passes in ("one", "two")
    ]


def fastest(model: Transformer, prompt_ids: Sequence[int], sampling: Sampling, way: Way) -> Way:
    """A way that drafts, with the number of drafts that was fastest. Raises CutawayError as `trials`."""
    ways = ways_to_draft(model.config, way)
    num_tokens = max(NUM_TOKENS, ALL_TOKENS // len(ways))
    return trials(model, prompt_ids, sampling, ways, num_tokens=num_tokens)[0].way


def _try(model: Transformer, prompt_ids: Sequence[int], sampling: Sampling, way: Way, num_tokens: int) -> Trial:
    session, ids, source = opened(model, prompt_ids, num_new=num_tokens)
    if len(ids) > 1:  # what all ways read alike is not timed
        session.extend(ids[:-1], read="none")
        ids = ids[-1:]
        session.peek(ids, "none")  # nor what is recorded once
    figures = Figures()
    decoder = natural(session, ids, sampling, max_tokens=num_tokens, way=way, source_ids=source, eos_ids=())
    for _ in run(decoder, figures):
        pass
    return Trial(way, figures.seconds / figures.num_tokens, figures.tokens_per_pass, figures.acceptance)
