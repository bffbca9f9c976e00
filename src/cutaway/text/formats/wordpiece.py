"""`vocab.txt` -> tokenizer: one token a line, its id the number of the line; words and their `##` continuations.

WordPiece (Wu et al. 2016, as in Devlin et al. 2019): the text is cleaned, lower-cased and stripped of accents if the config
says so, cut at spaces and punctuation; each word is the longest known prefix, again and again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, normalizers, pre_tokenizers

from ..reading import fault, read_text
from .declared import Added, read_declared
from .parts import Opened, finished, merged_roles, place

FILE: Final = "vocab.txt"
CONTINUES: Final = "##"
_ROLES: Final = {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}


def read_wordpiece(file: Path) -> Opened:
    """The tokenizer of a `vocab.txt`. Raises CutawayError where that fails."""
    declared = read_declared(file.parent)
    vocabulary = _vocabulary(file)
    customs = {role: token for role, token in _ROLES.items() if token in vocabulary}
    roles = merged_roles(declared, customs)
    if "unk" not in roles or roles["unk"] not in vocabulary:
        named = roles.get("unk", _ROLES["unk"])
        raise fault(file, f"the token for unknown words, {named}, is not in it", "Is it a WordPiece vocabulary?")
    strips_accents = declared.config.get("strip_accents")
    lowercases = declared.switch("do_lower_case", True)
    library = library_of_words(
        place(vocabulary, declared, file),
        roles["unk"],
        lowercases=lowercases,
        strips_accents=None if strips_accents is None else declared.switch("strip_accents", lowercases),
        parts_chinese=declared.switch("tokenize_chinese_chars", True),
    )
    added = {**{token: Added(content=token) for token in customs.values()}, **declared.added}
    frame = ([roles[role]] if role in roles else [] for role in ("cls", "sep"))
    return Opened(finished(library, list(added.values()), (next(frame), next(frame))), customs)


def library_of_words(
    vocabulary: dict[str, int],
    unknown: str,
    *,
    lowercases: bool,
    strips_accents: bool | None,
    parts_chinese: bool = True,
) -> Library:
    """The tokenizer, without what is declared beside it. strips_accents: None says that it does where it lower-cases."""
    library = Library(models.WordPiece(vocabulary, unk_token=unknown))
    library.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=parts_chinese, strip_accents=strips_accents, lowercase=lowercases
    )
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.decoder = decoders.WordPiece(prefix=CONTINUES)
    return library


def _vocabulary(file: Path) -> dict[str, int]:
    """Line number by token. Of a token that stands in two lines the last counts, as in the reference implementation."""
    lines = read_text(file, "text", FILE).split("\n")
    if lines[-1] == "":
        lines.pop()
    if not any(lines):
        raise fault(file, "there is no token in it")
    return {token: number for number, token in enumerate(lines)}
