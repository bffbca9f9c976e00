"""What a name stands for. In: the name of a bundled model, a path, a run, a hub id. Out: where the model lies, and its config."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from .config import ModelConfig
from .errors import CutawayError, near
from .train.run_directory import newest_model
from .weights.adapter_settings import is_adapter, read_settings
from .weights.hub import fetch, is_hub_id
from .weights.opening import GGUF, open_config

MOST_NAME = 1000  # characters: what is longer is no name of a file, and the system would refuse it


def find(name: str) -> Path:
    """The checkpoint directory or .gguf file that a name stands for."""
    if len(name) > MOST_NAME:
        raise CutawayError(
            f"'{name[:60]}…' is no model: a text of {len(name):,} characters stands where its name belongs."
        )
    path = Path(name).expanduser()
    if (path / "config.json").is_file() or is_adapter(path) or (path.suffix == GGUF and path.is_file()):
        return path
    if (path / "recipe.json").is_file():
        if (found := newest_model(path)) is None:
            raise CutawayError(f"The run in {path} has no complete checkpoint yet. Train it further first.")
        return found
    bundled = bundled_models()
    if name in bundled:
        return bundled[name]
    if is_hub_id(name):
        return fetch(name)
    if path.exists():
        raise CutawayError(
            f"{path} is no model: it holds neither a config.json nor a run. Name a checkpoint directory or a .gguf file."
        )
    runs = [str(run.parent) for run in Path("runs").glob("*/recipe.json")]
    raise CutawayError(
        f"There is no model '{name}': no such directory or .gguf file, and no bundled model of that name."
        + near(name, [*bundled, *runs])
    )


def read_config(name: str | Path) -> ModelConfig:
    """The config of a model that `load` would open, without reading its weights."""
    place = find(str(name))
    if not is_adapter(place):
        return open_config(place)
    base, masks = open_config(find(base_of(place))), read_settings(place).masks
    return base if masks is None else masks.applied(base)


def base_of(place: Path) -> str:
    """The base that an adapter names; what it names does not reach the network."""
    base = read_settings(place).base
    if not base or (is_hub_id(base) and not Path(base).exists() and base not in bundled_models()):
        what = f"names its base by '{base:.80}', which is not on this machine" if base else "does not name its base"
        raise CutawayError(
            f"{place} holds an adapter and {what}. Open the base with it: --adapter, or load(base, adapter=…)."
        )
    return base


def bundled_models() -> dict[str, Path]:
    """The models that come with the package, by name."""
    return {path.parent.name: path.parent for path in sorted(Path(str(files("cutaway"))).glob("models/*/config.json"))}
