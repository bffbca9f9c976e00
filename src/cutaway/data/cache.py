"""One corpus <-> one file. In: encoded documents, in a stream. Out: their token ids (mapped from disk) and document table.

Layout: magic, header (JSON, padded with spaces), token ids, table [3, document] of int64: tokens, bytes, text hash. The
header is written last, over a blank one, so that a file without a whole header was not finished; the checksum covers the
rest.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import CutawayError

_MAGIC = b"cutaway corpus 1\n"
_NUM_HEADER_BYTES = 512
_CHECK_BYTES = 1 << 22


class Stored(NamedTuple):
    """What a cache file holds. token_ids: [token]. table: [3, document]: tokens, UTF-8 bytes, text hash."""

    token_ids: NDArray[Any]
    table: NDArray[np.int64]
    num_empty: int


def load(path: Path) -> Stored | None:
    """A cache file's content, its ids mapped from disk, or None when there is none or when it is not whole."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(_NUM_HEADER_BYTES).removeprefix(_MAGIC))
            if _checksum(file) != header["checksum"]:
                return None
        dtype, num_tokens, num_documents = np.dtype(header["dtype"]), header["num_tokens"], header["num_documents"]
        token_ids = np.memmap(path, dtype, "r", _NUM_HEADER_BYTES, shape=(num_tokens,))
        at_table = _table_offset(num_tokens * dtype.itemsize)
        table = np.fromfile(path, np.int64, 3 * num_documents, offset=at_table).reshape(3, num_documents)
        return Stored(token_ids, table, header["num_empty"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write(
    path: Path, documents: Iterable[tuple[NDArray[np.int64], int, int]], dtype: np.dtype[Any], empty: Sequence[str]
) -> Stored:
    """Streams documents (token ids, UTF-8 bytes, text hash) to `path`, all or nothing, and loads the result.

    empty: the places of documents that were left out, complete when `documents` ends. Raises `CutawayError` when the disk
    is full or the folder cannot be written.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w+b") as file:
            _write_to(file, documents, dtype, empty)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise CutawayError(
            f"The token cache '{path}' cannot be written ({error.strerror}). Make room there, or name another folder."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    stored = load(path)
    if stored is None:
        raise CutawayError(
            f"The token cache '{path}' was written but does not read back. Check that disk, then run again."
        )
    return stored


def _write_to(
    file: IO[bytes], documents: Iterable[tuple[NDArray[np.int64], int, int]], dtype: np.dtype[Any], empty: Sequence[str]
) -> None:
    file.write(b" " * _NUM_HEADER_BYTES)
    rows: list[tuple[int, int, int]] = []
    for token_ids, num_bytes, text_hash in documents:
        file.write(token_ids.astype(dtype).tobytes())
        rows.append((len(token_ids), num_bytes, text_hash))
    num_tokens = sum(length for length, _, _ in rows)
    file.write(b"\0" * (_table_offset(num_tokens * dtype.itemsize) - file.tell()))
    file.write(np.array(rows, dtype=np.int64).T.tobytes())
    file.seek(_NUM_HEADER_BYTES)
    header = {
        "dtype": dtype.str,
        "num_tokens": num_tokens,
        "num_documents": len(rows),
        "num_empty": len(empty),
        "checksum": _checksum(file),
    }
    content = _MAGIC + json.dumps(header).encode()
    assert len(content) <= _NUM_HEADER_BYTES, "the header outgrew its place"
    file.flush()
    os.fsync(file.fileno())
    file.seek(0)
    file.write(content.ljust(_NUM_HEADER_BYTES))
    file.flush()
    os.fsync(file.fileno())


def _table_offset(num_token_bytes: int) -> int:
    """Where the table starts: behind the header and the ids, at a multiple of 8."""
    return _NUM_HEADER_BYTES + -(-num_token_bytes // 8) * 8


def _checksum(file: IO[bytes]) -> int:
    """CRC-32 from here to the end of the file."""
    checksum = 0
    while part := file.read(_CHECK_BYTES):
        checksum = zlib.crc32(part, checksum)
    return checksum


def _sync_folder(folder: Path) -> None:
    """Makes the rename itself last through a power cut, where folders can be opened (POSIX)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
