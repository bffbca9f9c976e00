"""Tokenizer files <-> the `tokenizers` library. In: a path. Out: a library tokenizer and its special roles, or one error.

The directory form is Hugging Face's: `tokenizer.json` holds the whole tokenizer, `tokenizer_config.json` says which tokens
play which role. Where that file is silent, `special_tokens_map.json` and the ids in `config.json` are asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer as Library

from ..errors import CutawayError
from .special import ROLE_NAMES, SpecialRoles

TOKENIZER_FILE: Final = "tokenizer.json"
CONFIG_FILE: Final = "tokenizer_config.json"
_SPECIAL_MAP_FILE: Final = "special_tokens_map.json"
_MODEL_CONFIG_FILE: Final = "config.json"
# The largest published vocabularies (262,144 tokens) take about 35 MB.
_MAX_MEBIBYTES: Final = 256


def read_tokenizer(path: Path) -> tuple[Library, SpecialRoles]:
    """The tokenizer of a directory or of a `tokenizer.json`, and its roles (none for a file of another name).

    Raises CutawayError for a file that is missing, unreadable, too large, not JSON, or JSON of something else.
    """
    file = path / TOKENIZER_FILE if path.is_dir() else path
    library = _library(_text(file), file)
    if library.get_vocab_size() == 0:
        raise CutawayError(f"{file} holds a tokenizer without tokens. Train one, or copy the file again.")
    return library, _roles(file.parent, library) if file.name == TOKENIZER_FILE else SpecialRoles()


def write_tokenizer(directory: Path, tokenizer_json: str, config: Mapping[str, object]) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json`. Raises CutawayError where the directory cannot be written."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / TOKENIZER_FILE).write_text(tokenizer_json, encoding="utf-8")
        config_json = json.dumps(config, ensure_ascii=False, indent=2) + "\n"
        (directory / CONFIG_FILE).write_text(config_json, encoding="utf-8")
    except OSError as error:
        raise CutawayError(
            f"Cannot write the tokenizer to {directory}: {error.strerror}. Choose another place."
        ) from error


def _text(file: Path) -> str:
    try:
        size = file.stat().st_size
        if size > _MAX_MEBIBYTES * 2**20:
            raise CutawayError(
                f"{file} has {size / 2**20:,.0f} MiB; a tokenizer file has at most {_MAX_MEBIBYTES} MiB. "
                f"Give the {TOKENIZER_FILE} or the directory that holds it."
            )
        return file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise CutawayError(
            f"No tokenizer at {file}. Give a {TOKENIZER_FILE}, or a directory that holds one."
        ) from error
    except UnicodeDecodeError as error:
        raise CutawayError(
            f"{file} is not JSON: it holds bytes that are no UTF-8 text. Give a {TOKENIZER_FILE}."
        ) from error
    except OSError as error:
        raise CutawayError(f"Cannot read {file}: {error.strerror}. Check the path and its permissions.") from error


def _library(text: str, file: Path) -> Library:
    try:
        return Library.from_str(text)
    except Exception as error:  # the library raises nothing narrower
        _json(text, file)
        raise CutawayError(
            f"{file} is JSON but not a tokenizer of the Hugging Face tokenizers library: {error}. "
            f"Give the {TOKENIZER_FILE} that training wrote."
        ) from error


def _json(text: str, file: Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CutawayError(f"{file} is not JSON ({error}). It may be cut short: copy or write it again.") from error


def _roles(directory: Path, library: Library) -> SpecialRoles:
    """The roles as the files beside the tokenizer tell them; the first of them that names a role decides."""
    spelled = {**_mapping(directory / _SPECIAL_MAP_FILE), **_mapping(directory / CONFIG_FILE)}
    spellings = {role: _spelling(spelled.get(f"{role}_token")) for role in ROLE_NAMES}
    known = {role: spelling for role, spelling in spellings.items() if spelling is not None}
    spares = tuple(map(str, spelled.get("spare_tokens") or ()))
    roles = SpecialRoles.resolve(known, spares, library.token_to_id)
    return SpecialRoles(**{**_config_ids(directory, library), **roles.named()}, spares=roles.spares)


def _config_ids(directory: Path, library: Library) -> dict[str, int]:
    """bos, eos and pad as the model's own config gives them: an id, or a list of ids of which the first counts."""
    config = _mapping(directory / _MODEL_CONFIG_FILE)
    found = {}
    for role in ("bos", "eos", "pad"):
        value = config.get(f"{role}_token_id")
        token_id = value[0] if isinstance(value, list) and value else value
        if isinstance(token_id, int) and token_id >= 0 and library.id_to_token(token_id) is not None:
            found[role] = token_id
    return found


def _mapping(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    found = _json(_text(file), file)
    if not isinstance(found, dict):
        raise CutawayError(f"{file} holds {type(found).__name__}, not a table of keys and values. Write it again.")
    return found


def _spelling(value: object) -> str | None:
    """A token as the files write it: its spelling, or a table with the spelling under `content`."""
    content = value.get("content") if isinstance(value, Mapping) else value
    return content if isinstance(content, str) else None
