"""`vocab.json` + `merges.txt` -> tokenizer: byte-level byte-pair encoding as Radford et al. 2019 publish it.

The vocabulary maps spellings in GPT-2's byte alphabet to ids; the merges stand one a line, the first the most urgent.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tokenizers import models

from ..alphabet import CHARACTERS
from ..merges import Pair
from ..reading import check_ids, fault, parse_json, read_text
from .cuts import CUTS, byte_level
from .declared import Added, Declared, read_declared
from .parts import Opened, finished, frame_of, merged_roles, place

FILE, MERGES_FILE = "vocab.json", "merges.txt"
# What the published vocabularies of this form call their special tokens, for checkpoints that do not say it.
_ROLES: Final[tuple[dict[str, str], ...]] = (
    {
        **{"bos": "<s>", "cls": "<s>", "eos": "</s>", "sep": "</s>"},
        **{"unk": "<unk>", "pad": "<pad>", "mask": "<mask>"},
    },
    {"bos": "<|endoftext|>", "eos": "<|endoftext|>"},
)
# The classes (as `tokenizer_class` names them) that share these files and cut text in another way, after NFC.
_DIGIT_BY_DIGIT: Final = ("Qwen2Tokenizer", "Qwen2TokenizerFast")


def read_byte_pairs(file: Path) -> Opened:
    """The tokenizer of a `vocab.json` and the `merges.txt` beside it. Raises CutawayError where that fails."""
    declared = read_declared(file.parent)
    vocabulary = _vocabulary(file)
    merges = _merges(file.parent / MERGES_FILE, vocabulary)
    customs = next((roles for roles in _ROLES if set(roles.values()) <= vocabulary.keys()), {})
    roles = merged_roles(declared, customs)
    model = models.BPE(place(vocabulary, declared, file), merges)
    digits = declared.config.get("tokenizer_class") in _DIGIT_BY_DIGIT
    library = byte_level(
        model,
        CUTS["cl100k_base, digit by digit" if digits else "r50k_base"],
        add_prefix_space=declared.switch("add_prefix_space", False),
        composes=digits,
    )
    masks = {customs["mask"]: Added(content=customs["mask"], lstrip=True)} if "mask" in customs else {}
    added = {**{token: Added(content=token) for token in customs.values()}, **masks, **declared.added}
    frame = _frame(declared, roles)
    between = (
        2 * frame[1] if {"cls", "sep"} <= roles.keys() else ()
    )  # two texts: <s> one </s></s> other </s> (Liu et al. 2019)
    return Opened(finished(library, list(added.values()), frame, between), customs)


def _frame(declared: Declared, roles: Mapping[str, str]) -> tuple[list[str], list[str]]:
    if "cls" in roles and "sep" in roles:
        return [roles["cls"]], [roles["sep"]]
    return frame_of(declared, roles, bos=False, eos=False)


def _vocabulary(file: Path) -> dict[str, int]:
    table = parse_json(read_text(file, "JSON", FILE), file)
    if not isinstance(table, dict):
        raise fault(file, f"it holds {type(table).__name__}, not a table from tokens to ids")
    vocabulary = check_ids(table, file)
    num_bytes = sum(character in vocabulary for character in CHARACTERS)
    if num_bytes < len(CHARACTERS) // 2 or any(token.endswith("</w>") for token in vocabulary):
        raise fault(
            file,
            f"it is no byte-level vocabulary: it spells {num_bytes} of the {len(CHARACTERS)} bytes",
            "Save the tokenizer as tokenizer.json with the tool that it came with, and open that.",
        )
    return vocabulary


def _merges(file: Path, vocabulary: Mapping[str, int]) -> list[Pair]:
    """The merges in order. Raises CutawayError for a line that is no pair of known tokens, or whose result is unknown."""
    merges = []
    for number, line in enumerate(read_text(file, "text", f"{FILE} and its {MERGES_FILE}").split("\n"), start=1):
        if not line or (number == 1 and line.startswith("#version")):
            continue
        pair = tuple(line.split(" "))
        if len(pair) != 2:
            raise fault(file, f"line {number} is {line!r:.80}, not two tokens with a space between them")
        for token in (*pair, "".join(pair)):
            if token not in vocabulary:
                raise fault(file, f"line {number} needs the token {token!r:.60}, which {FILE} does not hold")
        merges.append((pair[0], pair[1]))
    return merges
