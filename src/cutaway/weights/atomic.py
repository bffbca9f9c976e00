"""Files that are whole or not there. In: bytes or a writer. Out: a file or directory under its name, synced, complete.

Everything is written beside its place under a temporary name, synced, and renamed; an error or a kill on the way leaves what
was there before. A directory's last file is `complete.json`, the names and sizes of all others: it is written before the
rename, so that a directory under its own name is complete from its first moment, and a partial copy of one shows. A
directory is replaced in one step where the system can exchange two names (Linux), else in two renames. What a killed
process left half-written is swept away by the next writer beside it: whoever writes holds a lock, which dies with them.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from ..errors import CutawayError

MARK = "complete.json"
PARTIAL = ".partial"
AT_WORKING_DIRECTORY, EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


class WriteError(CutawayError):
    """Something could not be written. reason: what the system said."""

    def __init__(self, target: Path, reason: str) -> None:
        left = "What was there before is untouched." if target.exists() else "Nothing was left behind."
        super().__init__(f"Could not save {target}: {reason}. {left} Free some space, or choose another place.")
        self.reason = reason


def write_file(path: Path, content: bytes | Callable[[Path], None]) -> None:
    """Write or replace a file. content: its bytes, or what writes them to the path that it is given.

    Raises CutawayError if the system refuses (a full disk, say); the old file then stands.
    """
    path = path.resolve()
    with _reporting(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _beside(path)
        try:
            if isinstance(content, bytes):
                temporary.write_bytes(content)
            else:
                content(temporary)
            _sync(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync(path.parent)


def check_file(path: Path) -> None:
    """Raises CutawayError where `write_file` would now refuse: to be asked before long work. Its folder is made."""
    path = path.resolve()
    with _reporting(path):
        if path.is_dir():
            raise WriteError(path, "it is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        probe = _beside(path)
        probe.touch()
        probe.unlink()


def write_directory(target: Path, writer: Callable[[Path], None]) -> None:
    """Write or replace a directory. writer: fills the empty directory that it is given; `complete.json` is added here.

    Only a directory that this function wrote, or an empty one, is replaced. Raises CutawayError for any other, and if the
    system refuses (a full disk, say); the old directory then stands.
    """
    target = target.resolve()
    _refuse_foreign(target)
    with _reporting(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target.parent)
        temporary = _beside(target)
        temporary.mkdir()
        try:
            with _locked(temporary):
                writer(temporary)
                _mark(temporary)
                for path in [*temporary.rglob("*"), temporary]:
                    _sync(path)
                _put(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def add_file(directory: Path, name: str, content: bytes) -> None:
    """Write or replace one more file in a directory, as if `write_directory` had. Raises CutawayError if the system refuses."""
    write_file(directory / name, content)
    written = _written(directory)
    if written is not None:
        written[name] = len(content)
        write_file(directory / MARK, json.dumps(written, indent=1).encode())


def is_complete(directory: Path) -> bool:
    """Whether `write_directory` finished here, and every file that it wrote is still there with its size."""
    written = _written(directory)
    return written is not None and all(
        (directory / name).is_file() and (directory / name).stat().st_size == size for name, size in written.items()
    )


@contextmanager
def _reporting(target: Path) -> Iterator[None]:
    try:
        yield
    except WriteError as error:
        raise WriteError(target, error.reason) from error
    except OSError as error:
        raise WriteError(target, error.strerror or str(error)) from error


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}{PARTIAL}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _mark(directory: Path) -> None:
    sizes = {
        path.relative_to(directory).as_posix(): path.stat().st_size
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
    (directory / MARK).write_text(json.dumps(sizes, indent=1), "utf-8")


def _written(directory: Path) -> dict[str, int] | None:
    """What the mark lists, or None where there is no readable mark."""
    try:
        sizes = json.loads((directory / MARK).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    is_listing = isinstance(sizes, dict) and all(isinstance(size, int) for size in sizes.values())
    return sizes if is_listing else None


def _refuse_foreign(target: Path) -> None:
    if not os.path.lexists(target):
        return
    if not target.is_dir():
        raise CutawayError(f"{target} is a file. A directory is written there: choose another name.")
    ours = {MARK, *(_written(target) or ())}
    found = (path.relative_to(target).as_posix() for path in target.rglob("*") if not path.is_dir())
    foreign = list(islice((name for name in found if name not in ours), 3))
    if foreign:
        raise CutawayError(
            f"{target} holds files that Cutaway did not write there (such as {', '.join(foreign)}), and replacing the "
            "directory would delete them. Move them, or choose another directory; nothing was changed."
        )


def _put(temporary: Path, target: Path) -> None:
    """Give the new directory its name; an old one then has the temporary name. Undone if it cannot be synced."""
    is_replacing = target.exists()
    if is_replacing:
        _exchange(temporary, target)
    else:
        os.rename(temporary, target)
    try:
        _sync(target.parent)
    except OSError:
        if is_replacing:
            _exchange(temporary, target)
        else:
            os.rename(target, temporary)
        raise


def _exchange(one: Path, other: Path) -> None:
    """Two directories swap their names: in one step, or with a third name where the system cannot.

    Killed between those renames, the old directory is left as `.NAME.replaced`, which nobody deletes.
    """
    if _exchange_at_once(one, other):
        return
    aside = other.with_name(f".{other.name}.replaced")
    done: list[tuple[Path, Path]] = []
    try:
        for source, target in ((other, aside), (one, other), (aside, one)):
            os.rename(source, target)
            done.append((source, target))
    except OSError:
        for source, target in reversed(done):
            os.rename(target, source)
        raise


def _exchange_at_once(one: Path, other: Path) -> bool:
    """renameat2(2) with RENAME_EXCHANGE; False where the system or the file system does not have it."""
    if sys.platform != "linux":
        return False
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except AttributeError:
        return False
    names = os.fsencode(one), os.fsencode(other)
    return bool(renameat2(AT_WORKING_DIRECTORY, names[0], AT_WORKING_DIRECTORY, names[1], EXCHANGE) == 0)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _sweep(parent: Path) -> None:
    """Delete the half-written directories of writers that are gone."""
    for path in parent.glob(f".*{PARTIAL}"):
        if path.is_dir():
            try:
                with _locked(path):
                    shutil.rmtree(path, ignore_errors=True)
            except OSError:  # someone is writing there, or has just finished
                continue
