"""The command line. In: words. Out: a command's exit code: 0 done, 2 something to mend (one message), 130 interrupted.

Each command is a module with `add(commands)`, which declares it, and a function that runs it; torch is imported only there.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

from ... import __version__
from ...errors import CutawayError
from ...runtime.memory import keep_freed_memory
from . import (
    answer,
    bench,
    chat,
    compare,
    convert,
    demo,
    evaluate,
    generate,
    inspect,
    lessons,
    open,
    summarize,
    train,
    translate,
)

COMMANDS = (
    generate,
    chat,
    translate,
    summarize,
    answer,
    train,
    evaluate,
    compare,
    inspect,
    open,
    lessons,
    convert,
    bench,
    demo,
)


def main(words: Sequence[str] | None = None) -> int:
    """Run a command. words: the arguments, those of the process if None. Returns the exit code."""
    parser, commands = make_parser()
    arguments = parse(parser, commands, sys.argv[1:] if words is None else words)
    if "run" not in arguments:
        parser.print_help()
        return 0
    keep_freed_memory()
    try:
        code = int(arguments.run(arguments) or 0)
        sys.stdout.flush()
        return code
    except CutawayError as error:
        return _refuse(arguments.command, str(error))
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader has left (`| head`). What is still buffered goes nowhere, or Python complains as it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        place = "" if error.filename is None else f"{error.filename}: "
        return _refuse(arguments.command, f"The system refused: {place}{error.strerror or error}.")


def make_parser() -> tuple[argparse.ArgumentParser, Mapping[str, argparse.ArgumentParser]]:
    """The whole command line, declared; and the parser of each command by name."""
    parser = argparse.ArgumentParser(
        prog="cutaway",
        usage="cutaway [-h] [--version] COMMAND ...",
        description="A transformer language model with the side panel off.",
        epilog='Start with:  cutaway generate stories "Once upon a time"',
    )
    parser.add_argument("--version", action="version", version=f"cutaway {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND ...", title="commands", prog="cutaway")
    for module in COMMANDS:
        module.add(commands)
    return parser, commands.choices


def parse(
    parser: argparse.ArgumentParser, commands: Mapping[str, argparse.ArgumentParser], words: Sequence[str]
) -> argparse.Namespace:
    """The options of a command may stand before, between and after its words, which argparse alone does not allow."""
    if not words or words[0] not in commands:
        return parser.parse_args(words)
    return commands[words[0]].parse_intermixed_args(words[1:], argparse.Namespace(command=words[0]))


def _refuse(command: str, message: str) -> int:
    print(f"cutaway {command}: {message}", file=sys.stderr)
    return 2
