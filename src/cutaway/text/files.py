"""Tokenizer files <-> the `tokenizers` library. In: a path. Out: a library tokenizer and its special roles, or one error.

The directory form is Hugging Face's: `tokenizer.json` holds the whole tokenizer, `tokenizer_config.json` says which tokens
play which role. Where that file is silent, `special_tokens_map.json` and the ids in `config.json` are asked. A directory
without a `tokenizer.json` is opened by one of `formats`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer as Library

from ..errors import CutawayError
from .formats import CharsmapError, Opened, check_normalizer, find_vocabulary, open_vocabulary
from .reading import MAX_ID, fault, parse_json, read_mapping, read_text
from .refusals import is_of_library
from .special import ROLE_NAMES, SpecialRoles

TOKENIZER_FILE: Final = "tokenizer.json"
CONFIG_FILE: Final = "tokenizer_config.json"
_SPECIAL_MAP_FILE: Final = "special_tokens_map.json"
_MODEL_CONFIG_FILE: Final = "config.json"


def read_tokenizer(path: Path) -> tuple[Library, SpecialRoles]:
    """The tokenizer of a directory or of one of its files, and its roles (none for a JSON file of another name).

    Raises CutawayError for a file that is missing, unreadable, too large, or something else than its name says.
    """
    file = find_tokenizer(path) if path.is_dir() else path
    if file is None:
        file = path / TOKENIZER_FILE  # whose absence is then said
    opened = open_vocabulary(file) or Opened(_library(read_text(file, "JSON"), file), {})
    vocabulary = opened.made.get_vocab()
    if not vocabulary:
        raise CutawayError(f"{file} holds a tokenizer without tokens. Train one, or copy the file again.")
    if (largest := max(vocabulary.values())) >= MAX_ID:
        raise fault(file, f"a token has the id {largest:,}; ids end below {MAX_ID:,}")
    knows_roles = file.suffix != ".json" or file.name in (TOKENIZER_FILE, "vocab.json")
    return opened.made, _roles(file.parent, opened) if knows_roles else SpecialRoles()


def find_tokenizer(directory: Path) -> Path | None:
    """The file from which the tokenizer of a directory is read, or None: `tokenizer.json` first, then what `formats` know."""
    own = directory / TOKENIZER_FILE
    return own if own.exists() else find_vocabulary(directory)


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


def _library(text: str, file: Path) -> Library:
    try:
        library = Library.from_str(text)
        check_normalizer(library)
        return library
    except CharsmapError as error:
        raise fault(file, f"its character map (precompiled_charsmap) is damaged: {error}") from error
    except BaseException as error:
        if not is_of_library(error):
            raise
        parse_json(text, file)
        raise CutawayError(
            f"{file} is JSON but not a tokenizer of the Hugging Face tokenizers library: {error}. "
            f"Give the {TOKENIZER_FILE} that training wrote."
        ) from error


def _roles(directory: Path, opened: Opened) -> SpecialRoles:
    """The roles as the files beside the tokenizer tell them, the first that names a role; then the format's own."""
    library = opened.made
    spelled = {**read_mapping(directory / _SPECIAL_MAP_FILE), **read_mapping(directory / CONFIG_FILE)}
    customs = {f"{role}_token": spelling for role, spelling in opened.roles.items()}
    spellings = {role: _spelling({**customs, **spelled}.get(f"{role}_token")) for role in ROLE_NAMES}
    known = {role: spelling for role, spelling in spellings.items() if spelling is not None}
    listed = spelled.get("spare_tokens")
    spares = tuple(map(str, listed)) if isinstance(listed, list) else ()
    roles = SpecialRoles.resolve(known, spares, library.token_to_id)
    return SpecialRoles(**{**_config_ids(directory, library), **roles.named()}, spares=roles.spares)


def _config_ids(directory: Path, library: Library) -> dict[str, int]:
    """bos, eos and pad as the model's own config gives them: an id, or a list of ids of which the first counts."""
    config = read_mapping(directory / _MODEL_CONFIG_FILE)
    found = {}
    for role in ("bos", "eos", "pad"):
        value = config.get(f"{role}_token_id")
        token_id = value[0] if isinstance(value, list) and value else value
        if type(token_id) is int and 0 <= token_id < MAX_ID and library.id_to_token(token_id) is not None:
            found[role] = token_id
    return found


def _spelling(value: object) -> str | None:
    """A token as the files write it: its spelling, or a table with the spelling under `content`."""
    content = value.get("content") if isinstance(value, Mapping) else value
    return content if isinstance(content, str) else None
