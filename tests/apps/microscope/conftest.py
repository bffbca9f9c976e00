"""What page tests share: a small model, a server of it, and a tab."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apps.microscope.driver import Page, page
from tests.apps.microscope.serving import Serving, serving
from tests.apps.small import saved


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Serving]:
    with serving(model) as found:
        yield found


@pytest.fixture(scope="module")
def tab(browser: str) -> Iterator[Page]:
    with page(browser) as opened:
        yield opened
