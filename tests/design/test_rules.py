"""Each rule of the design holds for the tree, finds a planted breach of it, and lets a clean file pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cutaway.weights.families import FAMILIES
from cutaway.weights.families.native import NATIVE

from . import imports, rules
from .tree import ROOT, held_files

Check = Callable[[Path], list[str]]

CHECKS: tuple[Check, ...] = (
    imports.direction,
    imports.siblings,
    imports.loops,
    imports.unreadable,
    rules.long_files,
    rules.long_functions,
    rules.family_names,
    rules.probing,
    rules.global_state,
    rules.workplace_paths,
    rules.axis_words,
)
AXES = {"docs/reference/axes.md": "| `batch` | rows |\n| `position` | tokens |\n"}
LONG = "def f():\n" + "    x = 1\n" * 40

# What breaks each rule: files by path.
BREACHES: tuple[tuple[Check, dict[str, str]], ...] = (
    (imports.direction, {"src/cutaway/model/a.py": "from ..decode.b import c\n"}),
    (imports.direction, {"src/cutaway/model/a.py": "def f():\n    import cutaway.lm\n"}),
    (imports.direction, {"src/cutaway/text/a.py": "if TYPE_CHECKING:\n    from ..lens import Site\n"}),
    (imports.direction, {"src/cutaway/lm.py": "", "src/cutaway/decode/a.py": "from .. import lm\n"}),
    (imports.direction, {"src/cutaway/data/a.py": "from cutaway import load\n"}),
    (imports.direction, {"src/cutaway/config.py": "from .text import Tokenizer\n"}),
    (imports.direction, {"src/cutaway/extra/a.py": ""}),
    (imports.siblings, {"src/cutaway/objectives/a.py": "from ..data.packing import windows\n"}),
    (imports.siblings, {"src/cutaway/data/b.py": "", "src/cutaway/runtime/a.py": "from ..data import b\n"}),
    (imports.loops, {"src/cutaway/text/a.py": "from .b import B\n", "src/cutaway/text/b.py": "from . import a\n"}),
    (
        imports.loops,
        {
            "src/cutaway/text/a.py": "from .b import B\n",
            "src/cutaway/text/b.py": "if TYPE_CHECKING:\n    from .a import A\n",
        },
    ),
    (
        imports.loops,
        {"src/cutaway/lens/a.py": "from ..train.a import A\n", "src/cutaway/train/b.py": "from ..lens.b import B\n"},
    ),
    (imports.unreadable, {"src/cutaway/text/a.py": "import importlib\nimportlib.import_module('cutaway.lm')\n"}),
    (rules.long_files, {"src/cutaway/apps/microscope/a.js": "//\n" * 401}),
    (rules.long_files, {"tests/test_a.py": "#\n" * 401}),
    (rules.long_functions, {"tests/test_a.py": LONG}),
    (rules.long_functions, {"src/cutaway/a.py": "class A:\n    async " + LONG.replace("\n", "\n    ").rstrip() + "\n"}),
    (rules.family_names, {"src/cutaway/model/a.py": "if name == 'GPT2':\n    pass\n"}),
    (rules.family_names, {"src/cutaway/model/a.py": "table = dict(llama=1)\n"}),
    (rules.family_names, {"src/cutaway/apps/microscope/a.js": "if (kind === 'mistral') {}\n"}),
    (rules.probing, {"src/cutaway/model/a.py": "hasattr(x, 'y')\n"}),
    (rules.probing, {"src/cutaway/model/a.py": "getattr(x, 'y', None)\n"}),
    (rules.global_state, {"src/cutaway/model/a.py": "def f():\n    global x\n"}),
    (rules.global_state, {"src/cutaway/model/a.py": "cache: dict = {}\n"}),
    (rules.global_state, {"src/cutaway/model/a.py": "_last = None\n"}),
    (rules.workplace_paths, {"docs/a.md": "see " + rules.WORKPLACE[0] + "x\n"}),
    (rules.workplace_paths, {".ci/run": "cp " + rules.WORKPLACE[-1] + "/x .\n"}),
    (rules.axis_words, {**AXES, "src/cutaway/a.py": 'def f():\n    """x: [batch, length]."""\n'}),
)

# What none of the rules forbids.
CLEAN = {
    **AXES,
    ".gitignore": "data/\n*.bin\n",
    "data/a.py": "hasattr(x, 'y')\n" * 500,
    "a.bin": rules.WORKPLACE[0],
    "src/cutaway/errors.py": "class CutawayError(ValueError):\n    pass\n",
    "src/cutaway/weights/names.py": "FAMILY = 'gpt2'\n__all__ = ['FAMILY']\nWord = int\n",
    "src/cutaway/data/packing.py": '"""x: [batch, position]; a pair [str, str]."""\nfrom ..errors import CutawayError\n',
    "src/cutaway/objectives/loss.py": "from ..data.packing import Batch\n",
    "src/cutaway/__init__.py": "def f():\n    from . import lm\n",
    "src/cutaway/lm.py": "from .decode import run\n",
    "src/cutaway/apps/cli.py": "from importlib import import_module\nfrom .. import __version__\n",
    "src/cutaway/decode/__init__.py": "from .run import run\n",
    "src/cutaway/decode/run.py": LONG.replace("x = 1", "'''" + "\n" * 50 + "'''", 1),
    "src/cutaway/apps/microscope/a.js": "// llama\n" * 400,
}


def name_of(value: Check | dict[str, str]) -> str:
    return "files" if isinstance(value, dict) else value.__name__


def plant(root: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_the_tree_keeps_the_rule(check: Check) -> None:
    found = check(ROOT)
    assert not found, "\n".join(["", *found])


@pytest.mark.parametrize(("check", "files"), BREACHES, ids=name_of)
def test_a_planted_breach_is_found(check: Check, files: dict[str, str], tmp_path: Path) -> None:
    assert check(plant(tmp_path, files)) != []


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_a_clean_tree_passes(check: Check, tmp_path: Path) -> None:
    assert check(plant(tmp_path, CLEAN)) == []


def test_every_rule_has_a_planted_breach() -> None:
    assert {check for check, _ in BREACHES} == set(CHECKS)


def test_every_family_of_the_weights_is_forbidden_elsewhere() -> None:
    assert {family.model_type for family in FAMILIES if family is not NATIVE} <= rules.FAMILIES


def test_the_tree_is_seen_and_what_git_ignores_is_not() -> None:
    held = held_files(ROOT)
    assert {"pyproject.toml", "Makefile", ".ci/run", "src/cutaway/config.py", "tests/design/tree.py"} <= set(held)
    assert not [path for path in held if path.startswith((".venv", ".git/")) or "__pycache__" in path]
