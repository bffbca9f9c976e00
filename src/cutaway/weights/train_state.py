"""What a run needs beside the weights, to go on bit for bit. In: tensors and facts. Out: one safetensors file, and back.

Never a pickle: the tensors lie as they are, the facts (anything that JSON holds) as text in the header.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import CutawayError
from .atomic import write_file
from .tensor_file import TensorFile, write_tensors

FACTS = "facts"


def save_state(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write or replace the file, whole or not at all. Raises CutawayError if the system refuses."""
    text = json.dumps(facts)
    write_file(path, lambda temporary: write_tensors(temporary, tensors, {FACTS: text}))


def load_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_state` was given, bit for bit. Raises CutawayError for a file that is missing, cut, or something else."""
    with TensorFile(path) as file:
        try:
            facts = json.loads(file.metadata[FACTS])
        except (KeyError, ValueError, RecursionError) as error:
            raise CutawayError(f"{path} is not the state of a training run: it has no facts in its header.") from error
        if not isinstance(facts, dict):
            raise CutawayError(f"{path} is not the state of a training run: its facts are not a table.")
        return {name: file.read(name) for name in file.entries}, facts
