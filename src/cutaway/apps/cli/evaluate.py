"""`cutaway evaluate`: how good a model is at a task. In: a model and a file. Out: figures, best and worst examples.

Without --task: how well a decoder-only model predicts a text (loss, perplexity, bits per byte) or the replies of dialogues, how
an encoder-decoder translates pairs, and how an encoder that scores spans answers questions.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import CutawayError
from .shared import MODEL_HELP, command, counting, print_json

if TYPE_CHECKING:
    from ...lm import LM
    from ...tasks.bits import Cost
    from ...tasks.evaluate import Evaluation
    from ...tasks.report import Report


def add(commands: Any) -> None:
    """Declare the command."""
    example = (
        "cutaway evaluate stories my-text.txt\n"
        "  cutaway evaluate my-translator pairs.tsv --report greedy.json --beams 1\n"
        "  cutaway evaluate stories questions.jsonl --task choices"
    )
    parser = command(commands, "evaluate", "measure how good a model is at a task", example)
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("file", metavar="FILE", help="text, pairs, questions or dialogues; .xz and .gz are read too")
    parser.add_argument("--task", choices=NAMES, help="what to measure (default: what model and file are made for)")
    parser.add_argument("--report", metavar="FILE", help="write every prediction and figure there; see `compare`")
    parser.add_argument("--json", action="store_true", help="print the figures as one object")
    parser.add_argument(
        "--bits",
        type=int,
        default=32,
        metavar="N",
        help="keep the matrices in 32, 16, 8 or 4 bits (default 32); a text is then predicted in 32 bits too, for comparison",
    )
    _add_text(parser)
    pairs = parser.add_argument_group("translate")
    pairs.add_argument(
        "--target-file", metavar="FILE", help="the target side, line by line, where FILE is the source side"
    )
    pairs.add_argument(
        "--source", default="1", metavar="NAME", help="column of a TSV file, or field of a JSON line (default 1)"
    )
    pairs.add_argument("--target", default="2", metavar="NAME", help="likewise (default 2)")
    pairs.add_argument(
        "--beams", type=int, default=4, metavar="N", help="texts searched at once; 1 is greedy (default 4)"
    )
    choices = parser.add_argument_group("choices")
    choices.add_argument(
        "--normalise", default="none", metavar="HOW", help="divide log-likelihoods by: none, characters, bytes, tokens"
    )
    similarity = parser.add_argument_group("similarity")
    similarity.add_argument(
        "--pooling", default="mean", metavar="HOW", help="a vector from a text's states: mean, first, pooler"
    )
    parser.set_defaults(run=run)


def _add_text(parser: argparse.ArgumentParser) -> None:
    """How a text is read, where it is predicted."""
    text = parser.add_argument_group("predict")
    text.add_argument("--separator", metavar="TEXT", help="what parts the documents of a text file")
    text.add_argument(
        "--window", type=int, metavar="N", help="tokens read at a time (default the context, at most 2048)"
    )
    text.add_argument("--batch-size", type=int, default=16, metavar="N", help="windows at a time (default 16)")
    text.add_argument(
        "--draws", type=int, default=4, metavar="N", help="diffusion: times that the text is hidden (default 4)"
    )
    text.add_argument(
        "--keep",
        action="store_true",
        help="write what fewer bits cost beside the weights: where it is at most 0.5 %%, `generate` and `chat` take 8 bits",
    )


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, with a progress bar on the terminal."""
    from ...lm import load
    from ...runtime.quantise import check_bits, quantise
    from ...weights.atomic import check_file

    check_bits(arguments.bits)
    if arguments.report is not None:
        check_file(Path(arguments.report))
    lm = load(arguments.model)
    task = arguments.task or _task(lm, Path(arguments.file))
    if task == "predict" or (task == "chat" and arguments.keep):
        unit = "tokens" if task == "predict" else "replies"
        return _predict(lm, arguments, _measured(task, arguments), unit)
    if arguments.keep:
        raise CutawayError(
            f"--keep writes what fewer bits cost a text or replies, and the task is '{task}'. Leave it out."
        )
    quantise(lm.model, arguments.bits)
    reports: dict[str, Report] = TASKS[task](lm, arguments)
    report, *baselines = reports.values()
    if arguments.report is not None:
        report.save(Path(arguments.report))
    _show(report, arguments)
    if baselines and not arguments.json:
        from ...tasks.show import show_reports
        from .inspect import plain_console

        show_reports(list(reports), list(reports.values()), plain_console())
    return 0


def _task(lm: LM, path: Path) -> str:
    """What is measured where nothing is said."""
    from ...data.dialogues import holds_dialogues

    if lm.config.num_labels:
        return "answer"
    if lm.config.has_cross:
        return "translate"
    return "chat" if holds_dialogues(path) else "predict"


def _show(report: Report, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print_json(report.summary())
        return
    from ...tasks.show import show_report
    from .inspect import plain_console

    show_report(report, plain_console())
    if arguments.report is not None:
        print(f"Written to {arguments.report}")


def _measured(task: str, arguments: argparse.Namespace) -> Callable[..., Evaluation]:
    """What scores a text, or the replies of dialogues, given a model and whom to tell."""
    from ...tasks.evaluate import evaluate
    from ...tasks.replies import predict_replies

    path = Path(arguments.file)
    if task == "chat":
        return partial(predict_replies, path=path)
    how = {name: vars(arguments)[name] for name in ("separator", "window", "batch_size", "draws")}
    return partial(evaluate, path=path, **how)


def _predict(lm: LM, arguments: argparse.Namespace, measured: Callable[..., Evaluation], unit: str) -> int:
    from ...tasks.bits import check_keeps, measure_cost

    if arguments.report is not None:
        raise CutawayError("--report is for tasks with predictions to keep. Leave it out, or name another --task.")
    if arguments.keep and arguments.bits == 32:
        raise CutawayError("--keep writes what fewer bits cost, and --bits is 32. Give 8, say.")
    if arguments.keep:
        check_keeps(lm)
    with counting(1, unit) as show:
        if arguments.bits != 32:
            return _show_cost(lm, measure_cost(lm, arguments.bits, partial(measured, progress=show)), arguments)
        report = measured(lm, progress=show)
    if arguments.json:
        print_json(asdict(report))
        return 0
    error = "" if report.standard_error is None else f" ± {report.standard_error:.4f}"
    print(_title(report, arguments))
    print(f"  loss                {report.loss:.4f} nats a token")
    print(f"  perplexity          {report.perplexity:,.2f}")
    print(f"  bits per byte       {report.bits_per_byte:.4f}{error}")
    print(f"  bits per character  {report.bits_per_character:.4f}")
    print(f"  {report.tokens:,} tokens, {report.bytes:,} bytes")
    return 0


def _title(report: Evaluation, arguments: argparse.Namespace) -> str:
    kind = "exact" if report.estimate == "exact" else f"an upper bound, by {arguments.draws} draws"
    return f"{arguments.model} on {arguments.file}, {kind}"


def _show_cost(lm: LM, cost: Cost, arguments: argparse.Namespace) -> int:
    """Before, after, and what lies between."""
    from ...tasks.bits import keep_cost

    kept = keep_cost(lm, cost, Path(arguments.file).name) if arguments.keep else None
    if arguments.json:
        print_json({"bits": cost.bits, "full": asdict(cost.full), "fewer": asdict(cost.fewer), "rise": cost.rise})
        return 0
    print(_title(cost.full, arguments))
    for bits, found in ((32, cost.full), (cost.bits, cost.fewer)):
        print(f"  {bits:2} bits     perplexity {found.perplexity:,.3f}    bits per byte {found.bits_per_byte:.5f}")
    worse, more = (cost.fewer.perplexity - cost.full.perplexity, cost.fewer.bits_per_byte - cost.full.bits_per_byte)
    print(f"  difference  perplexity {worse:+.3f}    bits per byte {more:+.5f} ({100 * cost.rise:+.2f} %)")
    print(f"  {cost.full.tokens:,} tokens, {cost.full.bytes:,} bytes")
    if kept is not None:
        taken = "take 8 bits by themselves, where the native products run" if cost.is_small else "do not change"
        print(f"Written to {kept}: `generate` and `chat` {taken}.")
    return 0


def _translate(lm: LM, arguments: argparse.Namespace) -> dict[str, Report]:
    from ...data import PairSource, read_pairs
    from ...decode import Beam
    from ...tasks.translate import evaluate_translations

    source, target = (int(name) if name.isdecimal() else name for name in (arguments.source, arguments.target))
    pairs = PairSource(files=arguments.file, target_files=arguments.target_file, source=source, target=target)
    with counting(sum(1 for _ in read_pairs(pairs)), "lines") as show:
        return {"model": evaluate_translations(lm, pairs, beam=Beam(num_beams=arguments.beams), progress=show)}


def _summarize(lm: LM, arguments: argparse.Namespace) -> dict[str, Report]:
    """The model's, with those of the first sentences and of the best extract beside it."""
    from ...tasks.summaries import evaluate_summaries

    with counting(1, "parts") as show:
        return evaluate_summaries(lm, arguments.file, progress=show).named()


def _answer(lm: LM, arguments: argparse.Namespace) -> dict[str, Report]:
    from ...tasks.answer import evaluate_answers

    with counting(1, "questions") as show:
        return {"model": evaluate_answers(lm, Path(arguments.file), progress=show)}


def _chat(lm: LM, arguments: argparse.Namespace) -> dict[str, Report]:
    from ...tasks.replies import evaluate_replies

    with counting(1, "replies") as show:
        return {"model": evaluate_replies(lm, Path(arguments.file), progress=show)}


def _similarity(lm: LM, arguments: argparse.Namespace) -> dict[str, Report]:
    from ...tasks.similarity import evaluate_similarity

    with counting(1, "texts") as show:
        return {"model": evaluate_similarity(lm, Path(arguments.file), pooling=arguments.pooling, progress=show)}


def _choices(lm: LM, arguments: argparse.Namespace) -> dict[str, Report]:
    from ...tasks.choices import evaluate_choices

    return {"model": evaluate_choices(lm, Path(arguments.file), normalise=arguments.normalise)}


TASKS: dict[str, Any] = {
    "translate": _translate,
    "summarize": _summarize,
    "answer": _answer,
    "chat": _chat,
    "choices": _choices,
    "similarity": _similarity,
}
NAMES = ("predict", *TASKS)
