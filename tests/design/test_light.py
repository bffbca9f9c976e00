"""`import cutaway`, its config, the command line's help and the microscope's server answer at once: they load nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {"matplotlib", "numpy", "pyarrow", "rich", "safetensors", "tensorboardX", "tokenizers", "torch", "transformers"}
HELP = "import sys; sys.argv = ['cutaway', '--help']; from cutaway.apps.cli import main; sys.exit(main())"

SERVER = "from cutaway.apps.microscope import opening, server; from cutaway.apps.cli.open import is_at_hand as i; i('stories')"


def loaded_by(statement: str) -> set[str]:
    """The heavy libraries that a fresh Python has loaded after the statement, however it ended."""
    report = "import atexit, json, sys; atexit.register(lambda: print('\\n' + json.dumps(list(sys.modules))))"
    done = subprocess.run(
        [sys.executable, "-c", f"{report}; {statement}"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return HEAVY & set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "statement",
    ["import cutaway", "import cutaway.config", "import cutaway.cost", "import cutaway.apps.cli", HELP, SERVER],
    ids=["package", "config", "cost", "cli", "help", "server"],
)
def test_nothing_heavy_is_loaded(statement: str) -> None:
    assert loaded_by(statement) == set()


def test_what_is_loaded_is_seen() -> None:
    assert loaded_by("import rich.table") == {"rich"}
