"""Files that are whole or not there: a full disk, a refusal or a kill at every step of the way leaves what was there before."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from cutaway.errors import CutawayError
from cutaway.weights import atomic, checkpoint
from cutaway.weights.atomic import is_complete, write_directory, write_file
from cutaway.weights.train_state import load_state, save_state
from tests import tiny

FULL = OSError(errno.ENOSPC, "No space left on device")


def fill(text: str) -> Callable[[Path], None]:
    """A writer of two files, one in a folder."""

    def writer(place: Path) -> None:
        (place / "inner").mkdir()
        (place / "inner" / "a").write_text(text)
        (place / "b").write_text(text)

    return writer


def holds(target: Path, text: str) -> bool:
    """Whether the directory is complete, holds this, and has nothing half-written beside it."""
    alone = list(target.parent.iterdir()) == [target]
    return alone and is_complete(target) and (target / "inner" / "a").read_text() == text == (target / "b").read_text()


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, name: str, after: int) -> Iterator[list[int]]:
    """os.NAME fails with a full disk on its call number `after`, counted from 0. Gives the list of calls."""
    calls: list[int] = []
    real = getattr(os, name)

    def flaky(*arguments: object) -> object:
        calls.append(len(calls))
        if len(calls) - 1 == after:
            raise FULL
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, name, flaky)
        yield calls


@contextmanager
def small_files(limit: int) -> Iterator[None]:
    """Within the block, the system refuses to let a file grow beyond `limit` bytes, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture(params=[True, False], ids=["exchange", "two renames"])
def _both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not request.param:
        monkeypatch.setattr(atomic, "_exchange_at_once", lambda *_: False)


@pytest.mark.usefixtures("_both_ways")
def test_a_directory_is_written_and_replaced(tmp_path: Path) -> None:
    target = tmp_path / "new" / "m"
    for text in ("one", "two", "three"):
        write_directory(target, fill(text))
        assert holds(target, text)
    write_directory(target, lambda _: None)
    assert [path.name for path in target.iterdir()] == ["complete.json"]


def attempt(target: Path) -> str | None:
    """Write the new directory; the message if that fails."""
    try:
        write_directory(target, fill("new"))
    except CutawayError as error:
        return str(error)
    return None


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize("after", range(9))
@pytest.mark.parametrize("name", ["fsync", "rename"])
@pytest.mark.parametrize("is_replacing", [True, False])
def test_a_failure_at_any_step_leaves_the_old_one(
    name: str, is_replacing: bool, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "m"
    if is_replacing:
        write_directory(target, fill("old"))
    with failing(monkeypatch, name, after) as calls:
        message = attempt(target)
    if len(calls) <= after:
        assert message is None
        assert holds(target, "new")
        return
    assert message is not None
    assert f"Could not save {target}: No space left" in message
    assert holds(target, "old") if is_replacing else not list(tmp_path.iterdir())


def test_files_and_both_directories_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with failing(monkeypatch, "fsync", -1) as calls:
        write_directory(tmp_path / "m", fill("new"))
    assert len(calls) == len(["inner", "inner/a", "b", "complete.json", "the directory", "its parent"])


@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt(), ValueError("a bug")])
def test_a_failing_writer_leaves_the_old_one(error: BaseException, tmp_path: Path) -> None:
    target = tmp_path / "m"
    write_directory(target, fill("old"))

    def writer(place: Path) -> None:
        fill("new")(place)
        raise error

    with pytest.raises(CutawayError if error is FULL else type(error)):
        write_directory(target, writer)
    assert holds(target, "old")


def test_a_full_disk_while_saving_a_checkpoint(tmp_path: Path) -> None:
    path, model = tmp_path / "m", tiny.model(tiny.config())
    checkpoint.save(path, model)
    for parameter in tiny.model(tiny.config(), seed=2).parameters():
        parameter.data.zero_()
    for limit in (0, 100, 5000):
        with small_files(limit), pytest.raises(CutawayError, match=r"Could not save .*m: .*untouched. Free some space"):
            checkpoint.save(path, tiny.model(tiny.config(), seed=2))
        assert list(tmp_path.iterdir()) == [path]
        again = checkpoint.load(path)
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_a_full_disk_while_saving_a_state(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_state(path, {"a": torch.arange(3)}, {"step": 1})
    with small_files(1000), pytest.raises(CutawayError, match="untouched"):
        save_state(path, {"a": torch.arange(3000)}, {"step": 2})
    assert list(tmp_path.iterdir()) == [path]
    assert load_state(path)[1] == {"step": 1}


def test_the_message_names_what_was_asked_for_not_a_temporary_name(tmp_path: Path) -> None:
    def writer(place: Path) -> None:
        with small_files(10):
            save_state(place / "state", {"a": torch.arange(3000)}, {})

    with pytest.raises(CutawayError) as caught:
        write_directory(tmp_path / "m", writer)
    assert f"Could not save {tmp_path / 'm'}: " in str(caught.value)
    assert "partial" not in str(caught.value)


def test_a_file_is_replaced_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "f"
    write_file(path, b"old")
    with failing(monkeypatch, "fsync", 0), pytest.raises(CutawayError, match="untouched"):
        write_file(path, b"new")
    with failing(monkeypatch, "replace", 0), pytest.raises(CutawayError, match="untouched"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]
    write_file(path, lambda place: place.write_bytes(b"new") and None)
    assert path.read_bytes() == b"new"


def test_other_peoples_files_are_not_deleted(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "thesis").mkdir(parents=True)
    (home / "thesis" / "chapter").write_text("x")
    with pytest.raises(CutawayError, match=r"did not write there \(such as thesis/chapter\)"):
        write_directory(home, fill("new"))
    ours = tmp_path / "ours"
    write_directory(ours, fill("old"))
    (ours / "notes.txt").write_text("mine")
    with pytest.raises(CutawayError, match=r"notes.txt"):
        write_directory(ours, fill("new"))
    assert (ours / "b").read_text() == "old"
    (tmp_path / "file").write_text("x")
    with pytest.raises(CutawayError, match="is a file"):
        write_directory(tmp_path / "file", fill("new"))


def test_a_name_that_leads_elsewhere(tmp_path: Path) -> None:
    write_directory(tmp_path / "real", fill("old"))
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_directory(tmp_path / "link", fill("new"))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "b").read_text() == "new"


def test_what_is_not_complete(tmp_path: Path) -> None:
    target = tmp_path / "m"
    assert not is_complete(target)
    write_directory(target, fill("old"))
    assert is_complete(target)
    (target / "b").write_text("cut")
    assert is_complete(target), "only sizes are compared"
    (target / "b").write_text("c")
    assert not is_complete(target)
    write_directory(target, fill("old"))
    (target / "inner" / "a").unlink()
    assert not is_complete(target)
    for mark in ("", "[]", '{"a": "b"}', "[" * 100_000):
        (target / "complete.json").write_text(mark)
        assert not is_complete(target)


KILLED = """
import os, signal, sys
from pathlib import Path
from cutaway.weights.atomic import write_directory
def writer(place):
    (place / "b").write_text("half")
    print("writing", flush=True)
    {end}
write_directory(Path(sys.argv[1]), writer)
"""


def test_a_kill_leaves_the_old_one_and_the_next_writer_sweeps(tmp_path: Path) -> None:
    target = tmp_path / "m"
    write_directory(target, fill("old"))
    killed = KILLED.format(end="os.kill(os.getpid(), signal.SIGKILL)")
    assert subprocess.run([sys.executable, "-c", killed, target], check=False, stdout=subprocess.DEVNULL).returncode < 0
    assert is_complete(target)
    assert (target / "b").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
    write_directory(tmp_path / "other", fill("other"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "other"]


def test_a_writer_at_work_is_not_swept(tmp_path: Path) -> None:
    waits = KILLED.format(end="sys.stdin.read()")
    command = [sys.executable, "-c", waits, tmp_path / "slow"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        write_directory(tmp_path / "m", fill("new"))
        process.communicate()
    assert (tmp_path / "slow" / "b").read_text() == "half"
    assert is_complete(tmp_path / "slow")
