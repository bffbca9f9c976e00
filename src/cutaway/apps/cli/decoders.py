"""The options of `cutaway generate` that say by which decoder. In: a parser, a model, prompts. Out: a `Way`, and its figures."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...errors import CutawayError

if TYPE_CHECKING:
    from ...decode import DecoderName, Denoising, Drafter, Figures, Way
    from ...lm import LM

DRAFTING = ("hybrid", "lookup", "draft")
"""The decoders that draft and verify."""

OPTIONS = {
    ("diffusion",): ("--order", "--passes", "--threshold", "--window", "--rewrite"),
    DRAFTING: ("--drafts",),
    ("hybrid",): ("--two-passes",),
    ("draft",): ("--draft-model",),
}


def add_way(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    group = parser.add_argument_group("decoder")
    group.add_argument(
        "--decoder",
        metavar="NAME",
        help="autoregressive, diffusion, hybrid, lookup or draft; left out, the one that the model was trained for",
    )
    group.add_argument(
        "--order",
        metavar="NAME",
        help="diffusion: which holes are filled first: confidence (default), margin, entropy, threshold, ancestral, "
        "first_hitting",
    )
    group.add_argument("--passes", type=int, metavar="N", help="diffusion: in so many passes (default: one a token)")
    group.add_argument("--threshold", type=float, metavar="P", help="diffusion: fill at once what is P sure")
    group.add_argument(
        "--window", type=int, metavar="N", help="diffusion: fill the leftmost N places before the next ones"
    )
    group.add_argument("--rewrite", metavar="TEXT", help="diffusion: write this part of the prompt anew")
    group.add_argument(
        "--drafts",
        metavar="K",
        help="hybrid, lookup, draft: guess K tokens ahead (default auto: what is fastest here, measured)",
    )
    group.add_argument(
        "--draft-model", metavar="MODEL", help="draft: the smaller model with the same tokenizer that guesses ahead"
    )
    group.add_argument(
        "--two-passes", action="store_true", help="hybrid: one pass to draft and one to verify, instead of both in one"
    )


def way_of(lm: LM, prompts: Sequence[str], arguments: argparse.Namespace) -> Way:
    """What the options say. Raises CutawayError for options of another decoder than the one that is used."""
    from ...decode import Way
    from ...decode.denoise import check_model

    drafter = _drafter(lm, arguments) if arguments.decoder == "draft" else None
    wanted = Way(decoder=arguments.decoder, drafter=drafter)
    name = None if lm.config.decoder is None else wanted.decoder_for(lm.config)
    _check_options(lm, name, arguments)
    if name == "diffusion":
        check_model(lm.config)
    if name in DRAFTING:
        return _drafting(lm, prompts, wanted, name, arguments)
    rewritten = () if arguments.rewrite is None else _places(lm, prompts, arguments.rewrite)
    return Way(decoder=arguments.decoder, denoising=_denoising(arguments), rewritten=rewritten)


def _check_options(lm: LM, name: str | None, arguments: argparse.Namespace) -> None:
    """Raises CutawayError for options of another decoder."""
    for decoders, options in OPTIONS.items():
        given = [option for option in options if getattr(arguments, _field(option)) not in (None, False)]
        if not given or name in decoders:
            continue
        whose = f"the {decoders[0]} decoder" if len(decoders) == 1 else f"the decoders {_listed(decoders)}"
        which = "it" if len(given) == 1 else "them"
        fitting = [each for each in ("lookup", "draft") if each in decoders and name == "autoregressive"]
        more = f", or add --decoder {fitting[0]}" if fitting else ""
        raise CutawayError(
            f"{' and '.join(given)} {'is' if len(given) == 1 else 'are'} for {whose}, and '{lm.name}', which was trained to "
            f"{lm.config.taught}, decodes by {name or 'none'}. Leave {which} out{more}."
        )


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _field(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")


def _denoising(arguments: argparse.Namespace) -> Denoising | None:
    """How holes are filled; None where no option says."""
    from ...decode import Denoising

    given: dict[str, Any] = {name: getattr(arguments, name) for name in ("order", "passes", "threshold", "window")}
    if all(value is None for value in given.values()):
        return None
    order: Any = given["order"] or ("threshold" if given["threshold"] is not None else "confidence")
    if given["threshold"] is not None and order != "threshold":
        raise CutawayError(f"--threshold is for the order threshold, and --order is {order}. Leave one of them out.")
    threshold = 0.9 if given["threshold"] is None else given["threshold"]
    return Denoising(order=order, num_passes=given["passes"], threshold=threshold, window=given["window"])


def is_holed(lm: LM, prompt: str) -> bool:
    """Whether a prompt has holes that the model can fill."""
    return lm.config.says_masked and lm.own_tokenizer is not None and lm.config.tokens.mask in lm.ids(prompt)


def before_holes(lm: LM, prompt: str, way: Way) -> str:
    """The part of the prompt that is shown before what is filled in."""
    if lm.own_tokenizer is None or way.decoder_for(lm.config) != "diffusion":
        return prompt
    ids = lm.ids(prompt)
    holes = [place for place, token in enumerate(ids) if token == lm.config.tokens.mask]
    first = min([*holes, *way.rewritten], default=len(ids))
    return lm.tokenizer.decode(ids[:first], skip_special=True)


def figures_of(lm: LM, prompt: str, options: dict[str, Any]) -> dict[str, Any]:
    """What the last generation cost, for JSON; of a decoder that drafts beside the autoregressive one."""
    way: Way = options["way"]
    if way.decoder_for(lm.config) not in DRAFTING:
        return {}
    mine, plain = _both(lm, prompt, options)
    how: dict[str, Any] = {"num_drafts": _num_drafts(way)}
    if way.drafting is not None:
        how["passes"] = way.drafting.passes
    if way.drafter is not None:
        how["num_draft_passes"] = mine.num_draft_passes
    return {"figures": _facts(mine) | how, "autoregressive": _facts(plain)}


def beside_autoregressive(lm: LM, prompt: str, options: dict[str, Any]) -> str:
    """Passes, acceptance and time of the last generation, beside those of the autoregressive decoder."""
    mine, plain = _both(lm, prompt, options)
    stood = "no drafts" if mine.acceptance is None else f"{mine.acceptance:.0%} of drafts accepted"
    way: Way = options["way"]
    how = "looked up in the text"
    if way.drafting is not None:
        how = f"drafted and verified in {'one pass' if way.drafting.passes == 'one' else 'two passes'}"
    if way.drafter is not None:
        how = f"drafted in {mine.num_draft_passes} passes of the draft model"
    return (
        f"{mine.num_tokens} tokens in {mine.num_passes} passes: {mine.tokens_per_pass:.2f} tokens a pass, {stood} "
        f"({_num_drafts(way)} ahead, {how}), {mine.seconds:.2f} s.\n"
        f"Autoregressive: {plain.num_tokens} tokens in {plain.num_passes} passes, {plain.seconds:.2f} s. "
        f"The {way.decoder} decoder took {mine.seconds / plain.seconds:.2f} of its time."
    )


def _num_drafts(way: Way) -> int | None:
    settings = way.drafting or way.looking or way.drafter
    assert settings is not None, "settled by way_of"
    return settings.num_drafts


def _both(lm: LM, prompt: str, options: dict[str, Any]) -> tuple[Figures, Figures]:
    """The figures of the last generation, and those of the same by the autoregressive decoder."""
    from ...decode import Way

    mine = lm.figures
    for _ in lm.stream(prompt, **{**options, "way": Way(decoder="autoregressive")}):
        pass
    plain, lm.figures = lm.figures, mine
    return mine, plain


def _facts(figures: Figures) -> dict[str, Any]:
    return {
        "num_tokens": figures.num_tokens,
        "num_passes": figures.num_passes,
        "tokens_per_pass": figures.tokens_per_pass,
        "acceptance": figures.acceptance,
        "seconds": figures.seconds,
    }


def _drafter(lm: LM, arguments: argparse.Namespace) -> Drafter:
    """The draft model. Raises CutawayError where none is named, and for one of other tokens."""
    from ...decode import Drafter
    from ...lm import load

    if arguments.draft_model is None:
        raise CutawayError(
            "--decoder draft needs a draft model. Name one that is smaller and has the same tokenizer: --draft-model MODEL"
        )
    return Drafter.of(load(arguments.draft_model, device=arguments.device), lm)


def _drafting(lm: LM, prompts: Sequence[str], way: Way, name: DecoderName, arguments: argparse.Namespace) -> Way:
    """A way that drafts, and how far ahead: as many tokens as the option says, or as was fastest."""
    from ...decode import Drafting, Lookup, Way, fastest
    from ...decode.rounds import num_drafts_of
    from .shared import sampling_of

    wanted = "auto" if arguments.drafts is None else arguments.drafts
    way = replace(way, decoder=name)
    if wanted == "auto" and not arguments.two_passes:
        return fastest(lm.model, lm.ids(prompts[0]), sampling_of(arguments), way)
    if wanted != "auto" and not wanted.isdecimal():
        raise CutawayError(f"--drafts is '{wanted}'. Give a number of tokens, or auto.")
    if name == "lookup":
        return replace(way, looking=Lookup(num_drafts=int(wanted)))
    if way.drafter is not None:
        return replace(way, drafter=replace(way.drafter, num_drafts=int(wanted)))
    passes = "two" if arguments.two_passes else "one"
    plan = Drafting(num_drafts=None if wanted == "auto" else int(wanted), passes=passes)  # type: ignore[arg-type]
    return Way(decoder="hybrid", drafting=replace(plan, num_drafts=num_drafts_of(lm.config, plan)))


def _places(lm: LM, prompts: Sequence[str], part: str) -> tuple[int, ...]:
    """The tokens of the prompt that the part lies in; the holes in it are filled anyway."""
    if len(prompts) != 1 or not part or part not in prompts[0]:
        raise CutawayError(
            f"--rewrite is {part!r}, which does not stand in the prompt. Copy the words as they stand there."
        )
    prompt, mask = prompts[0], lm.config.tokens.mask
    assert mask is not None, "a model that rewrites fills holes"
    hole, start, found = lm.tokenizer.spelling(mask), prompt.index(part), list[int]()
    place, begin = len(lm.tokenizer.frame[0]), 0
    for text in prompt.split(hole):
        spans = lm.tokenizer.encoding(text).offsets
        found += [
            place + number
            for number, (first, end) in enumerate(spans)
            if begin + first < start + len(part) and begin + end > start
        ]
        place, begin = place + len(spans) + 1, begin + len(text) + len(hole)
    return tuple(found)
