"""`cutaway translate`: a text, a file or standard input. In: sentences, one a line. Out: their translations, in the same order.

With --out, what is finished is kept: the file grows as OUT.part, and the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import CutawayError
from .shared import MODEL_HELP, command, counting, print_json, text_of, words_of

if TYPE_CHECKING:
    from ...decode import Beam
    from ...lm import LM
    from ...tasks.translate import Translation

FILE_ENDINGS = (".txt", ".md", ".text", ".tsv", ".jsonl", ".xz", ".gz")


def add(commands: Any) -> None:
    """Declare the command."""
    example = (
        'cutaway translate my-model "Guten Morgen"\n  cutaway translate my-model sentences.txt --out translated.txt\n'
        "  cutaway translate my-model sentences.txt --beams 5 --num 3 --json"
    )
    parser = command(commands, "translate", "translate a text or a file, line by line", example)
    parser.add_argument(
        "words",
        metavar="[MODEL] [TEXT-OR-FILE]",
        nargs="*",
        help=f"MODEL: {MODEL_HELP} (default: the bundled translator); without a text or file, lines are read from standard input",
    )
    parser.add_argument("--out", metavar="FILE", help="write there; a job that was stopped goes on")
    parser.add_argument(
        "--beams", type=int, default=4, metavar="N", help="texts searched at once; 1 is greedy (default 4)"
    )
    parser.add_argument("--length-penalty", type=float, default=1.0, metavar="P", help="above 1 longer (default 1)")
    parser.add_argument("--no-repeat", type=int, metavar="N", help="no sequence of N tokens comes twice")
    parser.add_argument(
        "--num", type=int, default=1, metavar="N", help="the N best translations of each line (default 1)"
    )
    parser.add_argument("--align", action="store_true", help="show which source token each token looked at most")
    parser.add_argument(
        "--batch-size", type=int, default=256, metavar="N", help="beams decoded together, of all lines (default 256)"
    )
    parser.add_argument(
        "--json", action="store_true", help="print {source, text, score, others, alignment} for each line"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Translate, line by line."""
    from ...lm import load

    name, given = words_of(arguments.words)
    name = bundled() if name is None else name
    lines = _lines(given)
    lm = load(name)
    if arguments.out is not None:
        from ..translate import into_file

        into_file(lm, lines, Path(arguments.out), _beam(arguments), arguments.batch_size)
        return 0
    for translation in _translated(lm, lines, arguments):
        _print(lm, translation, arguments)
    return 0


def bundled() -> str:
    """The bundled model that has an encoder and a decoder. Raises CutawayError where none has."""
    from ...finding import bundled_models, read_config

    found = [name for name in bundled_models() if read_config(name).has_cross]
    if not found:
        raise CutawayError('No bundled model translates. Name one that does: cutaway translate MODEL "Guten Morgen"')
    return found[0]


def _translated(lm: LM, lines: list[str], arguments: argparse.Namespace) -> Any:
    from ...tasks.translate import translate_lines

    with counting(len(lines), "lines") as show:
        yield from translate_lines(
            lm, lines, beam=_beam(arguments), batch_size=arguments.batch_size, progress=show if len(lines) > 1 else None
        )


def _lines(given: str | None) -> list[str]:
    """The lines of a text, of a file where the text names one, or of standard input.

    Raises CutawayError as `text_of`, and for a word that ends as the name of a file does, where there is no such file.
    """
    is_text = given is not None and given != "-" and not os.path.isfile(os.path.expanduser(given))
    is_name = is_text and given is not None and " " not in given and given.lower().endswith(FILE_ENDINGS)
    return (given or "" if is_text and not is_name else text_of(given)).splitlines() or [""]


def _beam(arguments: argparse.Namespace) -> Beam:
    from ...decode import Beam, Constraints

    return Beam(
        num_beams=arguments.beams,
        num_return=arguments.num,
        length_penalty=arguments.length_penalty,
        constraints=Constraints() if arguments.no_repeat is None else Constraints(no_repeat=arguments.no_repeat),
    )


def _print(lm: LM, translation: Translation, arguments: argparse.Namespace) -> None:
    from ...tasks.translate import align

    alignment = align(lm, translation) if arguments.align and translation.ids else None
    if arguments.json:
        shown = {"source": translation.source, "text": translation.text, "score": translation.score}
        others = [{"text": text, "score": score} for text, score in translation.others]
        print_json({**shown, "others": others, "alignment": None if alignment is None else asdict(alignment)})
        return
    print(translation.text)
    for text, score in translation.others:
        print(f"  {score:8.4f}  {text}")
    if alignment is not None:
        width = max(map(len, alignment.target_tokens), default=0)
        for token, link in zip(alignment.target_tokens, alignment.links, strict=True):
            print(f"  {token:>{width}}  ← {alignment.source_tokens[link]}")
