"""The tree under test. In: the root of a checkout. Out: the files that git would hold, their text, their modules."""

from __future__ import annotations

import ast
import os
from pathlib import Path

from pathspec import GitIgnoreSpec

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "src/cutaway"


def held_files(root: Path) -> list[str]:
    """Every file of the tree but for those that .gitignore names; relative, sorted. Needs no git."""
    found = []
    is_ignored = ignored(root)
    for folder, folders, names in os.walk(root):
        inside = Path(folder).relative_to(root)
        folders[:] = [name for name in folders if not is_ignored.match_file(f"{(inside / name).as_posix()}/")]
        found += [(inside / name).as_posix() for name in names]
    return sorted(path for path in found if not is_ignored.match_file(path))


def ignored(root: Path) -> GitIgnoreSpec:
    """What .gitignore names, and the repository's own store."""
    path = root / ".gitignore"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return GitIgnoreSpec.from_lines([*lines, ".git"])


def text_of(root: Path, path: str) -> str | None:
    """The text of a file, None for a binary one."""
    try:
        return (root / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def python_files(root: Path, under: str = PACKAGE) -> dict[str, ast.Module]:
    """The parsed Python files below a folder by path."""
    paths = [path for path in held_files(root) if path.startswith(under) and path.endswith(".py")]
    return {path: ast.parse((root / path).read_text(encoding="utf-8"), path) for path in paths}


def modules(root: Path) -> dict[str, str]:
    """Dotted name -> path of every module of the package."""
    return {dotted(path): path for path in held_files(root) if path.startswith(PACKAGE) and path.endswith(".py")}


def dotted(path: str) -> str:
    """src/cutaway/text/__init__.py -> cutaway.text."""
    return path.removeprefix("src/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")
