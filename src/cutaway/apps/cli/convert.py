"""`cutaway convert`: a model in another file format. In: a model, a place. Out: a Hugging Face directory or a .gguf file.

Numbers are read as fp32 whatever the source holds, and written as asked for.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import CutawayError
from .shared import ADAPTER_HELP, MODEL_HELP, command

if TYPE_CHECKING:
    from ...lm import LM

SUFFIX = ".gguf"
FORMATS = {"hf": "f32", "gguf": "f16"}  # with the kind of numbers where none is named
KINDS = ("f32", "f16", "bf16", "q8_0", "q4_0")
CARD = "---\nlicense: {licence}\n---\n\nConverted from {name}; the licence is the one that stood there.\n"
TYPES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}


def add(commands: Any) -> None:
    """Declare the command."""
    parser = command(
        commands,
        "convert",
        "write a model in another file format",
        "cutaway convert stories stories.gguf --to gguf --quantize q8_0",
    )
    parser.add_argument("source", metavar="SOURCE", help=MODEL_HELP)
    parser.add_argument("target", metavar="TARGET", help="the directory (hf) or the file (gguf) to write or replace")
    parser.add_argument(
        "--to", choices=FORMATS, help="hf: a Hugging Face directory; gguf: one file (default: as TARGET ends)"
    )
    parser.add_argument(
        "--quantize",
        choices=KINDS,
        help="how matrices are stored (default f32 for hf, f16 for gguf; q8_0, q4_0: gguf only)",
    )
    parser.add_argument("--adapter", metavar="DIR", help=f"{ADAPTER_HELP}; they are merged into what is written")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Read, write, and say what was written."""
    target = Path(arguments.target).expanduser()
    form = arguments.to or ("gguf" if target.suffix == SUFFIX else "hf")
    kind = arguments.quantize or FORMATS[form]
    _check(target, form, kind)
    from ...lm import load
    from ...model.adapter import merge

    lm = load(arguments.source, adapter=arguments.adapter)
    merge(lm.model)
    (_write_gguf if form == "gguf" else _write_directory)(lm, target, kind)
    merged = f" with {arguments.adapter} merged into it" if arguments.adapter else ""
    size = sum(path.stat().st_size for path in ([target] if target.is_file() else target.iterdir()))
    print(f"{target}: {arguments.source}{merged} in {kind}, {size / 1e6:,.1f} MB.")
    return 0


def _check(target: Path, form: str, kind: str) -> None:
    """What can be said before anything is read."""
    if form == "hf" and kind not in TYPES:
        raise CutawayError(f"--quantize {kind} is for .gguf files. A Hugging Face directory takes {', '.join(TYPES)}.")
    if (form == "gguf") != (target.suffix == SUFFIX):
        raise CutawayError(
            f"TARGET is '{target}', and --to is {form}. A .gguf file is named NAME.gguf, a directory is not."
        )


def _write_gguf(lm: LM, target: Path, kind: str) -> None:
    from ...weights import gguf

    template = None if lm.chat_template is None else lm.chat_template.source
    name, written = Path(lm.name).stem or lm.name, gguf.WRITABLE[kind]
    gguf.save(target, lm.model, lm.own_tokenizer, kind=written, name=name, licence=_licence(lm), template=template)


def _write_directory(lm: LM, target: Path, kind: str) -> None:
    import torch

    from ...tasks.answer.threshold import FILE as THRESHOLD_FILE
    from ...tasks.answer.threshold import load_threshold, save_threshold
    from ...weights import checkpoint
    from ...weights.families import explain_misfit

    misfit = explain_misfit(lm.config)
    if misfit is not None:
        raise CutawayError(f"No other program opens this model: {misfit}. It stays in Cutaway's own form: copy it.")
    licence = _licence(lm)

    def beside(directory: Path) -> None:
        if lm.own_tokenizer is not None:
            lm.own_tokenizer.save(directory)
        if lm.chat_template is not None:
            lm.chat_template.save(directory)
        if lm.place is not None and (lm.place / THRESHOLD_FILE).is_file():
            save_threshold(directory, load_threshold(lm.place))
        if licence is not None:
            (directory / "README.md").write_text(CARD.format(licence=json.dumps(licence), name=lm.name), "utf-8")

    checkpoint.save(target, lm.model, tokenizer_files=beside, dtype=getattr(torch, TYPES[kind]))


def _licence(lm: LM) -> str | None:
    from ...weights.provenance import read_provenance

    return None if lm.place is None else read_provenance(lm.place).licence
