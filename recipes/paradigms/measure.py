"""Runs of different paradigms -> one table. In: run directories. Out: Markdown with likelihoods, speeds and samples; JSON.

Of each run: the held-out loss, exact or a bound with its standard error; then, for each decoder that fits it, how many tokens
come of a pass, how fast they come alone on this machine, and how many bytes a pass moves for each (`cutaway.cost`). Runs of one
recipe are given as mean ± standard error over seeds.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from cutaway.cost import bytes_per_pass, num_parameters
from cutaway.data import Source, read_documents
from cutaway.decode import Decoder, Denoising, Drafting, Figures, Sampling, Session, Step, Way, natural, replay, run
from cutaway.errors import CutawayError
from cutaway.lm import LM, load
from cutaway.train.display import clock
from cutaway.train.seeds import Mean, SeedGroup, group_by_seed, mean_of
from cutaway.train.summary import RunSummary, run_events, summarise

HERE = Path(__file__).parent
PROMPT_TOKENS = 16
GREEDY = Sampling(temperature=0)


class Decoding(NamedTuple):
    """A decoder with its settings, by name. samples: whether the sample is made so."""

    name: str
    way: Way
    samples: bool = True


class Row(NamedTuple):
    """One run decoded in one way, greedily. tokens_per_second: of one text alone. bytes_per_token: moved, weights and keys and
    values in fp32."""

    run: str
    recipe: str
    objective: str
    decoder: str
    parameters: int
    tokens_per_pass: float
    tokens_per_second: float
    bytes_per_token: float
    sample: str


def main(words: Sequence[str] | None = None) -> int:
    """Measure every run, write the JSON, print the table and the samples."""
    arguments = parse(words)
    try:
        summaries = [summarise(run, run_events(run)) for run in arguments.runs]
        groups = group_by_seed(arguments.runs, summaries)
        rows = []
        for place, summary in zip(arguments.runs, summaries, strict=True):
            print(f"{place}: {summary.objective}", file=sys.stderr, flush=True)
            rows += list(measured(load(place), place, summary, arguments))
        found = {
            "runs": [{"path": str(run), **asdict(each)} for run, each in zip(arguments.runs, summaries, strict=True)],
            "groups": [asdict(group) for group in groups],
            "decoded": [row._asdict() for row in rows],
        }
        arguments.out.write_text(json.dumps(found, indent=1, ensure_ascii=False), "utf-8")
    except (CutawayError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(likelihoods(groups))
    print(f"\n{speeds(groups, rows)}\n")
    print("\n".join(f"- {row.run}, {row.decoder}: {row.sample!r}" for row in rows if row.sample))
    return 0


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description="Set runs of the recipes in this folder side by side.")
    parser.add_argument("runs", type=Path, nargs="+", help="the directories of finished runs")
    parser.add_argument("--out", type=Path, default=Path("paradigms.json"), help="where the JSON goes")
    parser.add_argument(
        "--texts", type=Path, default=HERE.parent / "stories" / "data" / "children.heldout.jsonl",
        help="whose beginnings are continued",
    )  # fmt: skip
    parser.add_argument("--prompt", default="Once upon a time", help="what the samples begin with")
    for name, number, what in (("num-texts", 8, "beginnings"), ("max-tokens", 96, "tokens to each, and to the sample")):
        parser.add_argument(f"--{name}", type=int, default=number, help=f"{what} (default {number})")
    arguments = parser.parse_args(words)
    for name in ("num_texts", "max_tokens"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name.replace('_', '-')} is {getattr(arguments, name)}. It must be at least 1.")
    return arguments


def measured(lm: LM, place: Path, summary: RunSummary, arguments: argparse.Namespace) -> Iterator[Row]:
    """The rows of one run. Raises CutawayError where texts or model do not fit what was asked for."""
    texts = read_documents(Source(files=str(arguments.texts.resolve())))
    prompts = [lm.ids(text)[:PROMPT_TOKENS] for text, _ in zip(texts, range(arguments.num_texts), strict=False)]
    for decoding in decodings(lm):
        tokens, passes, seconds, moved = 0, 0, 0.0, 0.0
        for number, ids in enumerate(prompts):
            figures = Figures()
            steps: list[tuple[int, int]] = []
            decoder = counted(decode(lm, ids, decoding.way, GREEDY, arguments.max_tokens, number), steps)
            for _ in run(decoder, figures):
                pass
            moved += sum(bytes_per_pass(lm.config, num_read, num_kept) for num_read, num_kept in steps)
            tokens, passes, seconds = (
                tokens + figures.num_tokens,
                passes + figures.num_passes,
                seconds + figures.seconds,
            )
        yield Row(
            run=place.name,
            recipe=summary.name,
            objective=summary.objective,
            decoder=decoding.name,
            parameters=num_parameters(lm.config),
            tokens_per_pass=tokens / passes,
            tokens_per_second=tokens / seconds,
            bytes_per_token=moved / tokens,
            sample=sample(lm, arguments.prompt, decoding.way, arguments.max_tokens) if decoding.samples else "",
        )


def decodings(lm: LM) -> list[Decoding]:
    """The decoders that fit a model. Those of diffusion: one token a pass in random order, and all that are likely enough."""
    alone = Way(decoder="autoregressive")
    if not lm.config.says_masked:
        return [Decoding("autoregressive", alone)]
    if lm.config.says_next:
        one, two = Way(drafting=Drafting(passes="one")), Way(drafting=Drafting(passes="two"))
        return [
            Decoding("autoregressive", alone, samples=False),
            Decoding("hybrid, one pass a round", one),
            Decoding("hybrid, two passes a round", two),
        ]
    return [
        Decoding("diffusion, one token a pass", Way(denoising=Denoising(order="first_hitting"))),
        Decoding("diffusion, threshold 0.9", Way(denoising=Denoising(order="threshold"))),
    ]


def decode(lm: LM, ids: Sequence[int], way: Way, sampling: Sampling, max_tokens: int, request: int = 0) -> Decoder:
    """A decoder of one text, which goes on to max_tokens whatever it says."""
    return natural(Session(lm.model), ids, sampling, max_tokens=max_tokens, way=way, eos_ids=(), request=request)


def counted(decoder: Decoder, steps: list[tuple[int, int]]) -> Decoder:
    """The same decoder; of each step, how many tokens it reads and how many the session holds before are added to `steps`."""
    answer = None
    while True:
        try:
            wish = decoder.send(answer)
        except StopIteration:
            return
        steps += [
            (len(step.ids), step.session.length)
            for step in (wish if isinstance(wish, list) else [wish])
            if isinstance(step, Step)
        ]
        answer = yield wish


def sample(lm: LM, prompt: str, way: Way, max_tokens: int) -> str:
    """What the model makes of a prompt at temperature 0.8."""
    sampling = Sampling(temperature=0.8, seed=1)
    found = replay(run(decode(lm, lm.ids(prompt), way, sampling, max_tokens)))
    return prompt + lm.tokenizer.decode([found[place] for place in sorted(found)], skip_special=True)


def likelihoods(groups: Sequence[SeedGroup]) -> str:
    """How well each recipe predicts what was held out, as Markdown."""
    head = [
        "recipe",
        "objective",
        "seeds",
        "parameters",
        "tokens read",
        "loss, nats a token",
        "bits per byte",
        "",
        "time",
    ]
    lines = [f"| {' | '.join(head)} |", "|---|---|--:|--:|--:|--:|--:|---|--:|"]
    for group in groups:
        first, figures = group.first, group.figures
        seconds = figures["seconds"]
        cells = [
            group.name,
            first.objective,
            str(len(group.seeds)),
            f"{first.parameters:,}",
            f"{first.tokens:,}",
            spread(figures["held_out_loss"], ".4f"),
            spread(figures["bits_per_byte"], ".4f"),
            first.estimate,
            "–" if seconds is None else clock(seconds.value),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def speeds(groups: Sequence[SeedGroup], rows: Sequence[Row]) -> str:
    """How each recipe decodes, as Markdown."""
    lines = [
        "| recipe | decoder | tokens per pass | tokens a second | megabytes moved a token |", "|---|---|--:|--:|--:|"
    ]  # fmt: skip
    for group in groups:
        names = {Path(run).name for run in group.runs}
        own = [row for row in rows if row.run in names and row.recipe == group.name]
        for decoder in dict.fromkeys(row.decoder for row in own):
            same = [row for row in own if row.decoder == decoder]
            cells = [
                group.name,
                decoder,
                spread(mean_of([row.tokens_per_pass for row in same]), ".2f"),
                spread(mean_of([row.tokens_per_second for row in same]), ".0f"),
                spread(mean_of([row.bytes_per_token / 1e6 for row in same]), ".2f"),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(mean: Mean | None, form: str) -> str:
    """A mean and its standard error."""
    if mean is None:
        return "–"
    return format(mean.value, form) + ("" if mean.standard_error is None else f" ± {mean.standard_error:{form}}")


if __name__ == "__main__":
    sys.exit(main())
