"""`cutaway lessons`: questions about transformers. In: a lesson's name and settings. Out: the lesson, run now on a model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ...errors import CutawayError
from .inspect import plain_console, write
from .shared import MODEL_HELP, command, print_json


def add(commands: Any) -> None:
    """Declare the command."""
    example = "cutaway lessons order positions=on sight=before"
    parser = command(commands, "lessons", "questions about transformers, each answered by an experiment", example)
    parser.add_argument("name", metavar="NAME", nargs="?", help="the lesson; left out: all are listed")
    parser.add_argument("settings", metavar="SETTING=VALUE", nargs="*", help="what to change in its experiment")
    model_help = f"{MODEL_HELP}; left out: what the lesson was written for"
    parser.add_argument("--model", metavar="MODEL", help=model_help)
    parser.add_argument("--json", action="store_true", help="the lesson, or the list, as JSON")
    parser.add_argument("--html", metavar="FILE", help="write what is printed as a page, and print its name")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """List the lessons, or read one."""
    from ...lessons import entry, read
    from ...lm import load

    if arguments.name is None:
        return _list(arguments)
    found = entry(arguments.name)  # a wrong name is said before a model is opened
    given = dict(_setting(word) for word in arguments.settings)
    lesson = read(found.name, load(arguments.model or found.model), given)
    if arguments.html:
        from ..lessons.page import page

        write(Path(arguments.html), page(lesson))
    if arguments.json:
        print_json(lesson.as_dict())
    elif arguments.html:
        print(f"Wrote {arguments.html}. Open it in a browser; it needs no network.")
    else:
        from ..lessons.terminal import show_lesson

        show_lesson(lesson, plain_console())
    return 0


def _list(arguments: argparse.Namespace) -> int:
    """All lessons; where a model is named, with why it does not suit some of them."""
    from ...lessons import entries, refusal
    from ...lm import load

    if arguments.html:
        raise CutawayError("--html writes one lesson. Name it: `cutaway lessons` lists them.")
    lm = None if arguments.model is None else load(arguments.model)
    refusals = {} if lm is None else {each.name: refusal(each.name, lm) for each in entries()}
    if arguments.json:
        known = ({"name": each.name, "title": each.title, "line": each.line} for each in entries())
        print_json([each if lm is None else each | {"refusal": refusals[each["name"]]} for each in known])
        return 0
    from ..lessons.terminal import show_list

    show_list(entries(), plain_console(), refusals, arguments.model)
    return 0


def _setting(word: str) -> tuple[str, str]:
    name, sign, value = word.partition("=")
    if not sign or not name:
        raise CutawayError(f"'{word:.40}' is no setting. Write its name and its value: positions=on.")
    return name, value
