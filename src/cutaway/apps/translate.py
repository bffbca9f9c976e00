"""A long translation, kept as it grows. In: lines and a file to write. Out: that file, whole; until then FILE.part.

FILE.part begins with a line that says what is translated and how, so that only the same job goes on.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

from ..decode import Beam
from ..errors import CutawayError
from ..lens.numerals import count
from ..lm import LM
from ..tasks.translate import PIECE, check_lines, translate_lines
from ..weights.atomic import write_file
from .cli.shared import counting


def into_file(lm: LM, lines: list[str], path: Path, beam: Beam, batch_size: int) -> None:
    """Translate into a file. Raises CutawayError as `check_lines`, and for one that cannot be written or that another job has
    begun."""
    check_lines(lm, lines)
    part = path.with_name(f"{path.name}.part")
    head = _head(lm, lines, beam)
    done = _done(part, head)
    try:
        with part.open("r+b" if done else "wb") as file:
            if not done:
                file.write(f"{head}\n".encode())
            file.seek(0, os.SEEK_END)
            with counting(len(lines), "lines") as show:
                rest = translate_lines(
                    lm, lines[done:], beam=beam, batch_size=batch_size, progress=lambda more: show(done + more)
                )
                for number, translation in enumerate(rest, start=1):
                    file.write(f"{' '.join(translation.text.split())}\n".encode())
                    if number % PIECE == 0:
                        file.flush()
        _finish(part, path)
    except OSError as error:
        raise CutawayError(
            f"{path} cannot be written: {error.strerror}. What is finished stands in {part}; the same command goes on."
        ) from error
    print(f"{path}: {count(len(lines), 'line')}.")


def _head(lm: LM, lines: list[str], beam: Beam) -> str:
    digest = sha256("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest()
    return json.dumps({"model": str(lm.place), "lines": digest, "beam": asdict(beam)}, default=str)


def _done(part: Path, head: str) -> int:
    """How many lines a part holds; a line that was cut is taken away."""
    if not part.is_file():
        return 0
    content = part.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    found, *translated = whole.split(b"\n")[:-1] or [b""]
    if found.decode("utf-8", "replace") != head:
        raise CutawayError(
            f"{part} is of another job: other lines, another model or other settings. Delete it, or name another file with --out."
        )
    if len(whole) < len(content):
        os.truncate(part, len(whole))
    return len(translated)


def _finish(part: Path, path: Path) -> None:
    """The file without its first line, in place of the part."""
    content = part.read_bytes()
    write_file(path, content[content.index(b"\n") + 1 :])
    part.unlink()
