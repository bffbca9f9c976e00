"""How long a person waits for the microscope. In: a model of random weights, Chromium. Out: seconds, frames, bytes.

The model is written by this benchmark. `cutaway open` runs as a person runs it, but for the browser, which is open already; the
page is driven and asked by the tests' driver (tests/apps/microscope/driver.py). What is drawn is known from the page itself.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from figure import BenchmarkError, Options, Row, Sample, reaches, sample, within
from terminal import CUTAWAY, warm_environment
from worker import Worker

sys.path.append(str(Path(__file__).parents[1]))  # of the tests, whose driver is used

from tests.apps.microscope.driver import Page, page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZE, SMALL = {"num_layers": 6, "d_model": 512}, {"num_layers": 2, "d_model": 32}
SECONDS, MILLISECONDS, MEGABYTES, FRAMES = "{:.2f} s", "{:.0f} ms", "{:.1f} MB", "{:.0f} frames/s"
MOST_FIRST, MOST_KEY, MOST_OVERVIEW, LEAST_FRAMES, MOST_HEAP, MOST_SAVED = 4.0, 250.0, 3.0, 30.0, 500.0, 5.0
FEW, SHORT, LONG, QUICK = 10, 64, 4096, 300  # tokens
KEYS = "kkkkkkjjjjjj"
REPETITIONS = 5
WALKS = {"token by token": 1, "eight tokens a frame": 8}
WALKED = 2000  # milliseconds

UNTIL = """new Promise((done) => {{
  const look = () => (window.microscope && ({condition}) ? requestAnimationFrame(() => done(true)) : setTimeout(look, 16));
  look();
}})"""
PAINTED = (
    """microscope.context.run?.text === microscope.context.place.text && microscope.looms[0]?.isPainted({rolled})"""
)
WALK = """new Promise((done) => {{
  const {{ context }} = microscope, began = performance.now();
  let frames = 0;
  const next = (now) => {{
    if (now - began > {milliseconds}) return done((1000 * frames) / (now - began));
    frames++;
    context.set({{ i: context.place.i - {by} }});
    requestAnimationFrame(next);
  }};
  requestAnimationFrame(next);
}})"""


def measure(options: Options) -> list[Row]:
    """Opening, keys, a saved page, a long text. Raises BenchmarkError where there is no browser."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise BenchmarkError(f"There is no browser here: none of {', '.join(BROWSERS)} is on the PATH.")
    long = QUICK if options.is_quick else LONG
    lengths = [FEW, SHORT, *[long] * options.repeat(REPETITIONS)]
    with tempfile.TemporaryDirectory() as folder, page(browser) as tab:
        path = str(Path(folder) / "model")
        size = SMALL if options.is_quick else SIZE
        with Worker("sides.microscope", "write", path=path, lengths=lengths, **size) as writer:
            made = writer.ask()
        few, short, *texts = made["texts"]
        name = f"cutaway open, {made['parameters'] / 1e6:.0f} M parameters"
        rows = _opening(name, [path, few], tab, options)
        with _opened([path, few]) as (address, _):
            _open_page(tab, address)
            rows += [*_short(tab, short), *_long(tab, texts, long, short)]
        return [*rows, *_bundled(tab, options.model, short)]


def _opening(name: str, words: Sequence[str], tab: Page, options: Options) -> list[Row]:
    """Seconds after Enter: the address, the loom's first painting with its threads, all that is in sight or near."""
    if not options.is_quick:
        _open_once(words, tab)
    found = [_open_once(words, tab) for _ in range(options.repeat(REPETITIONS))]
    address, first, whole = (sample(values, SECONDS) for values in zip(*found, strict=True))
    return [
        Row(name=f"{name}: its address", ours=address),
        within(f"{name}: first picture", first, MOST_FIRST),
        Row(name=f"{name}: whole view", ours=whole),
    ]


def _open_once(words: Sequence[str], tab: Page) -> tuple[float, float, float]:
    with _opened(words) as (address, began):
        named = time.perf_counter()
        tab.browser.visit(address)
        _wait(tab, is_rolled=True)
        first = time.perf_counter()
        tab.settle()
        whole = time.perf_counter()
    return named - began, first - began, whole - began


@contextmanager
def _opened(words: Sequence[str]) -> Iterator[tuple[str, float]]:
    """The address of a microscope that was opened, and when Enter was pressed."""
    began = time.perf_counter()
    with subprocess.Popen(
        [CUTAWAY, "open", *words, "--no-browser", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env=warm_environment(),
    ) as process:
        try:
            assert process.stdout is not None, "opened as a pipe"
            found = re.search(r"http://\S+", process.stdout.readline())
            if found is None:
                raise BenchmarkError("cutaway open printed no address.")
            yield found[0], began
        finally:
            process.send_signal(signal.SIGINT)


def _open_page(tab: Page, address: str) -> None:
    """Open the page, and wait for the first text: the page is there before the model is."""
    tab.browser.visit(address)
    _wait(tab, is_rolled=True)
    tab.settle()


def _wait(tab: Page, *, is_rolled: bool) -> None:
    """Until the loom of the text that was written last is painted."""
    condition = PAINTED.format(rolled=str(is_rolled).lower())
    tab.value(UNTIL.format(condition=condition))


def _write(tab: Page, text: str) -> float:
    """Write a text in place of the one shown. Returns when Enter was pressed. Raises BenchmarkError if it is not taken."""
    tab.key("/")
    tab.write(text)
    began = time.perf_counter()
    tab.press("Enter")
    if tab.value("microscope.context.place.text") != text:
        raise BenchmarkError("The page did not take the text that was written into it.")
    return began


def _short(tab: Page, text: str) -> list[Row]:
    """Keys, each until everything near is drawn with its answers; and the size of a saved page."""
    _write(tab, text)
    tab.settle()
    times = []
    for key in KEYS:
        tab.settle()
        began = time.perf_counter()
        tab.press(key)
        tab.value("microscope.refreshed()")
        times.append(1e3 * (time.perf_counter() - began))
    return [
        within(f"{SHORT} tokens: from a key to the whole view", sample(times, MILLISECONDS), MOST_KEY),
        Row(name=f"{SHORT} tokens: a saved page", ours=_saved(tab)),
    ]


def _bundled(tab: Page, model: str, text: str) -> list[Row]:
    """What a saved page of the bundled model takes."""
    with _opened([model, text]) as (address, _):
        _open_page(tab, address)
        return [within(f"{SHORT} tokens of {model}: a saved page", _saved(tab), MOST_SAVED)]


def _saved(tab: Page) -> Sample:
    return sample([tab.value("microscope.asFile().then((file) => file.size)") / 1e6], MEGABYTES)


def _long(tab: Page, texts: Sequence[str], count: int, short: str) -> list[Row]:
    """Until the overview, until the threads; then walking through the text, and the memory of the page."""
    overview, threads = [], []
    for text in texts:
        _write(tab, short)
        tab.settle()
        began = _write(tab, text)
        for is_rolled, found in ((False, overview), (True, threads)):
            _wait(tab, is_rolled=is_rolled)
            found.append(time.perf_counter() - began)
        tab.settle()
    what = f"{count:,} tokens"
    rates = {name: [_walk(tab, by, count - 1) for _ in texts] for name, by in WALKS.items()}
    heap = tab.browser.ask("Runtime.getHeapUsage")
    held = sum(heap.get(name, 0) for name in ("usedSize", "embedderHeapUsedSize", "backingStorageSize")) / 1e6
    return [
        within(f"{what}: overview", sample(overview, SECONDS), MOST_OVERVIEW),
        Row(name=f"{what}: overview with its threads", ours=sample(threads, SECONDS)),
        *(reaches(f"{what}: {name}", sample(rate, FRAMES), LEAST_FRAMES) for name, rate in rates.items()),
        within(f"{what}: held by the page", sample([held], MEGABYTES), MOST_HEAP),
    ]


def _walk(tab: Page, by: int, last: int) -> float:
    """Frames a second on the way back from the last token."""
    tab.value(f"(microscope.context.set({{ i: {last} }}), true)")
    tab.settle()
    rate: float = tab.value(WALK.format(by=by, milliseconds=WALKED))
    tab.settle()
    return rate
