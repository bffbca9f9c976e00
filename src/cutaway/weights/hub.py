"""A hub id -> a checkpoint directory. In: `owner/name`. Out: the folder in huggingface_hub's cache, fetched once.

The only place that reaches the network, and only for a name that looks like a hub id and is no path here. What is fetched is
data: configs, tokenizers and weights, never code.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import CutawayError

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
SMALL = ("*.json", "*.txt", "*.model", "*.spm", "*.tiktoken", "*.jinja")
WEIGHTS = (("model*.safetensors",), ("pytorch_model*.bin",))


def is_hub_id(name: str) -> bool:
    """Whether a name can only be meant for the hub: `owner/name`, with no such folder as `owner` here."""
    return HUB_ID.fullmatch(name) is not None and not Path(name).parent.exists()


def fetch(name: str) -> Path:
    """The directory of a hub id, from the cache where it is there already.

    Raises CutawayError where huggingface_hub is missing, and for whatever the hub answers instead of a model.
    """
    try:
        from huggingface_hub import errors, snapshot_download
    except ImportError as error:
        raise CutawayError(
            f"'{name}' looks like a hub id. To open models from the hub: pip install 'cutaway[hub]'."
        ) from error
    try:
        directory = Path(snapshot_download(name, allow_patterns=list(SMALL)))
        for patterns in WEIGHTS:
            directory = Path(snapshot_download(name, allow_patterns=[*SMALL, *patterns]))
            if any(path for pattern in patterns for path in directory.glob(pattern)):
                return directory
    except errors.GatedRepoError as error:
        raise CutawayError(
            f"'{name}' is gated: accept its terms on the hub, and log in with `hf auth login`."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise CutawayError(
            f"The hub has no model '{name}', or it is private. Check the id, or name a directory."
        ) from error
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, OSError) as error:
        raise CutawayError(
            f"Could not fetch '{name}' from the hub, and the cache does not hold it ({str(error).strip()[:160]}). "
            "Check the connection, or name a directory."
        ) from error
    raise CutawayError(f"'{name}' on the hub holds no weights that Cutaway reads: safetensors, or pytorch_model.bin.")
