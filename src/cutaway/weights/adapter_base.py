"""What the base of an adapter looked like. In: a model with adapters, or a directory. Out: a note beside them, or a refusal.

Models of one shape take each other's adapters, and nothing but the text would tell. So `adapter_base.json` keeps some numbers of
some of the base's matrices. Rounded to 4 bits they are 0.08 to 0.09 of their norm apart (stories, translate-de-en), finetuned
siblings 0.3 to 0.8. Others do not need the file.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor

from ..errors import CutawayError
from ..model import Transformer
from ..model.adapter import adapters, matrices
from ..model.projection import Projection
from .files import read_json

NOTE = "adapter_base.json"
MOST_MATRICES, MOST_NUMBERS = 3, 64
MOST_APART = 0.2  # |theirs - ours| / |ours|


def write_base(directory: Path, model: Transformer) -> None:
    """Note the matrices under the first, the middle and the last adapter."""
    found = adapters(model)
    chosen = list(found)[:: max(1, (len(found) - 1) // (MOST_MATRICES - 1))][:MOST_MATRICES]
    values = {path: _sample(found[path].base.weight).tolist() for path in chosen}
    (directory / NOTE).write_text(json.dumps(values, indent=1) + "\n", "utf-8")


def check_base(directory: Path, model: Transformer, paths: Collection[str], made_for: str) -> None:
    """Raises CutawayError where the note is of other weights, and for a damaged one. paths: which get an adapter; made_for:
    a sentence on the base that the directory names, or ""."""
    path = directory / NOTE
    if not path.exists():
        return
    remedy = f"Without this file nothing is compared: delete {path} if the model is meant."
    noted = read_json(path)
    if not noted.keys() <= set(paths) or not all(map(_is_sample, noted.values())):
        raise CutawayError(f"{path} is damaged, or of another adapter. {remedy}")
    bases = {name: base for name, base in matrices(model).items() if name in noted and isinstance(base, Projection)}
    then = torch.tensor([number for name in bases for number in noted[name]], dtype=torch.float32)
    now = torch.cat([_sample(base.weight) for base in bases.values()] or [then])
    if len(then) != len(now) or not float((then - now).norm()) <= MOST_APART * float(now.norm()):
        raise CutawayError(
            f"The adapter in {directory} was trained beside other weights than those of this model: "
            f"{', '.join(noted)} differ.{made_for} Open the model that it is for. {remedy}"
        )


def _sample(weight: Tensor) -> Tensor:
    """Some numbers of a matrix, evenly spread, in the order in which they lie: at most MOST_NUMBERS."""
    flat = weight.detach().flatten()
    return flat[:: max(1, -(-len(flat) // MOST_NUMBERS))].float().cpu()


def _is_sample(values: object) -> bool:
    return isinstance(values, list) and len(values) <= MOST_NUMBERS and all(type(value) is float for value in values)
