"""What every result of the lens can do. In: a frozen dataclass that draws itself on a sheet. Out: figures, files, notebooks.

    result.figure()            a matplotlib Figure
    result.save("x.svg")       or .png .pdf (the picture), .json .npz (the numbers)
    result.save("x.svg", theme="dark")

A notebook shows the picture of a result that ends a cell.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import CutawayError
from ..weights.atomic import write_file
from .colour import Theme
from .sheet import Sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURES: Final = (".svg", ".png", ".pdf")
NUMBERS: Final = (".json", ".npz")
DPI: Final = 192  # of a PNG: two dots a pixel


class Result:
    """Base of the lens's results, which are frozen dataclasses."""

    def draw(self, theme: Theme = "light") -> Sheet:
        """The picture, in light or in dark."""
        raise NotImplementedError

    def figure(self, theme: Theme = "light") -> Figure:
        """The picture as a matplotlib Figure; show it, change it, or save it as you like. theme: light or dark."""
        return self.draw(theme).figure

    def as_dict(self) -> dict[str, Any]:
        """The numbers as nested mappings and lists, for JSON; `result` names the kind."""
        found = {each.name: _plain(getattr(self, each.name)) for each in fields(self)}  # type: ignore[arg-type]
        return {"result": type(self).__name__, **found}

    def save(self, path: str | Path, *, theme: Theme = "light") -> Path:
        """Write a picture (.svg, .png, .pdf) or the numbers (.json, .npz), by the ending of the path. Returns the path.

        theme: of a picture, light or dark. Raises CutawayError for any other ending, and where the file cannot be written.
        """
        path = Path(path).expanduser()
        ending = path.suffix.lower()
        if ending not in (*PICTURES, *NUMBERS):
            raise CutawayError(
                f"'{path.name}' ends in '{path.suffix or 'nothing'}'. A picture ends in {', '.join(PICTURES)}, numbers in "
                f"{', '.join(NUMBERS)}."
            )
        write_file(path, self._writer(ending, theme))
        return path

    def _writer(self, ending: str, theme: Theme) -> Callable[[Path], None]:
        if ending == ".json":
            text = json.dumps(self.as_dict(), ensure_ascii=False, indent=1)
            return lambda path: _ignore(path.write_text(text, encoding="utf-8"))
        if ending == ".npz":
            return self._write_arrays
        drawn = self.figure(theme)
        return lambda path: _write_picture(drawn, path, ending)

    def _write_arrays(self, path: Path) -> None:
        import numpy

        with path.open("wb") as file:  # numpy adds an ending to a bare path
            numpy.savez_compressed(file, **arrays(self.as_dict()))

    def _repr_svg_(self) -> str:
        buffer = io.StringIO()
        _write_picture(self.figure(), buffer, ".svg")
        return buffer.getvalue()


def arrays(value: Any, name: str = "") -> dict[str, Any]:
    """Nested mappings and lists as named arrays: `parts.value` is the value of every part.

    A list of lists of different lengths becomes one flat array, and the lengths beside it: `threads.lengths`. None is NaN among
    numbers and "" among texts.
    """
    import numpy

    if isinstance(value, dict):
        inside = [arrays(each, f"{name}.{key}" if name else key) for key, each in value.items()]
        return {key: each for found in inside for key, each in found.items()}
    if not isinstance(value, list):
        return {name: numpy.array(_filled([value])[0])}
    if value and all(isinstance(each, dict) for each in value):
        columns = {key: [each[key] for each in value] for key in value[0]}
        return arrays(columns, name)
    if value and all(isinstance(each, list) for each in value):
        lengths = {len(each) for each in value}
        if len(lengths) == 1 and not any(isinstance(leaf, dict | list) for each in value for leaf in each):
            return {name: numpy.array([_filled(each) for each in value])}
        flat = arrays([leaf for each in value for leaf in each], name)
        return {f"{name}.lengths": numpy.array([len(each) for each in value]), **flat}
    return {name: numpy.array(_filled(value))}


def _filled(values: list[Any]) -> list[Any]:
    """The values, with something of their own kind for each None."""
    missing = "" if any(isinstance(value, str) for value in values) else float("nan")
    return [missing if value is None else value for value in values]


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _write_picture(drawn: Figure, file: Path | io.StringIO, ending: str) -> None:
    """Without the day, and with names of parts that no chance makes, so that the same numbers give the same file."""
    from matplotlib import rc_context

    dateless: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    with rc_context({"svg.hashsalt": "cutaway"}):
        drawn.savefig(file, format=ending[1:], dpi=DPI, metadata=dateless.get(ending, {}))


def _ignore(_: object) -> None:
    return None
