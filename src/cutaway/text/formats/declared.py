"""Tokens that stand beside a vocabulary. In: a checkpoint directory without `tokenizer.json`. Out: which tokens were added.

Three files may speak of them: `tokenizer_config.json` (`added_tokens_decoder`, the roles, `add_bos_token` …),
`special_tokens_map.json` (the roles) and `added_tokens.json` (token -> id). The first of them that speaks of a token decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..reading import MAX_ID, fault, read_mapping

CONFIG_FILE: Final = "tokenizer_config.json"
MAP_FILE: Final = "special_tokens_map.json"
ADDED_FILE: Final = "added_tokens.json"
ROLES: Final = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


@dataclass(frozen=True, kw_only=True)
class Added:
    """One token found in a text before the rest is cut. id: None where no file gives one: then it takes the next free id."""

    content: str
    id: int | None = None
    special: bool = True
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False
    normalized: bool = False


@dataclass(frozen=True)
class Declared:
    """What the files beside a vocabulary say.

    config: the content of `tokenizer_config.json`. added: by spelling. roles: role -> spelling, None where a file says that
    no token plays the role.
    """

    directory: Path
    config: Mapping[str, Any]
    added: Mapping[str, Added]
    roles: Mapping[str, str | None]

    def switch(self, key: str, default: bool) -> bool:
        """A yes or no of `tokenizer_config.json`. Raises CutawayError for anything else under the key."""
        value = self.config.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise fault(self.directory / CONFIG_FILE, f"{key} is {value!r:.40}", "Write true or false there.")
        return value


def read_declared(directory: Path) -> Declared:
    """Read the three files; those that are missing say nothing. Raises CutawayError for one that is malformed."""
    config = read_mapping(directory / CONFIG_FILE)
    spoken = {**read_mapping(directory / MAP_FILE), **config}
    added = {token.content: token for token in _decoder(config.get("added_tokens_decoder"), directory / CONFIG_FILE)}
    file = directory / ADDED_FILE
    for content, token_id in read_mapping(file).items():
        added.setdefault(content, Added(content=content, id=_id(token_id, file), special=False, normalized=True))
    roles: dict[str, str | None] = {}
    for role in ROLES:
        if f"{role}_token" in spoken:
            roles[role] = _role(spoken[f"{role}_token"], added)
    for value in _extra(spoken):
        _role(value, added)
    _check_distinct(added, directory)
    return Declared(directory, config, added, roles)


def _decoder(table: object, file: Path) -> Iterator[Added]:
    if table is None:
        return
    if not isinstance(table, dict):
        raise fault(file, f"added_tokens_decoder is {type(table).__name__}, not a table from ids to tokens")
    for key, entry in table.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("content"), str) or not entry["content"]:
            raise fault(file, f"added_tokens_decoder has no token under {key!r:.40}")
        yield _added(entry, _id(int(key) if key.isdecimal() and len(key) < 12 else key, file))


def _added(entry: Mapping[str, Any], token_id: int | None) -> Added:
    """A token written as a table. Its switches are off where the table is silent, as in transformers' AddedToken."""
    switches = {name: entry.get(name) is True for name in ("lstrip", "rstrip", "single_word", "normalized")}
    return Added(content=entry["content"], id=token_id, special=entry.get("special") is not False, **switches)


def _role(value: object, added: dict[str, Added]) -> str | None:
    """The spelling of a role's token, which is an added token from now on."""
    entry = {"content": value} if isinstance(value, str) else value
    if not isinstance(entry, dict) or not isinstance(entry.get("content"), str) or not entry["content"]:
        return None
    content: str = entry["content"]
    known = added.get(content)
    if known is None or not known.special:
        added[content] = _added({**entry, "special": True}, None if known is None else known.id)
    return content


def _extra(spoken: Mapping[str, Any]) -> Iterator[object]:
    for key in ("additional_special_tokens", "extra_special_tokens"):
        value = spoken.get(key)
        if isinstance(value, list):
            yield from value
        elif isinstance(value, dict):
            yield from value.values()


def _id(value: object, file: Path) -> int:
    if type(value) is not int or not 0 <= value < MAX_ID:
        raise fault(file, f"an added token has the id {value!r:.40}; ids run from 0 to {MAX_ID - 1:,}")
    return value


def _check_distinct(added: Mapping[str, Added], directory: Path) -> None:
    spellings: dict[int, str] = {}
    for token in added.values():
        if token.id is not None and spellings.setdefault(token.id, token.content) != token.content:
            first = spellings[token.id]
            raise fault(directory, f"the added tokens {first!r:.60} and {token.content!r:.60} share the id {token.id}")
