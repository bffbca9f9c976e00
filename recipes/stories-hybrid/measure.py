"""How much the hybrid decoder gains. In: a hybrid model, held-out stories. Out: tokens per pass, acceptance, time, over drafts.

    python recipes/stories-hybrid/measure.py runs/stories-hybrid [--base stories] [--json FILE]

Greedy, from the first words of stories never trained on; every text is checked against the autoregressive one, token for token.
Times are of whole generations, prompt included, the decoders taking turns. They are compared with the autoregressive decoder of
the same model twice: as it comes, when each token is one native call that was recorded once, as passes of drafts are, and by
readable passes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # of timed.py

import cutaway
from cutaway.decode import Drafting, Sampling, Session, Way
from cutaway.decode.rounds import num_drafts_of
from cutaway.lm import LM
from cutaway.tasks.evaluate import evaluate
from timed import DATA, decoded, held_out_stories

NUM_PROMPTS, PROMPT_TOKENS, MAX_TOKENS = 20, 8, 100
GREEDY = Sampling(temperature=0)


@dataclass(frozen=True)
class Row:
    """One way to decode, over all prompts. to_plan, to_passes: its time over the autoregressive decoder's as it comes, and by
    readable passes, medians over prompts."""

    drafts: int
    passes: str
    tokens_per_pass: float
    acceptance: float | None
    to_plan: float
    to_passes: float


def main() -> None:
    """Measure the model that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a run directory or the name of a model")
    parser.add_argument("--base", default="stories", help="what it was trained on from, to compare losses with")
    parser.add_argument("--json", type=Path, help="write everything there")
    arguments = parser.parse_args()
    lm, base = cutaway.load(arguments.model), cutaway.load(arguments.base)
    rows, losses = list(decoders(lm)), held_out(lm, base)
    print("\n".join([*table(rows), "", *losses_table(losses)]))
    if arguments.json:
        facts = {"decoders": [asdict(row) for row in rows], "losses": losses}
        arguments.json.write_text(json.dumps(facts, indent=1) + "\n", "utf-8")


def decoders(lm: LM, *, num_prompts: int = NUM_PROMPTS, max_tokens: int = MAX_TOKENS) -> Iterator[Row]:
    """A row for each number of drafts and passes."""
    most = num_drafts_of(lm.config, Drafting())
    prompts = [lm.ids(text)[:PROMPT_TOKENS] for text in islice(held_out_stories(), num_prompts)]
    for passes in ("one", "two"):
        for drafts in sorted({1, 2, 4, most}):
            yield _row(lm, prompts, Drafting(num_drafts=drafts, passes=passes), max_tokens)


def held_out(lm: LM, base: LM) -> dict[str, dict[str, float]]:
    """Loss on each held-out text of the autoregressive half, and of the base."""
    found = {}
    for name in ("stories", "children", "classics"):
        file = DATA / f"{name}.heldout.jsonl"
        ours, theirs = evaluate(lm, file).loss, evaluate(base, file).loss
        found[name] = {"hybrid": ours, "base": theirs, "change": ours / theirs - 1}
    return found


def table(rows: Sequence[Row]) -> list[str]:
    """As Markdown."""
    lines = [
        "| drafts | passes a round | tokens per pass | accepted | time, autoregressive = 1 | by readable passes = 1 |",
        "|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        stood = "–" if row.acceptance is None else f"{row.acceptance:.0%}"
        times = f"{row.to_plan:.2f} | {row.to_passes:.2f}"
        lines.append(f"| {row.drafts} | {row.passes} | {row.tokens_per_pass:.2f} | {stood} | {times} |")
    return lines


def losses_table(losses: dict[str, dict[str, float]]) -> list[str]:
    """As Markdown."""
    lines = ["| held out | base, nats a token | hybrid | change |", "|---|--:|--:|--:|"]
    lines += [
        f"| {name} | {each['base']:.4f} | {each['hybrid']:.4f} | {each['change']:+.2%} |"
        for name, each in losses.items()
    ]
    return lines


def _row(lm: LM, prompts: Sequence[Sequence[int]], drafting: Drafting, max_tokens: int) -> Row:
    tokens = passes = drafted = accepted = 0
    ratios: list[tuple[float, float]] = []
    alone = Way(decoder="autoregressive")
    for prompt in prompts:
        plain, of_plan = decoded(lm, prompt, alone, GREEDY, max_tokens)
        _, of_passes = decoded(lm, prompt, alone, GREEDY, max_tokens, Session(lm.model, is_planned=False))
        mine, seconds = decoded(lm, prompt, Way(decoder="hybrid", drafting=drafting), GREEDY, max_tokens)
        assert mine == plain, "greedy, the hybrid text is the autoregressive text"
        figures = lm.figures
        tokens, passes = tokens + figures.num_tokens, passes + figures.num_passes
        drafted, accepted = drafted + figures.num_drafted, accepted + figures.num_accepted
        ratios.append((seconds / of_plan, seconds / of_passes))
    acceptance = accepted / drafted if drafted else None
    assert drafting.num_drafts is not None, "named by the caller"
    times = (statistics.median(each) for each in zip(*ratios, strict=True))
    return Row(drafting.num_drafts, drafting.passes, tokens / passes, acceptance, *times)


if __name__ == "__main__":
    main()
