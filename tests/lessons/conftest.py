"""The models that lessons are read on, opened once; and copies to be broken."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

from cutaway.lm import LM, load


@pytest.fixture(scope="session")
def stories() -> LM:
    """The bundled model that most lessons are written for. Nobody changes it."""
    return load("stories")


@pytest.fixture(scope="session")
def german() -> LM:
    """The bundled translator."""
    return load("translate-de-en")


@pytest.fixture
def broken(stories: LM) -> Callable[[], LM]:
    """Makes a copy of stories that a test may change."""
    return lambda: LM(copy.deepcopy(stories.model), stories.own_tokenizer, "broken")
