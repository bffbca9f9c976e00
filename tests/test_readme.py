"""What the README and the docs say, done: every command line runs, every Python block runs, generated pages are up to date."""

from __future__ import annotations

import io
import re
import shlex
from pathlib import Path

import pytest

from cutaway.apps.cli import main
from tests.scripts import script

ROOT = Path(__file__).parents[1]
DOCS = (
    "tokenizers",
    "adapters",
    "measuring",
    "chat",
    "translating",
    "summaries",
    "answers",
    "lens",
    "microscope",
    "lessons",
    "conversion",
    "diffusion",
    "speculation",
    "caches",
)
PAGES = [(ROOT / "docs" / f"{name}.md").read_text("utf-8") for name in DOCS]
README = (ROOT / "README.md").read_text("utf-8")
RECIPES = ROOT / "docs" / "reference" / "recipes.md"
SHORT = ("training.steps=2", "training.evaluate_batch_size=256", "sample.max_tokens=3")
"""What makes any training in the README a matter of seconds; nothing else about it changes."""


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    """The words of every `$ cutaway …` line of the README, in order."""
    lines = [
        line for block in blocks(README, "console") for line in block.splitlines() if line.startswith("$ cutaway ")
    ]
    return [shlex.split(line.removeprefix("$ "), comments=True)[1:] for line in lines]


def test_the_readme_has_blocks_to_check() -> None:
    assert len(commands()) >= 6
    assert len(blocks(README, "python")) >= 2


@pytest.mark.parametrize("block", [block for page in (README, *PAGES) for block in blocks(page, "python")])
def test_python_block_runs(block: str) -> None:
    exec(compile(block, "a page", "exec"), {})


def test_commands_run_one_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("Hello\n"))  # of the conversation
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("cutaway.apps.microscope.server.Server.serve_forever", lambda _: None)  # as after Ctrl-C
    text = (ROOT / "LICENSE").read_text("utf-8")
    (tmp_path / "my-text.txt").write_text(text, "utf-8")
    recipe = blocks(RECIPES.read_text("utf-8"), "toml")[0].replace("vocab_size = 2000", "vocab_size = 320")
    (tmp_path / "my-recipe.toml").write_text(recipe.replace("context = 128", "context = 16"), "utf-8")
    for words in commands():
        if words[0] == "train":
            words = [word for word in words if not word.startswith("training.steps")] + list(SHORT)
        assert main(words) == 0, words
    assert len(opened) == 1
    assert opened[0].startswith("http://localhost:")


def test_the_page_of_recipes_is_what_its_script_writes() -> None:
    path = RECIPES.with_name("make_recipes.py")
    assert RECIPES.read_text("utf-8") == script(path).page(), f"run: python {path.relative_to(ROOT)}"
