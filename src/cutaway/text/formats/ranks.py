"""tiktoken's ranks -> tokenizer. In: a file with `base64(token) rank` on each line. Out: an `Opened`; the ranks are its ids.

tiktoken joins, again and again, the neighbours whose join has the lowest rank; a piece that is a token is taken whole. How text
is cut before that, such a file does not say. `pat_str` in `tokenizer_config.json` does; else the published encodings are known
by the file's name or by the number of their ranks.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer as Library
from tokenizers import models

from ...errors import near
from ..alphabet import spelled
from ..merges import Pair
from ..reading import MAX_ID, fault, read_text
from .cuts import CUTS, byte_level
from .declared import CONFIG_FILE, Added, Declared, read_declared
from .parts import Opened, finished, frame_of, merged_roles, place

SUFFIX: Final = ".tiktoken"
_LINE: Final = re.compile(rb"[A-Za-z0-9+/]{2,}={0,2} [0-9]+\r?\n")
_PATTERN_KEYS: Final = ("pat_str", "pattern")
# The longest published token has 128 bytes. Pairs are sought by the square of the length.
_MAX_TOKEN_BYTES: Final = 512
_MAX_PATTERN_LENGTH: Final = 4096


@dataclass(frozen=True)
class Encoding:
    """A published encoding. specials: spelling -> how far behind the last rank its id is. roles: role -> spelling."""

    name: str
    num_ranks: int
    cut: str
    specials: Mapping[str, int]
    roles: Mapping[str, str] = field(default_factory=lambda: {"bos": "<|endoftext|>", "eos": "<|endoftext|>"})


_FILL_IN_MIDDLE: Final = {"<|fim_prefix|>": 3, "<|fim_middle|>": 4, "<|fim_suffix|>": 5}
_HEADERS: Final = {"<|start_header_id|>": 7, "<|end_header_id|>": 8, "<|eot_id|>": 10}
_ENCODINGS: Final = (
    Encoding("r50k_base", 50_256, "r50k_base", {"<|endoftext|>": 1}),
    Encoding("cl100k_base", 100_256, "cl100k_base", {"<|endoftext|>": 2, **_FILL_IN_MIDDLE, "<|endofprompt|>": 21}),
    Encoding("o200k_base", 199_998, "o200k_base", {"<|endoftext|>": 2, "<|endofprompt|>": 21}),
    Encoding(
        "128k with headers",
        128_000,
        "cl100k_base",
        {"<|begin_of_text|>": 1, "<|end_of_text|>": 2, **_HEADERS},
        {"bos": "<|begin_of_text|>", "eos": "<|end_of_text|>"},
    ),
    Encoding(
        "151k with turns",
        151_643,
        "cl100k_base, digit by digit",
        {"<|endoftext|>": 1, "<|im_start|>": 2, "<|im_end|>": 3},
        {"eos": "<|endoftext|>"},
    ),
)


def holds_ranks(file: Path) -> bool:
    """Whether a file of another name (`tokenizer.model`) is one of ranks, by its first line."""
    with file.open("rb") as stream:
        return _LINE.match(stream.read(2048)) is not None


def read_tiktoken(file: Path) -> Opened:
    """The tokenizer of a file of ranks and what stands beside it. Raises CutawayError where that fails."""
    declared = read_declared(file.parent)
    ranks = _ranks(file)
    encoding = next((known for known in _ENCODINGS if file.stem == known.name or len(ranks) == known.num_ranks), None)
    vocabulary = {spelled(token): rank for token, rank in ranks.items()}
    customs: dict[str, str] = {}
    if encoding is not None and not declared.added:
        last = max(ranks.values())
        vocabulary |= {text: last + offset for text, offset in encoding.specials.items() if text not in vocabulary}
        customs = dict(encoding.roles)
    model = models.BPE(place(vocabulary, declared, file), _merges(ranks), ignore_merges=True)
    library = _library(model, _pattern(declared, encoding, file), file)
    specials = () if encoding is None or declared.added else encoding.specials
    added = {**{text: Added(content=text) for text in specials}, **declared.added}
    frame = frame_of(declared, merged_roles(declared, customs), bos=False, eos=False)
    return Opened(finished(library, list(added.values()), frame), customs)


def _library(model: models.BPE, pattern: str, file: Path) -> Library:
    try:
        return byte_level(model, pattern)
    except Exception as error:  # the library raises nothing narrower
        raise fault(
            file.parent / CONFIG_FILE, f"pat_str is no regular expression: {error}", "Copy it from the model's card."
        ) from error


def _pattern(declared: Declared, encoding: Encoding | None, file: Path) -> str:
    """How text is cut: as the config says (by the name of an encoding or a pattern), or as the encoding is known to."""
    value = next((declared.config[key] for key in _PATTERN_KEYS if declared.config.get(key) is not None), None)
    if value is None:
        if encoding is None:
            names = ", ".join(f'"{name}"' for name in CUTS)
            step = f'Write "pat_str" into a {CONFIG_FILE} beside it: a regular expression, or one of {names}.'
            raise fault(file, "nothing says how its text is cut, and it is no encoding that is known here", step)
        return CUTS[encoding.cut]
    if not isinstance(value, str) or len(value) > _MAX_PATTERN_LENGTH:
        raise fault(declared.directory / CONFIG_FILE, f"pat_str is {value!r:.80}", "Write a regular expression there.")
    if re.fullmatch(r"[\w ,]+", value) and value not in CUTS:
        raise fault(
            declared.directory / CONFIG_FILE, f"pat_str names the unknown encoding '{value}'", near(value, CUTS)
        )
    # `{1,3}+` keeps what it matched in tiktoken's expressions and repeats it in the library's.
    return CUTS.get(value, value.replace("}+", "}"))


def _ranks(file: Path) -> dict[bytes, int]:
    """Token -> rank. Raises CutawayError for a line that is no such pair, and for what stands in two lines."""
    found: dict[bytes, int] = {}
    for number, token, rank in _lines(file):
        if token in found:
            raise fault(file, f"line {number} gives the token {token!r:.60} a second rank")
        found[token] = rank
    missing = [byte for byte in range(256) if bytes([byte]) not in found]
    if missing:
        raise fault(file, f"{len(missing)} of the 256 bytes have no rank, the first {missing[0]}")
    if len(set(found.values())) < len(found):
        holders = {rank: token for token, rank in found.items()}
        token, rank = next((token, rank) for token, rank in found.items() if holders[rank] != token)
        raise fault(file, f"the tokens {token!r:.60} and {holders[rank]!r:.60} share the rank {rank}")
    return found


def _lines(file: Path) -> Iterator[tuple[int, bytes, int]]:
    for number, line in enumerate(read_text(file, "text", f"*{SUFFIX}").split("\n"), start=1):
        if not line:
            continue
        encoded, _, rank = line.partition(" ")
        try:
            token = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError) as error:
            raise fault(file, f"line {number} begins with {encoded!r:.60}, which is no base64 ({error})") from error
        if not 0 < len(token) <= _MAX_TOKEN_BYTES:
            raise fault(
                file, f"line {number} holds a token of {len(token)} bytes; 1 to {_MAX_TOKEN_BYTES} are possible"
            )
        if not (rank.isascii() and rank.isdecimal() and len(rank) < 12 and int(rank) < MAX_ID):
            raise fault(file, f"line {number} has the rank {rank!r:.40}; ranks run from 0 to {MAX_ID - 1:,}")
        yield number, token, int(rank)


def _merges(ranks: Mapping[bytes, int]) -> list[Pair]:
    """Every pair of tokens whose join is a token, by the rank of the join; of several for one join the shortest left first."""
    return [
        (spelled(token[:index]), spelled(token[index:]))
        for token in sorted(ranks, key=ranks.__getitem__)
        for index in range(1, len(token))
        if token[:index] in ranks and token[index:] in ranks
    ]
