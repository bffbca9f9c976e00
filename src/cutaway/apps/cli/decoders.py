"""The options of `cutaway generate` that say by which decoder. In: a parser, a model, prompts. Out: a `Way`, and its figures."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...errors import CutawayError

if TYPE_CHECKING:
    from ...decode import Denoising, Drafting, Figures, Way
    from ...lm import LM

OPTIONS = {
    "diffusion": ("--order", "--passes", "--threshold", "--window", "--rewrite"),
    "hybrid": ("--drafts", "--two-passes"),
}


def add_way(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    group = parser.add_argument_group("decoder")
    group.add_argument(
        "--decoder",
        metavar="NAME",
        help="autoregressive, diffusion or hybrid; left out, the one that the model was trained for",
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
        "--drafts", metavar="K", help="hybrid: guess K tokens ahead (default auto: what is fastest here, measured)"
    )
    group.add_argument(
        "--two-passes", action="store_true", help="hybrid: one pass to draft and one to verify, instead of both in one"
    )


def way_of(lm: LM, prompts: Sequence[str], arguments: argparse.Namespace) -> Way:
    """What the options say. Raises CutawayError for options of another decoder than the one that is used."""
    from ...decode import Way
    from ...decode.denoise import check_model

    name = None if lm.config.decoder is None else Way(decoder=arguments.decoder).decoder_for(lm.config)
    for decoder, options in OPTIONS.items():
        given = [option for option in options if getattr(arguments, _field(option)) not in (None, False)]
        if given and decoder != name:
            raise CutawayError(
                f"{' and '.join(given)} {'is' if len(given) == 1 else 'are'} for the {decoder} decoder, and '{lm.name}', which "
                f"was trained to {lm.config.taught}, decodes by {name or 'none'}. "
                f"Leave {'it' if len(given) == 1 else 'them'} out."
            )
    if name == "diffusion":
        check_model(lm.config)
    if name == "hybrid":
        return Way(decoder=name, drafting=_drafting(lm, prompts, arguments))
    rewritten = () if arguments.rewrite is None else _places(lm, prompts, arguments.rewrite)
    return Way(decoder=arguments.decoder, denoising=_denoising(arguments), rewritten=rewritten)


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
    """What the last generation cost, for JSON; of the hybrid decoder beside the autoregressive one."""
    way: Way = options["way"]
    if way.decoder_for(lm.config) != "hybrid":
        return {}
    mine, plain = _both(lm, prompt, options)
    drafting = way.drafting
    assert drafting is not None, "settled by way_of"
    return {
        "figures": _facts(mine) | {"num_drafts": drafting.num_drafts, "passes": drafting.passes},
        "autoregressive": _facts(plain),
    }


def beside_autoregressive(lm: LM, prompt: str, options: dict[str, Any]) -> str:
    """Passes, acceptance and time of the last generation, beside those of the autoregressive decoder."""
    mine, plain = _both(lm, prompt, options)
    stood = "no drafts" if mine.acceptance is None else f"{mine.acceptance:.0%} of drafts accepted"
    drafting = options["way"].drafting
    passes = "in one pass" if drafting.passes == "one" else "in two passes"
    return (
        f"{mine.num_tokens} tokens in {mine.num_passes} passes: {mine.tokens_per_pass:.2f} tokens a pass, {stood} "
        f"({drafting.num_drafts} ahead, drafted and verified {passes}), {mine.seconds:.2f} s.\n"
        f"Autoregressive: {plain.num_tokens} tokens in {plain.num_passes} passes, {plain.seconds:.2f} s. "
        f"The hybrid decoder took {mine.seconds / plain.seconds:.2f} of its time."
    )


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


def _drafting(lm: LM, prompts: Sequence[str], arguments: argparse.Namespace) -> Drafting:
    from ...decode import Drafting, fastest_drafting
    from .shared import sampling_of

    wanted = "auto" if arguments.drafts is None else arguments.drafts
    if wanted == "auto" and not arguments.two_passes:
        ids = lm.ids(prompts[0])
        return fastest_drafting(lm.model, ids, sampling_of(arguments))
    if wanted != "auto" and not wanted.isdecimal():
        raise CutawayError(f"--drafts is '{wanted}'. Give a number of tokens, or auto.")
    number = None if wanted == "auto" else int(wanted)
    from ...decode.rounds import num_drafts_of

    passes = "two" if arguments.two_passes else "one"
    plan = Drafting(num_drafts=number, passes=passes)  # type: ignore[arg-type]
    return Drafting(num_drafts=num_drafts_of(lm.config, plan), passes=plan.passes)


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
