"""The command line. In: words. Out: a command's exit code: 0 done, 2 something to mend (one message), 130 interrupted.

Each command is a module with `add(commands)`, which declares it, and a function that runs it; torch is imported only there.
"""

from __future__ import annotations

import argparse
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
        return int(arguments.run(arguments) or 0)
    except CutawayError as error:
        print(f"cutaway {arguments.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0


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
