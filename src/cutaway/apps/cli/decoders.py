"""The options of `cutaway generate` that say by which decoder. In: a parser, a model, prompts. Out: a `Way`, and its figures."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...errors import CutawayError

if TYPE_CHECKING:
    from ...decode import Drafting, Figures, Way
    from ...lm import LM


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
    from ...decode import Denoising, Way

    given: dict[str, Any] = {name: getattr(arguments, name) for name in ("order", "passes", "threshold", "window")}
    denoising = None
    if any(value is not None for value in given.values()):
        order: Any = given["order"] or ("threshold" if given["threshold"] is not None else "confidence")
        if given["threshold"] is not None and order != "threshold":
            raise CutawayError(
                f"--threshold is for the order threshold, and --order is {order}. Leave one of them out."
            )
        threshold = 0.9 if given["threshold"] is None else given["threshold"]
        denoising = Denoising(order=order, num_passes=given["passes"], threshold=threshold, window=given["window"])
    rewritten = () if arguments.rewrite is None else _places(lm, prompts, arguments.rewrite)
    way = Way(decoder=arguments.decoder, denoising=denoising, rewritten=rewritten)
    name = None if lm.config.decoder is None else way.decoder_for(lm.config)
    if name == "hybrid":
        return Way(decoder=name, denoising=denoising, rewritten=rewritten, drafting=_drafting(lm, prompts, arguments))
    if arguments.drafts is not None or arguments.two_passes:
        raise CutawayError(
            f"--drafts and --two-passes are for the hybrid decoder, and '{lm.name}' decodes by {name or 'none'}. Leave them out."
        )
    return way


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
    if wanted != "auto" and not wanted.isdigit():
        raise CutawayError(f"--drafts is '{wanted}'. Give a number of tokens, or auto.")
    number = None if wanted == "auto" else int(wanted)
    from ...decode.rounds import num_drafts_of

    passes = "two" if arguments.two_passes else "one"
    plan = Drafting(num_drafts=number, passes=passes)  # type: ignore[arg-type]
    return Drafting(num_drafts=num_drafts_of(lm.config, plan), passes=plan.passes)


def _places(lm: LM, prompts: Sequence[str], part: str) -> tuple[int, ...]:
    """The tokens of the prompt that the part lies in."""
    if len(prompts) != 1 or not part or part not in prompts[0]:
        raise CutawayError(
            f"--rewrite is {part!r}, which does not stand in the prompt. Copy the words as they stand there."
        )
    start = prompts[0].index(part)
    spans = lm.tokenizer.encoding(prompts[0]).offsets
    shift = len(lm.ids(prompts[0])) - len(spans)
    return tuple(place + shift for place, (first, end) in enumerate(spans) if first < start + len(part) and end > start)
