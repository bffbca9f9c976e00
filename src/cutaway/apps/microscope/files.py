"""The page's files. In: a path of the address. Out: the file, with its type and a tag that says whether it has changed.

Only what lies in `static/` has an address, and only under its own name: a path is looked up, never followed.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources.abc import Traversable

FOLDER = "static"
INDEX = "index.html"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, kw_only=True)
class File:
    """One file. tag: changes with its content."""

    data: bytes
    kind: str

    @property
    def tag(self) -> str:
        """As an ETag, in its quotes."""
        return f'"{sha256(self.data).hexdigest()[:20]}"'


def file_at(path: str) -> File | None:
    """The file of an address, None where there is none. `/` is the page itself."""
    place = dict(_files(_folder())).get(INDEX if path == "/" else path.removeprefix("/"))
    if place is None:
        return None
    return File(data=place.read_bytes(), kind=KINDS[_ending(place.name)])


def texts() -> dict[str, str]:
    """Every file that is text, by its path."""
    return {
        path: place.read_text("utf-8") for path, place in _files(_folder()) if _ending(path) in (".html", ".js", ".css")
    }


def _folder() -> Traversable:
    return importlib.resources.files("cutaway.apps.microscope") / FOLDER


def _files(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, Traversable]]:
    if not folder.is_dir():
        return
    for place in folder.iterdir():
        if place.is_dir():
            yield from _files(place, f"{prefix}{place.name}/")
        elif _ending(place.name) in KINDS:
            yield f"{prefix}{place.name}", place


def _ending(name: str) -> str:
    return name[name.rfind(".") :] if "." in name else ""
