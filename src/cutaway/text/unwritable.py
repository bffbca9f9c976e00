"""A tokenizer in which no text spells a control token. In: a tokenizer's JSON. Out: a library tokenizer with the same ids.

Some models (SentencePiece's Unigram, foremost) hold control tokens such as `</s>` among their ordinary pieces and would
produce them from text that merely spells them. Here those pieces carry a name that no text can come to.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, Final

from tokenizers import Tokenizer as Library

# Pre-tokenizers cut at spaces or replace them, and U+FDD0 is no character: a piece with both cannot come from text.
_NAME: Final = " \ufdd0{} "


def without_spellings(tokenizer_json: str, controls: Collection[str]) -> Library:
    """The tokenizer whose tokens `controls`, but for unk, keep their ids and lose their spelling; it frames no text."""
    data = json.loads(tokenizer_json)
    data["added_tokens"] = [token for token in data["added_tokens"] if token["content"] not in controls]
    data["post_processor"] = None
    model: dict[str, Any] = data["model"]
    controls = set(controls) - {_unknown(model)}
    if isinstance(model["vocab"], list):
        model["vocab"] = [[_renamed(piece, controls), score] for piece, score in model["vocab"]]
    else:
        model["vocab"] = {_renamed(piece, controls): token_id for piece, token_id in model["vocab"].items()}
    library = Library.from_str(json.dumps(data))
    library.encode_special_tokens = True
    return library


def _unknown(model: dict[str, Any]) -> str | None:
    """What the model makes of unknown text, which it must find: of all controls the one that text may come to."""
    unknown_id = model.get("unk_id")
    return model.get("unk_token") if unknown_id is None else model["vocab"][unknown_id][0]


def _renamed(piece: str, controls: Collection[str]) -> str:
    return _NAME.format(piece) if piece in controls else piece
