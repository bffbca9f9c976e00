"""Files from strangers -> bytes, text, JSON. In: a path. Out: its content, no larger than a tokenizer may be, or one error.

Nothing here trusts what a file says of itself: its size is looked up before it is read, and every error names the file, the
fault and the next step.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from ..errors import CutawayError

# The largest published vocabularies (262,144 tokens) take about 35 MB.
MAX_MEBIBYTES: Final = 256
# No published vocabulary has a hundredth of it; an id beyond is a slip or an attack, and arrays are made as long as ids go.
MAX_ID: Final = 2**24
_AGAIN: Final = "It may be cut short: copy or write it again."


def fault(file: Path, what: str, step: str = "Copy the file again from where it came.") -> CutawayError:
    """The error of a file: which, what is wrong with it, what to do."""
    return CutawayError(f"{file}: {what}. {step}")


def read_bytes(file: Path, wanted: str = "tokenizer.json") -> bytes:
    """The content. wanted: what the error of a missing or huge file asks for."""
    try:
        size = file.stat().st_size
        if size > MAX_MEBIBYTES * 2**20:
            raise CutawayError(
                f"{file} has {size / 2**20:,.0f} MiB; a tokenizer file has at most {MAX_MEBIBYTES} MiB. "
                f"Give the {wanted} or the directory that holds it."
            )
        return file.read_bytes()
    except FileNotFoundError as error:
        raise CutawayError(f"No tokenizer at {file}. Give a {wanted}, or a directory that holds one.") from error
    except OSError as error:
        raise CutawayError(f"Cannot read {file}: {error.strerror}. Check the path and its permissions.") from error


def read_text(file: Path, form: str, wanted: str = "tokenizer.json") -> str:
    """The content as text, its line ends as "\\n". form: what the file should be, for the error ("JSON")."""
    try:
        text = read_bytes(file, wanted).decode("utf-8")
    except UnicodeDecodeError as error:
        raise CutawayError(f"{file} is not {form}: it holds bytes that are no UTF-8 text. Give a {wanted}.") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def parse_json(text: str, file: Path) -> Any:
    """The value of a JSON text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CutawayError(f"{file} is not JSON ({error}). {_AGAIN}") from error


def read_mapping(file: Path) -> dict[str, Any]:
    """The table of a JSON file; empty where there is no such file."""
    if not file.exists():
        return {}
    found = parse_json(read_text(file, "JSON"), file)
    if not isinstance(found, dict):
        raise CutawayError(f"{file} holds {type(found).__name__}, not a table of keys and values. Write it again.")
    return found


def check_ids(ids_by_token: dict[str, Any], file: Path) -> dict[str, int]:
    """A vocabulary as a file gives it: token -> id. Refuses what is no id, an id twice, and ids far beyond the tokens."""
    seen: dict[int, str] = {}
    for token, token_id in ids_by_token.items():
        if type(token_id) is not int or token_id < 0:
            raise fault(file, f"the token {token!r:.60} has the id {token_id!r:.40}, which is no number from 0 on")
        if token_id >= MAX_ID:
            raise fault(file, f"the token {token!r:.60} has the id {token_id}; ids end below {MAX_ID:,}")
        if token_id in seen:
            raise fault(file, f"the tokens {seen[token_id]!r:.60} and {token!r:.60} share the id {token_id}")
        seen[token_id] = token
    if not seen:
        raise fault(file, "there is no token in it")
    return ids_by_token
