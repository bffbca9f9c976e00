"""How much drafts from elsewhere gain. In: `stories`, a draft model, held-out stories. Out: tokens a pass, acceptance, time.

    python recipes/stories/speculate.py runs/stories-draft [--json FILE]

The first words of a story never trained on are continued, and, for lookup, also behind the story itself. Greedy texts, and texts
drawn and looked up, are checked against the autoregressive ones, token for token. Times are of whole generations, prompt
included, the decoders taking turns; the ratio is to the autoregressive decoder of the same model, which runs by the same kernels.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # of timed.py

import cutaway
from cutaway.decode import Drafter, Lookup, Sampling, Way
from cutaway.lm import LM
from timed import decoded, held_out_stories

NUM_PROMPTS, PROMPT_TOKENS, STORY_TOKENS, MAX_TOKENS = 10, 8, 120, 100
GREEDY, DRAWN = Sampling(temperature=0), Sampling(temperature=0.8, top_p=0.95)


@dataclass(frozen=True)
class Row:
    """One way to decode, over all prompts. ratio: its time over the autoregressive decoder's, the median over prompts."""

    decoder: str
    prompt: str
    sampling: str
    drafts: int
    tokens_per_pass: float
    acceptance: float | None
    ratio: float


def main() -> None:
    """Measure the draft model that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("draft_model", help="a run directory or the name of a model")
    parser.add_argument("--json", type=Path, help="write everything there")
    arguments = parser.parse_args()
    lm, small = cutaway.load("stories"), cutaway.load(arguments.draft_model)
    found = list(rows(lm, small))
    print("\n".join(table(found)))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in found], indent=1) + "\n", "utf-8")


def rows(lm: LM, small: LM, *, num_prompts: int = NUM_PROMPTS, max_tokens: int = MAX_TOKENS) -> Iterator[Row]:
    """A row for each decoder, prompt, sampling and number of drafts."""
    stories = [lm.ids(text)[:STORY_TOKENS] for text in islice(held_out_stories(), num_prompts)]
    first = [ids[:PROMPT_TOKENS] for ids in stories]
    again = [[*ids, *ids[:PROMPT_TOKENS]] for ids in stories]
    drafter = Drafter.of(small, lm)
    for drafts in (4, 8):
        for name, prompts in (("first words", first), ("story, and its first words again", again)):
            for sampling in (GREEDY, DRAWN):
                way = Way(decoder="lookup", looking=Lookup(num_drafts=drafts))
                yield _row(lm, prompts, name, way, drafts, sampling, max_tokens)
    for drafts in (1, 2, 4):
        for sampling in (GREEDY, DRAWN):
            way = Way(decoder="draft", drafter=replace(drafter, num_drafts=drafts))
            yield _row(lm, first, "first words", way, drafts, sampling, max_tokens)


def table(found: Sequence[Row]) -> list[str]:
    """As Markdown."""
    lines = [
        "| decoder | prompt | text | drafts | tokens a pass | accepted | time, autoregressive = 1 |",
        "|---|---|---|--:|--:|--:|--:|",
    ]
    for row in found:
        stood = "–" if row.acceptance is None else f"{row.acceptance:.0%}"
        lines.append(
            f"| {row.decoder} | {row.prompt} | {row.sampling} | {row.drafts} | {row.tokens_per_pass:.2f} | {stood} | "
            f"{row.ratio:.2f} |"
        )
    return lines


def _row(
    lm: LM, prompts: Sequence[Sequence[int]], name: str, way: Way, drafts: int, sampling: Sampling, max_tokens: int
) -> Row:
    tokens = passes = drafted = accepted = 0
    ratios = []
    for prompt in prompts:
        plain, plain_seconds = decoded(lm, prompt, Way(decoder="autoregressive"), sampling, max_tokens)
        mine, seconds = decoded(lm, prompt, way, sampling, max_tokens)
        assert mine == plain or (way.decoder == "draft" and not sampling.is_greedy), "the autoregressive text"
        figures = lm.figures
        tokens, passes = tokens + figures.num_tokens, passes + figures.num_passes
        drafted, accepted = drafted + figures.num_drafted, accepted + figures.num_accepted
        ratios.append((seconds / len(mine)) / (plain_seconds / len(plain)))
    acceptance = accepted / drafted if drafted else None
    how = "greedy" if sampling.is_greedy else "drawn"
    return Row(str(way.decoder), name, how, drafts, tokens / passes, acceptance, statistics.median(ratios))


if __name__ == "__main__":
    main()
