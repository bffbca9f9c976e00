"""The decoder by name, or the one that a model was trained for. In: a session, a prompt, a `Way`. Out: a decoder."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ..config import ModelConfig
from ..errors import CutawayError
from ..model.transformer import Transformer
from ..runtime.cache import WHOLE, Cache
from ..runtime.gpu import Graphed
from .autoregressive import autoregressive
from .denoise import Denoising, denoise
from .draft import Drafter, check_drafter, draft
from .hybrid import hybrid
from .lookup import Lookup, lookup
from .rounds import Drafting
from .samplers import Sampling
from .session import Session
from .static import MOST_NEW, captured
from .step import Decoder

DecoderName = Literal["autoregressive", "diffusion", "hybrid", "lookup", "draft"]
DECODERS: tuple[DecoderName, ...] = get_args(DecoderName)
SETTINGS = {
    "denoising": "diffusion", "rewritten": "diffusion", "drafting": "hybrid", "looking": "lookup", "drafter": "draft"
}  # fmt: skip
"""Whose each setting of a `Way` is."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a text comes to be. decoder: None for the one that the model was trained for. denoising, drafting, looking: settings of
    the decoders diffusion, hybrid and lookup, None for their own. drafter: the draft model, which the decoder draft needs.
    rewritten: places of the prompt that diffusion fills anew.

    Raises CutawayError for an unknown decoder, settings of another one, and a draft model that is missing.
    """

    decoder: DecoderName | None = None
    denoising: Denoising | None = None
    drafting: Drafting | None = None
    looking: Lookup | None = None
    drafter: Drafter | None = None
    rewritten: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.decoder not in (None, *DECODERS):
            raise CutawayError(f"decoder is '{self.decoder}'. Allowed: {', '.join(DECODERS)}.")
        given = [name for name in SETTINGS if getattr(self, name) not in (None, ())]
        foreign = [name for name in given if self.decoder is not None and SETTINGS[name] != self.decoder]
        if foreign:
            raise CutawayError(
                f"decoder is '{self.decoder}', and settings for {SETTINGS[foreign[0]]} are given: {foreign[0]}. Leave them out."
            )
        if self.decoder == "draft" and self.drafter is None:
            raise CutawayError("decoder is 'draft', and no draft model is given. Give one: drafter=Drafter(model=…).")

    def decoder_for(self, config: ModelConfig) -> DecoderName:
        """The decoder's name. Raises CutawayError for one that the model was not trained for, or settings of another."""
        own = name_of(config)
        name = self.decoder or own
        if name in ("autoregressive", "lookup", "draft") and own == "diffusion":
            raise CutawayError(
                "This model was trained to fill in hidden tokens, seeing what stands before and after them; taken token by "
                "token, its text would mean nothing. Use the diffusion decoder."
            )
        if self.decoder is None:
            settings = {setting: getattr(self, setting) for setting in SETTINGS}
            Way(decoder=name, **settings)
        return name


def name_of(config: ModelConfig) -> DecoderName:
    """The decoder that a model was trained for."""
    if not config.says_masked:
        return "autoregressive"
    return "hybrid" if config.says_next else "diffusion"


def opened(
    model: Transformer, prompt_ids: Sequence[int], cache: Cache = WHOLE, *, num_new: int | None = None
) -> tuple[Session, list[int], list[int] | None]:
    """A session for a prompt, what it goes on from, and its source: of an encoder-decoder, the prompt is the source.

    num_new: as of `alone`, for a text that runs alone; None: it may share its passes with others.
    """
    if model.config.has_cross:
        return Session(model, source_ids=prompt_ids, cache=cache), [], list(prompt_ids)
    if num_new is None:
        return Session(model, cache=cache), list(prompt_ids), None
    return alone(model, num_read=len(prompt_ids), num_new=num_new, cache=cache), list(prompt_ids), None


def alone(model: Transformer, *, num_read: int = 0, num_new: int = MOST_NEW, cache: Cache = WHOLE) -> Session:
    """An empty session for a text that shares its passes with no other: on a GPU, its one-token steps are captured.

    num_read, num_new: how many tokens it will have, as far as that is known; see `decode.static.captured`, also for errors.
    """
    return captured(model, num_read=num_read, num_new=num_new, cache=cache) or Session(model, cache=cache)


def natural(
    session: Session,
    prompt_ids: Sequence[int],
    sampling: Sampling,
    *,
    max_tokens: int,
    way: Way | None = None,
    source_ids: Sequence[int] | None = None,
    eos_ids: Collection[int] | None = None,
    request: int = 0,
) -> Decoder:
    """Continue a prompt, or fill its holes. way: None for the model's own. source_ids: what the session's encoder has read. The
    rest: as of `autoregressive`.

    Raises CutawayError for a decoder that the model was not trained for, holes that it would not fill, and, at the first step,
    whatever the decoder refuses.
    """
    way, config = way or Way(), session.model.config
    name = way.decoder_for(config)
    if name != "diffusion" and config.says_masked and config.tokens.mask in prompt_ids:
        raise CutawayError(
            f"The text has holes, and the {name} decoder fills none: this model was trained to {config.taught}. Take the mask "
            "token out, or use a model of diffusion."
        )
    options: dict[str, Any] = {"max_tokens": max_tokens, "eos_ids": eos_ids, "request": request}
    if name == "diffusion":
        return denoise(session, prompt_ids, sampling, denoising=way.denoising, rewritten=way.rewritten, **options)
    if name == "hybrid":
        return hybrid(session, prompt_ids, sampling, drafting=way.drafting, **options)
    if name == "lookup":
        return lookup(session, prompt_ids, sampling, looking=way.looking, source_ids=source_ids, **options)
    if way.drafter is not None:
        check_drafter(session.model, way.drafter)
        cache = session.cache.at_least(way.drafter.num_drafts)
        small = _beside(session, way.drafter.model, source_ids, len(prompt_ids), max_tokens, cache)
        return draft(session, small, prompt_ids, sampling, drafter=way.drafter, **options)
    return autoregressive(session, prompt_ids, sampling, **options)


def _beside(
    session: Session, small: Transformer, source_ids: Sequence[int] | None, num_read: int, num_new: int, cache: Cache
) -> Session:
    """The draft model's session, for a text that shares its passes with others where the target's does."""
    if isinstance(session.model, Graphed):
        return alone(small, num_read=session.length + num_read, num_new=num_new, cache=cache)
    return Session(small, source_ids=source_ids, cache=cache)
