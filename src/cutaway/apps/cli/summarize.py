"""`cutaway summarize`: a file or standard input. In: a model and a document. Out: its summary, and where it was cut."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...errors import CutawayError
from .shared import command, counting, print_json, text_of

if TYPE_CHECKING:
    from ...lm import LM
    from ...tasks.summarise import Settings, Summary

MODEL = "a checkpoint or run directory, or a .gguf file, that was trained on summaries; none is bundled"
NO_MODEL = (
    "No summariser comes with Cutaway. Name a model that was trained on summaries: cutaway summarize MODEL FILE. "
    "The recipes in recipes/scitldr train a small one."
)
SHOWN = 70  # characters of the beginning and the end of a chunk


def add(commands: Any) -> None:
    """Declare the command."""
    example = (
        "cutaway summarize my-model article.txt\n  cutaway summarize my-model book.txt --strategy again --show-chunks\n"
        "  cat article.txt | cutaway summarize my-model --json"
    )
    parser = command(commands, "summarize", "summarise a document of any length", example)
    parser.add_argument(
        "words", metavar="MODEL [FILE]", nargs="*", help=f"MODEL: {MODEL}; without a FILE, or with -, standard input"
    )
    parser.add_argument("--prefix", metavar="TEXT", help="what stands before each chunk (default: as the model says)")
    parser.add_argument(
        "--show-chunks", action="store_true", help="print where the document was cut, and what each gave"
    )
    parser.add_argument("--json", action="store_true", help="print {summary, chunks, num_rounds, num_unread} instead")
    _add_chunks(parser)
    _add_beam(parser)
    parser.set_defaults(run=run)


def _add_chunks(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("a document that is longer than what the model reads at once")
    group.add_argument("--chunk", type=int, metavar="N", help="tokens read at once (default: as many as the model can)")
    group.add_argument(
        "--overlap", type=int, default=0, metavar="N", help="at most N tokens stand in two chunks (default 0)"
    )
    group.add_argument(
        "--strategy",
        default="join",
        metavar="S",
        help="join: the summaries one after another (default); again: summarise them too; first: read the first chunk alone",
    )


def _add_beam(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how a summary is searched (default: as the model says)")
    group.add_argument("--beams", type=int, metavar="N", help="texts searched at once; 1 is greedy")
    group.add_argument("--min-tokens", type=int, metavar="N", help="at least N tokens for each chunk")
    group.add_argument("--max-tokens", type=int, metavar="N", help="at most N tokens for each chunk")
    group.add_argument("--length-penalty", type=float, metavar="P", help="above 1 longer, below 1 shorter")
    group.add_argument("--no-repeat", type=int, metavar="N", help="no sequence of N tokens comes twice; 0 allows it")
    group.add_argument("--batch-size", type=int, default=16, metavar="N", help="chunks decoded together (default 16)")


def run(arguments: argparse.Namespace) -> int:
    """Summarise, with a bar on the terminal where there are several chunks."""
    from ...lm import load
    from ...tasks.summarise import summarise

    name, file = _words(arguments.words)
    document = text_of(file)
    lm = load(name)
    settings = _settings(lm, arguments)
    with counting(1, "chunks") as show:
        found = summarise(lm, document, settings, batch_size=arguments.batch_size, progress=show)
    if arguments.json:
        print_json(_as_json(found))
        return 0
    if arguments.show_chunks:
        _show_chunks(found)
    print(found.text)
    if found.num_unread:
        print(f"\nThe last {found.num_unread:,} characters were not read: --strategy first.", file=sys.stderr)
    return 0


def _words(words: list[str]) -> tuple[str, str | None]:
    """The model and the file; a single word that is a file, and no .gguf file, is no model."""
    if len(words) > 2:
        raise CutawayError(f"There are {len(words)} words: {', '.join(words)}. Give a model and a file.")
    if not words or (len(words) == 1 and os.path.isfile(words[0]) and not words[0].endswith(".gguf")):
        raise CutawayError(NO_MODEL)
    return words[0], words[1] if len(words) == 2 and words[1] != "-" else None


def _settings(lm: LM, arguments: argparse.Namespace) -> Settings:
    """What the model says, with what the options say in its place."""
    from ...tasks.summarise import settings_of

    settings = settings_of(lm)
    rules = replace(settings.beam.constraints, **_given(arguments, min_tokens="min_tokens"))
    if arguments.no_repeat is not None:
        rules = replace(rules, no_repeat=arguments.no_repeat or None)
    beam = replace(
        settings.beam, constraints=rules, **_given(arguments, beams="num_beams", length_penalty="length_penalty")
    )
    changes = _given(arguments, chunk="chunk", max_tokens="max_tokens", prefix="prefix")
    return replace(settings, beam=beam, overlap=arguments.overlap, strategy=arguments.strategy, **changes)


def _given(arguments: argparse.Namespace, **names: str) -> dict[str, Any]:
    """The options that were given, under our names."""
    return {ours: value for theirs, ours in names.items() if (value := getattr(arguments, theirs)) is not None}


def _as_json(found: Summary) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "summary": found.text,
        "chunks": [asdict(part) for part in found.parts],
        "num_rounds": len(found.rounds),
        "num_unread": found.num_unread,
    }


def _show_chunks(found: Summary) -> None:
    from ...tasks.show import sayable

    for number, each in enumerate(found.rounds, start=1):
        if len(found.rounds) > 1:
            print(f"Round {number}: {'the document' if number == 1 else 'its summaries'}\n")
        for index, part in enumerate(each.parts, start=1):
            size = f"characters {part.start:,} to {part.end:,}, {part.num_tokens:,} tokens"
            print(f"Chunk {index} of {len(each.parts)}: {size}")
            said = " ".join(part.summary.split())
            print(f"  {sayable(_shortened(each.text[part.start : part.end]))}\n  → {said}\n")


def _shortened(text: str) -> str:
    """The beginning and the end of a chunk, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= 2 * SHOWN else f"{line[:SHOWN].rstrip()} … {line[-SHOWN:].lstrip()}"
