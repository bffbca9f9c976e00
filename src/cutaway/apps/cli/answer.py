"""`cutaway answer`: a question about a text. In: a model, a text, a question. Out: the answer, its score, and where it stands."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ...errors import CutawayError
from .shared import command, print_json, text_of

if TYPE_CHECKING:
    from ...tasks.answer import Answers


def add(commands: Any) -> None:
    """Declare the command."""
    example = 'cutaway answer my-model --context report.txt "Who wrote the report?"'
    parser = command(commands, "answer", "answer a question about a text, and show where the answer stands", example)
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", help="a checkpoint or run directory, or a .gguf file; none is bundled"
    )
    parser.add_argument("question", metavar="QUESTION", help="what is asked")
    parser.add_argument(
        "--context", metavar="FILE", required=True, help="the text that may hold the answer; - reads stdin"
    )
    parser.add_argument("--num", type=int, default=1, metavar="N", help="the N best answers (default 1)")
    parser.add_argument("--max-tokens", type=int, default=30, metavar="N", help="at most N an answer (default 30)")
    parser.add_argument(
        "--prompt", metavar="TEXT", help="what a model that writes is given, with {question} and {context} in it"
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print {question, text, no_answer, answers: [{text, begin, end, score, probability, evidence}]}",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Answer as the options say."""
    if not arguments.question.strip():
        raise CutawayError('The question is empty. Ask something: cutaway answer MODEL --context FILE "Who …?"')
    if arguments.model is None:
        raise CutawayError(
            "No model that answers comes with Cutaway. Name one that marks or writes answers: cutaway answer MODEL "
            "--context FILE QUESTION. The recipes in recipes/squad-minilm and recipes/babi train small ones."
        )
    context = text_of(arguments.context)
    from ...lm import load
    from ...tasks.answer import Asking, answer

    asking = Asking(num=arguments.num, max_tokens=arguments.max_tokens, prompt=arguments.prompt)
    found = answer(load(arguments.model), arguments.question, context, asking)
    if arguments.json:
        print_json(as_json(found))
        return 0
    from ..inspect.answers import show
    from .inspect import plain_console

    show(found, plain_console())
    return 0


def as_json(found: Answers) -> dict[str, Any]:
    """Everything that was found but the context itself. no_answer: the probability that there is none."""
    answers = []
    for each in found.answers:
        evidence = found.evidence(each)
        answers.append({**asdict(each), "evidence": None if evidence is None else evidence._asdict()})
    return {"question": found.question, "text": found.text, "no_answer": found.no_answer, "answers": answers}
