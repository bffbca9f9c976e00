"""What `stories` would say, to learn drafts from. In: openings of stories to train on. Out: told.jsonl, one {"text": …} a line.

    python recipes/stories-hybrid/tell.py --out recipes/stories-hybrid/data

A draft stands when it is what the autoregressive half says, not what some book says: so a part of the text to learn from is its
own, greedy and at a low temperature, from the first tokens of stories that it was trained on (sequence-level distillation, Kim &
Rush 2016).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cutaway
from cutaway.data import Source, read_documents
from cutaway.decode import Sampling
from cutaway.lm import LM

STORIES = Path(__file__).parents[1] / "stories" / "data" / "stories.jsonl"
LENGTHS = (4, 8, 16, 32)  # tokens of an opening, in turns
TEMPERATURES = (0.0, 0.0, 0.7)  # in turns
BATCH = 48


def main() -> None:
    """Tell as many stories as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="stories", help="who tells them")
    parser.add_argument("--stories", type=int, default=5_760, help="how many")
    parser.add_argument("--max-tokens", type=int, default=160, help="tokens of each, behind its opening")
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    arguments = parser.parse_args()
    lm = cutaway.load(arguments.model)
    arguments.out.mkdir(parents=True, exist_ok=True)
    target, partial = arguments.out / "told.jsonl", arguments.out / "told.jsonl.partial"
    with partial.open("w", encoding="utf-8") as file:
        for number, text in enumerate(told(lm, arguments.stories, arguments.max_tokens), start=1):
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
            if number % (10 * BATCH) == 0:
                print(f"{number:,} of {arguments.stories:,} stories", file=sys.stderr, flush=True)
    partial.rename(target)
    print(f"{target}: {target.stat().st_size:,} bytes")


def told(lm: LM, num_stories: int, max_tokens: int) -> Iterator[str]:
    """Stories in the model's words, each with its opening."""
    found = openings(lm, num_stories)
    for index, batch in enumerate(iter(lambda: list(islice(found, BATCH)), [])):
        sampling = Sampling(temperature=TEMPERATURES[index % len(TEMPERATURES)], seed=index)
        texts = lm.generate_batch(batch, max_tokens=max_tokens, sampling=sampling)
        yield from (lm.tokenizer.decode(ids) + text for ids, text in zip(batch, texts, strict=True))


def openings(lm: LM, number: int) -> Iterator[list[int]]:
    """The first tokens of stories, spread over the file, every story once."""
    documents = list(read_documents(Source(files=str(STORIES))))
    stride = max(1, len(documents) // number)
    for index, text in enumerate(islice(documents, 0, number * stride, stride)):
        yield lm.ids(text)[: LENGTHS[index % len(LENGTHS)]]


if __name__ == "__main__":
    main()
