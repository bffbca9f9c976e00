"""Dialogues -> one corpus, with a weight for every token. In: a `Source`. Out: a `Corpus` whose weights say what is learned.

Rendering a template takes longer than reading text, so what was encoded is kept on disk, under a name that says what it was made
from; a file that does not read back is made again.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterable
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CutawayError
from ..text import ChatTemplate, Tokenizer
from .corpus import Corpus
from .dialogues import encode_dialogues
from .packing import Ids
from .sources import Source

Arrays = dict[str, Any]
_NAMES = ("token_ids", "weights", "starts", "num_bytes", "hashes")


def build_dialogues(source: Source, tokenizer: Tokenizer, template: ChatTemplate, cache_dir: Path) -> Corpus:
    """The corpus of a source of dialogues: from the cache where it is up to date, else encoded and written there.

    A document's bytes are those of what the assistant says. Raises `CutawayError` as `encode_dialogues`, and for a full disk.
    """
    path = cache_dir / f"{_key(source, tokenizer, template)}.npz"
    stored = _load(path)
    if stored is None:
        stored = _joined(encode_dialogues(source, tokenizer, template), tokenizer, source.name)
        _write(path, stored)
    return Corpus(
        token_ids=stored["token_ids"],
        document_starts=stored["starts"],
        document_bytes=stored["num_bytes"],
        document_hashes=stored["hashes"],
        end_id=None,
        vocab_size=tokenizer.vocab_size,
        name=source.name,
        weights=stored["weights"],
    )


def _joined(dialogues: Iterable[tuple[Ids, NDArray[np.float32]]], tokenizer: Tokenizer, name: str) -> Arrays:
    found = list(dialogues)
    if not found:
        raise CutawayError(f"There is no dialogue in {name}: nothing to learn from.")
    said = [tokenizer.decode(ids[weights == 1].tolist(), skip_special=True).encode() for ids, weights in found]
    return {
        "token_ids": np.concatenate([ids for ids, _ in found]).astype(np.uint32),
        "weights": np.concatenate([weights for _, weights in found]),
        "starts": np.cumsum([0, *(len(ids) for ids, _ in found)]).astype(np.int64),
        "num_bytes": np.array([len(text) for text in said], dtype=np.int64),
        "hashes": np.array(
            [int.from_bytes(blake2b(text, digest_size=8).digest(), "big") >> 1 for text in said], dtype=np.int64
        ),
    }


def _key(source: Source, tokenizer: Tokenizer, template: ChatTemplate) -> str:
    files = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in source.paths()]
    made_from = ["dialogues 1", tokenizer.fingerprint(), template.source, dict(template.tokens), files]
    return sha256(json.dumps(made_from).encode()).hexdigest()[:32]


def _load(path: Path) -> Arrays | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in _NAMES}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _write(path: Path, arrays: Arrays) -> None:
    temporary = path.with_name(f"{path.stem}.{os.getpid()}.part.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(temporary, **arrays)
        os.replace(temporary, path)
    except OSError as error:
        raise CutawayError(
            f"The token cache '{path}' cannot be written ({error.strerror}). Make room there."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
