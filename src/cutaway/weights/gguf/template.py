"""The chat template inside a file. In: a path. Out: the template, with the special tokens that it may name.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#chat-template
"""

from __future__ import annotations

from pathlib import Path

from ...errors import CutawayError
from ...text.chat import ChatTemplate
from .reader import GgufFile
from .vocabulary import PREFIX, ROLES

TEMPLATE = "tokenizer.chat_template"


def read_template(path: Path) -> ChatTemplate | None:
    """The template of a file, or None where it has none. Raises CutawayError for a file that is damaged."""
    with GgufFile(path) as file:
        metadata = file.metadata
    source, tokens = metadata.get(TEMPLATE), metadata.get(f"{PREFIX}tokens")
    if source is None:
        return None
    if not isinstance(source, str):
        raise CutawayError(f"{path}: its chat template ({TEMPLATE}) is no text. Take the file from its maker again.")
    spelled = tokens if isinstance(tokens, list) else []
    ids = {f"{role}_token": metadata.get(f"{PREFIX}{key}") for role, key in ROLES.items()}
    named = {role: spelled[i] for role, i in ids.items() if type(i) is int and 0 <= i < len(spelled)}
    return ChatTemplate(source, str(path), named)
