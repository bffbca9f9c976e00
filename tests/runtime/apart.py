"""Code in a process of its own. In: code, and what its environment has besides. Out: what it printed."""

from __future__ import annotations

import os
import subprocess
import sys


def printed(code: str, **environment: str) -> str:
    """What the code prints, without the last line break. Fails with what it said where it fails."""
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
