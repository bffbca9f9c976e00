"""The decoder by name, or the one that a model was trained for. In: a session and a prompt. Out: a decoder."""

from __future__ import annotations

from collections.abc import Collection, Sequence
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
    decoder: str | None = None,
    how: Denoising | Drafting | None = None,
    rewritten: Collection[int] = (),
    eos_ids: Collection[int] | None = None,
    request: int = 0,
) -> Decoder:
    """Continue a prompt, or fill its holes.

    decoder: one of DECODERS, None for the one that the model was trained for. how: its own settings. rewritten: see `denoise`.
    The rest: as of `autoregressive`.
    Raises CutawayError for an unknown name, settings of another decoder, and, at the first step, whatever the decoder refuses.
    """
    name = decoder or name_of(session.model.config)
    if name not in DECODERS:
        raise CutawayError(f"decoder is '{name}'. Allowed: {', '.join(DECODERS)}.")
    allowed = {"diffusion": Denoising, "hybrid": Drafting}.get(name, type(None))
    if how is not None and not isinstance(how, allowed):
        raise CutawayError(
            f"decoder is '{name}', and {type(how).__name__} are the settings of another. Leave them out."
        )
    if rewritten and name != "diffusion":
        raise CutawayError(f"decoder is '{name}', which rewrites nothing. The diffusion decoder does.")
    if isinstance(how, Denoising) or name == "diffusion":
        denoising = how if isinstance(how, Denoising) else None
        return denoise(
            session,
            prompt_ids,
            sampling,
            max_tokens=max_tokens,
            denoising=denoising,
            rewritten=rewritten,
            eos_ids=eos_ids,
            request=request,
        )
    if name == "hybrid":
        drafting = how if isinstance(how, Drafting) else None
        return hybrid(
            session, prompt_ids, sampling, max_tokens=max_tokens, drafting=drafting, eos_ids=eos_ids, request=request
        )
    return autoregressive(session, prompt_ids, sampling, max_tokens=max_tokens, eos_ids=eos_ids, request=request)
