"""The twin without tap calls is the same model, has none, and is never the bytecode of the original."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import cutaway


@pytest.fixture
def clean_imports() -> Iterator[None]:
    """What a test imports as the twin is gone afterwards."""
    import sys

    finders = list(sys.meta_path)
    yield
    sys.meta_path[:] = finders
    if (module := sys.modules.get("tapless.runtime.ops")) is not None:
        module._OPERATORS._destroy()  # torch knows them by the name of the package
    for name in [name for name in sys.modules if name.partition(".")[0] == "tapless"]:
        del sys.modules[name]


def test_only_tap_calls_are_removed() -> None:
    from sides.tapless import without_taps

    source = "a = call.tap('x', f(call.tap(self.site + 'y', b)))\nc = call.watches('x')\nd = other.tap('x', b)"
    tree, count = without_taps(ast.parse(source))
    assert ast.unparse(tree) == "a = f(b)\nc = call.watches('x')\nd = other.tap('x', b)"
    assert count == 2


@pytest.mark.usefixtures("clean_imports")
def test_every_tap_call_of_the_package_is_removed() -> None:
    from sides.tapless import import_tapless

    assert cutaway.__file__ is not None
    folder = Path(cutaway.__file__).parent
    files = [path for part in ("model", "runtime") for path in (folder / part).rglob("*.py")]
    assert import_tapless("cutaway", "tapless") == sum(path.read_text("utf-8").count("call.tap(") for path in files) > 0


@pytest.mark.usefixtures("clean_imports")
@pytest.mark.parametrize("num_tokens", [9, 1])
def test_the_twin_has_the_same_logits(num_tokens: int) -> None:
    from sides.taps import with_and_without

    answer = with_and_without(num_layers=2, d_model=32, vocab_size=11)(num_tokens, seconds=0.0)
    assert answer["is_equal"]
    assert answer["num_passed"] > 20
