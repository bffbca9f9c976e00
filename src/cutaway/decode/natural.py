"""The decoder by name, or the one that a model was trained for. In: a session, a prompt, a `Way`. Out: a decoder."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from ..config import ModelConfig
from ..errors import CutawayError
from .autoregressive import autoregressive
from .denoise import Denoising, denoise
from .hybrid import hybrid
from .rounds import Drafting
from .samplers import Sampling
from .session import Session
from .step import Decoder

DecoderName = Literal["autoregressive", "diffusion", "hybrid"]
DECODERS: tuple[DecoderName, ...] = get_args(DecoderName)


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a text comes to be. decoder: None for the one that the model was trained for. denoising, drafting: settings of the
    diffusion and the hybrid decoder, None for their own. rewritten: places of the prompt that diffusion fills anew.

    Raises CutawayError for an unknown decoder, and settings of another one.
    """

    decoder: DecoderName | None = None
    denoising: Denoising | None = None
    drafting: Drafting | None = None
    rewritten: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.decoder not in (None, *DECODERS):
            raise CutawayError(f"decoder is '{self.decoder}'. Allowed: {', '.join(DECODERS)}.")
        foreign = {
            "diffusion": ("drafting", self.drafting),
            "hybrid": ("denoising", self.denoising or self.rewritten or None),
            "autoregressive": ("denoising or drafting", self.denoising or self.drafting or self.rewritten or None),
        }
        name, value = foreign.get(self.decoder or "", ("", None))
        if value is not None:
            raise CutawayError(f"decoder is '{self.decoder}', and settings for {name} are given. Leave them out.")

    def decoder_for(self, config: ModelConfig) -> DecoderName:
        """The decoder's name. Raises CutawayError for one that the model was not trained for, or settings of another."""
        own = name_of(config)
        name = self.decoder or own
        if name == "autoregressive" and own == "diffusion":
            raise CutawayError(
                "This model was trained to fill in hidden tokens, seeing what stands before and after them; taken token by "
                "token, its text would mean nothing. Use the diffusion decoder."
            )
        if self.decoder is None:
            Way(decoder=name, denoising=self.denoising, drafting=self.drafting, rewritten=self.rewritten)
        return name


def name_of(config: ModelConfig) -> DecoderName:
    """The decoder that a model was trained for."""
    if not config.says_masked:
        return "autoregressive"
    return "hybrid" if config.says_next else "diffusion"


def natural(
    session: Session,
    prompt_ids: Sequence[int],
    sampling: Sampling,
    *,
    max_tokens: int,
    way: Way | None = None,
    eos_ids: Collection[int] | None = None,
    request: int = 0,
) -> Decoder:
    """Continue a prompt, or fill its holes. way: None for the model's own. The rest: as of `autoregressive`.

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
    if name == "diffusion":
        return denoise(
            session,
            prompt_ids,
            sampling,
            max_tokens=max_tokens,
            denoising=way.denoising,
            rewritten=way.rewritten,
            eos_ids=eos_ids,
            request=request,
        )
    if name == "hybrid":
        return hybrid(
            session,
            prompt_ids,
            sampling,
            max_tokens=max_tokens,
            drafting=way.drafting,
            eos_ids=eos_ids,
            request=request,
        )
    return autoregressive(session, prompt_ids, sampling, max_tokens=max_tokens, eos_ids=eos_ids, request=request)
