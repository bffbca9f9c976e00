"""Draw the pictures of docs/microscope.md anew: `python docs/images/make_microscope.py`. In: Chromium, the bundled models.

The page is served and driven as its tests do it (tests/apps/microscope).
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parents[1]))  # of the tests, whose driver is used

from tests.apps.microscope.driver import Page, page  # noqa: E402
from tests.apps.microscope.serving import Serving, serving  # noqa: E402

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CAT = "The cat sat on the mat because it was"
LILY = "Once upon a time there was a little girl named Lily. She loved to play outside in the park with her dog. "
LILY += "One day, they found a big red ball under a tree. "
KATZE = "Die Katze lag auf dem Bett, weil sie müde war."


@dataclass(frozen=True)
class Picture:
    """One picture: an address, a window, and what the pointer rests on, as shares of the first loom's width and height."""

    name: str
    address: str
    height: int
    text: str = CAT
    width: int = 1280
    scheme: str = "light"
    pointer: tuple[float, float] | None = None
    below: str = ""


HEAD = "layers?layer=2&head=2&open=true&i=8"
PICTURES = {
    "stories": (
        Picture("way-light", "way", 900),
        Picture("way-dark", "way", 900, scheme="dark"),
        Picture("reading", "way", 620, pointer=(0.79, 0.945)),
        Picture("embedding", "embedding", 1000),
        Picture("head-light", HEAD, 1120),
        Picture("head-dark", HEAD, 1120, scheme="dark"),
        Picture("stream", "feedforward", 1000),
        Picture("output", "output", 1000),
        Picture("narrow-light", "way", 1500, width=390),
        Picture("narrow-dark", HEAD, 1500, width=390, scheme="dark"),
        Picture("side-by-side", f"way?b={CAT.replace('cat', 'dog')}", 1500, below=".beside"),
        Picture("long-text", "way?i=125", 1260, text=LILY * 6),
        Picture("long-head", "layers?i=125&layer=4&head=1&open=true", 1200, text=LILY * 6),
        Picture("memory", "memory", 920),
        Picture("lesson", "lessons?lesson=order", 1180),
    ),
    "stories-hybrid": (Picture("replay", "replay?pass=6", 1040, text="Once upon a time"),),
    "translate-de-en": (Picture("two-stacks", "way", 1240, text=KATZE),),
}


def main() -> int:
    """Draw all, or those whose names are given."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print(f"There is no browser here; one of {', '.join(BROWSERS)} is needed.", file=sys.stderr)
        return 2
    asked = sys.argv[1:]
    for model, pictures in PICTURES.items():
        for picture in pictures:
            if asked and picture.name not in asked:
                continue
            with serving(model, text=picture.text) as server, page(browser) as tab:
                print(draw(picture, server, tab), flush=True)
    return 0


def draw(picture: Picture, server: Serving, tab: Page) -> Path:
    """Go there, point, and keep what the window shows."""
    tab.open(f"{server.address}#{picture.address}", picture.width, picture.height, scheme=picture.scheme)
    if picture.below:
        tab.value(f"document.querySelector({picture.below!r}).scrollIntoView()")
        tab.settle()
    if picture.pointer:
        left, top, width, height = tab.box(".loom canvas")
        x, y = left + picture.pointer[0] * width, top + picture.pointer[1] * height
        tab.browser.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        tab.settle()
    path = HERE / f"microscope-{picture.name}.png"
    tab.picture(path)
    return path


if __name__ == "__main__":
    sys.exit(main())
