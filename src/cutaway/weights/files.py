"""JSON files of a checkpoint. In: a path. Out: a table, or one message that names the file and the fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import CutawayError

MOST_BYTES = 64_000_000  # an index of the largest known checkpoints takes a tenth of it


def read_json(path: Path) -> dict[str, Any]:
    """The table in a JSON file. Raises CutawayError for a file that is missing, huge, cut, or something else."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise CutawayError(f"{path} has {path.stat().st_size} bytes. A JSON file here has at most {MOST_BYTES}.")
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise CutawayError(f"Could not read {path}: {error.strerror}.") from error
    except CutawayError:
        raise
    except (ValueError, RecursionError) as error:
        raise CutawayError(f"{path} is not JSON ({str(error)[:80]}). Copy or save it again.") from error
    if not isinstance(data, dict):
        raise CutawayError(f"{path} holds {type(data).__name__}, not a table of keys and values.")
    return data
