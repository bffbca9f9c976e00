"""What is installed is what was tested: pins, the wheel's content, the commands of the README and of the gate."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import cutaway

from .tree import PACKAGE, ROOT, ignored

TARGETS = ("demo", "test", "lint", "types", "types-js", "format", "bench", "test-peers", "clean", "help")
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT: dict[str, Any] = PYPROJECT["project"]

# Code that the linter must refuse under the project's own settings, with the rule that refuses it.
REFUSED = (
    ("D100", "x = 1\n"),
    ("D101", '"""A module."""\n\n\nclass A:\n    x = 1\n'),
    ("D102", '"""A module."""\n\n\nclass A:\n    """A class."""\n\n    def f(self) -> None:\n        self.x = 1\n'),
    ("D103", '"""A module."""\n\n\ndef f() -> int:\n    return 1\n'),
    ("T201", '"""A module."""\n\nprint(1)\n'),
    ("F401", '"""A module."""\n\nimport os\n'),
)


def requirements() -> list[Requirement]:
    """Everything that pyproject.toml asks for, but for other extras and for peers, which are taken at their newest."""
    extras = {name: texts for name, texts in PROJECT["optional-dependencies"].items() if name != "peers"}
    texts = [*PROJECT["dependencies"], *(text for extra in extras.values() for text in extra)]
    return [each for each in map(Requirement, texts) if each.name != PROJECT["name"]]


def pins() -> dict[str, Version]:
    """Name -> version of constraints.txt, whose every line is an exact pin or a comment."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pairs}


@pytest.mark.parametrize("requirement", requirements(), ids=lambda each: each.name)
def test_every_requirement_has_a_pin_that_it_allows(requirement: Requirement) -> None:
    assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)])


def test_pins_serve_every_machine() -> None:
    assert [name for name, version in pins().items() if version.local] == []


def test_torch_is_loose_in_the_metadata_and_no_need_of_the_build() -> None:
    torch = next(each for each in requirements() if each.name == "torch")
    assert torch.specifier == SpecifierSet(">=2.11")
    assert {Requirement(text).name for text in PYPROJECT["build-system"]["requires"]} == {"hatchling"}


def test_the_wheel_holds_the_types_and_everything_bundled() -> None:
    assert PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == [PACKAGE]
    assert (ROOT / PACKAGE / "py.typed").exists()
    is_ignored = ignored(ROOT)
    bundled = [path.relative_to(ROOT).as_posix() for path in (ROOT / PACKAGE).rglob("*") if path.suffix != ".pyc"]
    made = {"cutaway_kernels.so", "cutaway_kernels.sources"}  # by the build, which puts them into the wheel itself
    assert [path for path in bundled if is_ignored.match_file(path) and path.rpartition("/")[2] not in made] == []
    hook = (ROOT / PYPROJECT["tool"]["hatch"]["build"]["hooks"]["custom"]["path"]).read_text(encoding="utf-8")
    assert all(name in hook for name in made)


def test_there_is_one_version() -> None:
    assert PROJECT["version"] == cutaway.__version__
    assert f"## [Unreleased] {cutaway.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_makefile_explains_every_target() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert re.findall(r"^  ([a-z-]+) +\S", done.stdout, re.MULTILINE) == list(TARGETS)


def test_the_readme_begins_with_what_the_gate_runs() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert 0 <= readme.find("make demo") < readme.find("make test")
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize(("rule", "code"), REFUSED, ids=lambda value: value if len(value) < 5 else "")
def test_the_linter_refuses(rule: str, code: str) -> None:
    command = [sys.executable, "-m", "ruff", "check", "--output-format", "concise", "--no-cache", "--stdin-filename"]
    done = subprocess.run(
        [*command, f"{PACKAGE}/planted.py", "-"],
        cwd=ROOT,
        input=code,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert re.search(rf"\b{rule}\b", done.stdout), done.stdout
