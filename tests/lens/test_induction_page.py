"""docs/induction.md: what it says of the model is so, the model is small, and its recipe trains."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from cutaway import load
from tests.scripts import script

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "induction.md").read_text("utf-8")
MODEL = ROOT / "recipes" / "induction" / "model"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[-1][:40])
def test_a_block_of_the_page_runs(block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "assert " in block
    monkeypatch.chdir(ROOT)
    exec(compile(block, "docs/induction.md", "exec"), {})


def test_the_bundled_story_teller_has_no_such_head() -> None:
    found = load("stories").lens.induction(num_sequences=2)
    assert max(map(max, found.prefix)) < 0.1
    assert found.loss_second > 0.9 * found.loss_first


def test_the_model_is_small_and_its_recipe_makes_such_a_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sum(path.stat().st_size for path in MODEL.iterdir()) < 300_000
    monkeypatch.setattr("sys.argv", ["train.py", "--steps", "3", "--target", str(tmp_path / "model")])
    script(ROOT / "recipes" / "induction" / "train.py").main()
    made, kept = (json.loads((place / "config.json").read_text("utf-8")) for place in (tmp_path / "model", MODEL))
    assert made == kept
    assert load(tmp_path / "model").lens.induction(length=8, num_sequences=1, tokens="abcdefghijkl").loss_second > 1
