"""The command line. In: words. Out: a command's exit code: 0 done, 2 something to mend (one message), 130 interrupted.

Each command is a module with `add(commands)`, which declares it, and a function that runs it; torch is imported only there.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from ... import __version__
from ...errors import CutawayError
from . import demo, evaluate, generate, inspect, train

COMMANDS = (generate, train, evaluate, inspect, demo)


def main(words: Sequence[str] | None = None) -> int:
    """Run a command. words: the arguments, those of the process if None. Returns the exit code."""
    parser = make_parser()
    arguments = parser.parse_args(words)
    if "run" not in arguments:
        parser.print_help()
        return 0
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


def make_parser() -> argparse.ArgumentParser:
    """The whole command line, declared."""
    parser = argparse.ArgumentParser(
        prog="cutaway",
        description="A transformer language model with the side panel off.",
        epilog='Start with:  cutaway generate stories "Once upon a time"',
    )
    parser.add_argument("--version", action="version", version=f"cutaway {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for module in COMMANDS:
        module.add(commands)
    return parser


def _refuse(command: str, message: str) -> int:
    print(f"cutaway {command}: {message}", file=sys.stderr)
    return 2
