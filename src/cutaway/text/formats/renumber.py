"""A SentencePiece model whose ids stand beside it. In: the model and a `vocab.json`. Out: its pieces in the order of that.

Translation models (Junczys-Dowmunt et al. 2018, as published on the hub) cut the source with `source.spm` and share one
`vocab.json` between both languages: it also holds pieces of the target, codes of languages (`>>fra<<`) and `<pad>`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Final

from ..reading import check_ids, fault, parse_json, read_text
from .sentencepiece import BYTE, CONTROL, NORMAL, UNUSED, Model, Piece

LANGUAGE: Final = BYTE + 1
MAX_GAPS: Final = 2**16
# U+FDD2 is no character: no text comes to a piece with it.
PLACEHOLDER: Final = "\ufdd2{}"
# Worse than any way to cut a text into pieces of the source, better than unknown text.
_FOREIGN_SCORE: Final = -1000.0
_CODE: Final = re.compile(r">>[^<>\s]+<<")


def renumbered(model: Model, file: Path) -> Model:
    """The model with the ids of `file`. A piece that the file does not hold is left out.

    Raises CutawayError for a file that is no vocabulary, lacks the piece for unknown text, or has ids far apart.
    """
    table = parse_json(read_text(file, "JSON", file.name), file)
    if not isinstance(table, dict):
        raise fault(file, f"it holds {type(table).__name__}, not a table from tokens to ids")
    spellings = {token_id: text for text, token_id in check_ids(table, file).items()}
    size = max(spellings) + 1
    if model.roles["unk"] not in table:
        raise fault(file, f"the token for unknown text, {model.roles['unk']}, is not in it")
    if size > len(spellings) + MAX_GAPS:
        raise fault(file, f"it has {len(spellings):,} tokens, and one of them has the id {size - 1:,}")
    known = {piece.text: piece for piece in model.pieces}
    texts = [spellings.get(token_id, PLACEHOLDER.format(token_id)) for token_id in range(size)]
    pieces = tuple(known.get(text) or Piece(text, _FOREIGN_SCORE, _kind(text, text in table)) for text in texts)
    roles = {role: text for role, text in {"pad": "<pad>", **model.roles}.items() if text in table}
    return replace(model, pieces=pieces, roles=roles)


def _kind(text: str, is_token: bool) -> int:
    """What a token is that the model does not hold."""
    if not is_token:
        return UNUSED
    if text == "<pad>":
        return CONTROL
    return LANGUAGE if _CODE.fullmatch(text) else NORMAL
