"""Parts -> one library tokenizer. In: a model, how it cuts and joins, what was declared beside it. Out: an `Opened`.

Every format ends here. Added tokens keep the ids that files gave them; the tokens that a model wants around a text become the
file's post-processor, which a saved `tokenizer.json` keeps for other tools (a session adds them here, by role).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, processors
from tokenizers import Tokenizer as Library

from ..reading import MAX_ID, fault
from .declared import Added, Declared


@dataclass(frozen=True)
class Opened:
    """A tokenizer, and the spellings of the roles as its format has them, for where the files beside it are silent."""

    made: Library
    roles: Mapping[str, str]


def place(vocabulary: Mapping[str, int], declared: Declared, file: Path) -> dict[str, int]:
    """The vocabulary with every added token in it: at the id that was declared, or behind all others.

    Raises CutawayError where an added token claims the id of another.
    """
    placed, holders = dict(vocabulary), {token_id: token for token, token_id in vocabulary.items()}
    for token in sorted(declared.added.values(), key=lambda token: MAX_ID if token.id is None else token.id):
        if token.content in placed and token.id in (None, placed[token.content]):
            continue
        token_id = max(holders, default=-1) + 1 if token.id is None else token.id
        if token.content in placed:
            raise fault(
                file,
                f"{token.content!r:.60} has the id {placed[token.content]} and is declared beside it as {token_id}",
                "Take all files from one checkpoint.",
            )
        if token_id in holders:
            held = f"the id {token_id} is held by {holders[token_id]!r:.60} and declared beside it for {token.content!r:.60}"
            raise fault(file, held, "Take all files from one checkpoint.")
        placed[token.content], holders[token_id] = token_id, token.content
    return placed


def finished(
    library: Library,
    added: Sequence[Added],
    frame: tuple[Sequence[str], Sequence[str]] = ((), ()),
    between: Sequence[str] = (),
) -> Library:
    """The library tokenizer with its added tokens, and with what stands around a text: spellings before and after.

    between: what stands between two texts, all of one type then; left out: what ends the first, and the second is of type 1.
    """
    for token in added:
        switches: dict[str, Any] = {
            name: getattr(token, name) for name in ("lstrip", "rstrip", "single_word", "normalized", "special")
        }
        library.add_tokens([AddedToken(token.content, **switches)])
    before, after = ([token for token in side if library.token_to_id(token) is not None] for side in frame)
    if before or after:
        second = ["$B:1", *(f"{token}:1" for token in after)]
        library.post_processor = processors.TemplateProcessing(
            single=[*before, "$A", *after],
            pair=[*before, "$A", *between, "$B", *after] if between else [*before, "$A", *after, *second],
            special_tokens=[(token, library.token_to_id(token)) for token in dict.fromkeys([*before, *after])],
        )
    return library


def frame_of(
    declared: Declared, roles: Mapping[str, str | None], *, bos: bool, eos: bool
) -> tuple[list[str], list[str]]:
    """bos before a text and eos after it, as `add_bos_token` and `add_eos_token` say, or by the format's custom."""
    before = [roles.get("bos")] if declared.switch("add_bos_token", bos) else []
    after = [roles.get("eos")] if declared.switch("add_eos_token", eos) else []
    return [token for token in before if token], [token for token in after if token]


def merged_roles(declared: Declared, customs: Mapping[str, str]) -> dict[str, str]:
    """The format's customary roles under what the files say; a role that a file declares empty stays empty."""
    return {role: token for role, token in {**customs, **declared.roles}.items() if token is not None}
