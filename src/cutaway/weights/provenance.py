"""What a checkpoint says of itself besides its architecture. In: its place. Out: family, how the numbers lie, licence.

Licence: `license` in the front matter of README.md, as model cards have it; else the first line of a LICENSE file; in a .gguf
file the key `general.license`. It is what the files say, shortened; nobody vouches for it.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from .families import find_family
from .files import read_json
from .gguf.reader import GgufFile
from .shards import open_shards

FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---", re.DOTALL)
LICENCE = re.compile(r"^license(?:_name)?:\s*['\"]?([^'\"\n]+)", re.MULTILINE)
MOST_BYTES, MOST_CHARACTERS = 20_000, 80


@dataclass(frozen=True, slots=True)
class Provenance:
    """family: its title. stored: bytes of the weights by the kind of their numbers. licence: None where no file names one."""

    family: str
    stored: dict[str, int]
    licence: str | None


def read_provenance(place: Path) -> Provenance:
    """Of a checkpoint directory or a .gguf file. Raises CutawayError for one that is missing or damaged."""
    if place.is_file():
        with GgufFile(place) as file:
            metadata = file.metadata
            sizes = [(entry.kind.name, entry.end - entry.begin) for entry in file.entries.values()]
        named = metadata.get("general.license")
        architecture = str(metadata.get("general.architecture"))
        return Provenance(f"GGUF, {architecture}", _sums(sizes), str(named)[:MOST_CHARACTERS] if named else None)
    config = place / "config.json"
    family = find_family(read_json(config).get("model_type"), str(config))
    with open_shards(place) as shards:
        sizes = [(str(entry.dtype).removeprefix("torch."), entry.num_bytes) for entry in shards.entries.values()]
    return Provenance(family.title, _sums(sizes), _licence(place))


def _licence(directory: Path) -> str | None:
    front = FRONT_MATTER.match(_beginning(directory / "README.md"))
    named = LICENCE.search(front[1]) if front else None
    if named:
        return named[1].strip()[:MOST_CHARACTERS]
    for path in sorted(directory.glob("LICENSE*")):
        lines = [line.strip() for line in _beginning(path).splitlines() if line.strip()]
        if lines:
            return lines[0][:MOST_CHARACTERS]
    return None


def _beginning(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return file.read(MOST_BYTES).decode("utf-8", errors="replace")


def _sums(sizes: list[tuple[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for name, size in sizes:
        total[name] += size
    return dict(total.most_common())
