"""The microscope's page in a browser. In: Chromium and an address. Out: what the page draws, says and asks for."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.apps.chrome import Chrome, chrome

SETTLED = "window.microscope ? window.microscope.settled().then(() => true) : new Promise((r) => setTimeout(() => r(false), 50))"
KEYS = {"Enter": 13, "Escape": 27, "Tab": 9, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, " ": 32}
KEYS |= {"PageUp": 33, "PageDown": 34, "End": 35, "Home": 36}


class Page:
    """A tab with the microscope in it."""

    def __init__(self, browser: Chrome) -> None:
        self.browser = browser

    def open(self, address: str, width: int = 1280, height: int = 900, *, scheme: str = "light") -> None:
        """Load an address in a tab of this size and wait until everything near is drawn."""
        self.browser.visit(address, width, height, scheme=scheme)
        self.settle()

    def settle(self) -> None:
        """Wait until no answer is under way and everything near is drawn."""
        for _ in range(200):
            if self.browser.value(SETTLED):
                return
        raise AssertionError("the page never came to rest")

    def value(self, expression: str) -> Any:
        """What an expression of the page comes to."""
        return self.browser.value(expression)

    def go(self, hash_: str) -> None:
        """Follow a link of the page."""
        self.value(f"location.hash = {hash_!r}")
        self.settle()

    def key(self, name: str, *, shift: bool = False) -> None:
        """Press and release a key, and wait for what it does."""
        self.press(name, shift=shift)
        self.settle()

    def press(self, name: str, *, shift: bool = False) -> None:
        """Press and release a key."""
        code = KEYS.get(name, ord(name.upper()[0]))
        text = "\r" if name == "Enter" else name if len(name) == 1 else ""
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            self.browser.ask(
                "Input.dispatchKeyEvent",
                type=kind,
                key=name,
                windowsVirtualKeyCode=code,
                modifiers=8 if shift else 0,
                **more,
            )

    def write(self, text: str) -> None:
        """Text as from an input method, into what has focus."""
        self.browser.ask("Input.insertText", text=text)

    def click(self, x: float, y: float) -> None:
        """Press and release the first button of the pointer."""
        for kind in ("mousePressed", "mouseReleased"):
            self.browser.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        self.settle()

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Left, top, width and height in the window, scrolled into it."""
        found = self.value(
            f"(() => {{ const e = document.querySelector({selector!r}); e.scrollIntoView({{block: 'center'}});"
            " const b = e.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; })()"
        )
        self.settle()
        return tuple(found)  # type: ignore[return-value]

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """The window, or the whole page, as a PNG."""
        shot = self.browser.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def page(browser: str) -> Iterator[Page]:
    """A browser of its own, with one tab."""
    with chrome(browser) as tab:
        yield Page(tab)
