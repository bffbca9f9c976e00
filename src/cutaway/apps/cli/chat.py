"""`cutaway chat`: a conversation. In: a model, and lines from a person or a pipe. Out: replies, as they are written."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import CutawayError
from .shared import MODEL_HELP, add_bits, add_machine, add_sampling, command, open_lm, sampling_of, use_machine

if TYPE_CHECKING:
    from ..chat.screen import Screen


def add(commands: Any) -> None:
    """Declare the command."""
    example = 'cutaway chat my-model --system "Be brief."\n  echo "Who are you?" | cutaway chat my-model --json'
    parser = command(commands, "chat", "hold a conversation; /help inside lists what can be typed", example)
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", help=f"{MODEL_HELP} (default: the bundled one for conversations)"
    )
    parser.add_argument("--system", metavar="TEXT", help="what the model is told before all else")
    parser.add_argument("--load", metavar="FILE", help="go on with a conversation that was saved")
    parser.add_argument("--max-tokens", type=int, default=512, metavar="N", help="at most N a reply (default 512)")
    parser.add_argument(
        "--json", action="store_true", help="print {text, token_ids, num_left_out} for each reply, one a line"
    )
    add_bits(parser)
    add_sampling(parser)
    add_machine(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Talk until the input ends."""
    from ...tasks.conversation import Conversation
    from ..chat.commands import hold
    from ..chat.talk import Talk, opening

    use_machine(arguments)
    conversation = Conversation() if arguments.load is None else Conversation.load(arguments.load)
    if arguments.system is not None:
        conversation = replace(conversation, system=arguments.system or None)
    sampling = sampling_of(arguments)
    lm = open_lm(arguments, arguments.model or bundled())
    screen = _screen(lm.name, arguments.json)
    talk = Talk(lm, screen, conversation, sampling=sampling, max_tokens=arguments.max_tokens)
    screen.aside(opening(lm, conversation))
    hold(talk)
    return 0


def bundled() -> str:
    """The bundled model that has a chat template. Raises CutawayError where none has."""
    from ...finding import bundled_models
    from ...text.chat import TEMPLATE_FILE

    found = [name for name, place in bundled_models().items() if (place / TEMPLATE_FILE).is_file()]
    if not found:
        raise CutawayError("No bundled model was trained on conversations. Name one that was: cutaway chat MODEL")
    return found[0]


def _screen(name: str, as_json: bool) -> Screen:
    from ..chat.screen import JsonLines, Pipe, Terminal
    from .inspect import plain_console

    if as_json:
        return JsonLines()
    return Terminal(plain_console(), Path(name).name) if sys.stdin.isatty() and sys.stdout.isatty() else Pipe()
