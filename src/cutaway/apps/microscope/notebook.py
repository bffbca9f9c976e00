"""The microscope in a notebook. In: a model and a text. Out: an object that a notebook shows as the saved page, in a frame."""

from __future__ import annotations

import html
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ...lm import LM
from .asks import AskRun, AskSave
from .desk import Desk
from .routes import answer
from .saving import saved_page
from .shelf import Shelf

HEIGHT = 900


@dataclass(frozen=True, kw_only=True)
class Microscope:
    """One run as a page. page: the whole file; height: of the frame, in pixels."""

    page: bytes
    height: int = HEIGHT

    def _repr_html_(self) -> str:
        """What a notebook draws: the page in a frame, with no request."""
        source = html.escape(self.page.decode(), quote=True)
        return f'<iframe srcdoc="{source}" style="width:100%;height:{self.height}px;border:0" title="Cutaway"></iframe>'

    def save(self, path: str | Path) -> None:
        """Write the page as one HTML file."""
        Path(path).write_bytes(self.page)


def show(lm: LM, text: str, *, target: str | None = None, height: int = HEIGHT) -> Microscope:
    """Look inside a model in a notebook. target: what an encoder-decoder says; None: what it says by itself.

    Raises CutawayError for a text that the model cannot read, and for one that is too long for one file.
    """
    desk = Desk(Shelf(lm))
    found = desk.run(AskRun(text=text, target=target))
    return Microscope(page=saved_page(desk, AskSave(run=found.ask.name), partial(answer, desk)), height=height)
