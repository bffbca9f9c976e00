"""Caches from the outside: what `lm.cache` and the command line ask for is what sessions keep, and what cannot be is refused."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

import cutaway
from cutaway.apps.cli import main, shared
from cutaway.apps.microscope.asks import AskMemory
from cutaway.apps.microscope.memory import memory_of
from cutaway.config import LayerType, PositionConfig, TokenIds
from cutaway.cost import MARGIN
from cutaway.decode import Session
from cutaway.errors import CutawayError
from cutaway.lm import LM
from cutaway.model import visibility
from cutaway.runtime import budget, lanes
from cutaway.runtime.cache import Cache
from cutaway.runtime.formats import Int8, Plain
from cutaway.runtime.stores import KVStore
from cutaway.tasks import chat
from tests import tiny
from tests.apps.small import saved
from tests.decode import prompt

NEAR = tiny.stack(
    position=PositionConfig(kind="rotary"),
    layer_types={"near": LayerType(window=4), "full": LayerType()},
    pattern=("near", "full"),
)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Session]:
    """Every session that the public object opens."""
    found: list[Session] = []

    def kept(*arguments: Any, **options: Any) -> Session:
        found.append(Session(*arguments, **options))
        return found[-1]

    monkeypatch.setattr(import_module("cutaway.decode.natural"), "Session", kept)
    return found


def ids(lm: LM, read: Sequence[int], count: int = 20) -> list[int | None]:
    """What is chosen behind a prompt."""
    return [p.event.new for p in lm.stream(read, max_tokens=count, end_ids=()) if p.event is not None]


def test_a_model_with_windows_slides_by_itself_and_says_the_same(opened: list[Session]) -> None:
    lm, read = LM(tiny.lively(NEAR), None, "windows"), prompt(90)
    got = ids(lm, read)
    lm.cache = Cache(slides=False, chunk=None)
    assert ids(lm, read) == got
    assert len(set(got)) > 3, "texts that do not vary prove nothing"
    sliding, whole = (session.store for session in opened)
    assert (sliding.slides, whole.slides) == (True, False)
    assert sliding.length == whole.length
    assert sliding.num_bytes < 0.9 * whole.num_bytes


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_what_is_asked_for_is_what_sessions_keep(bits: int, opened: list[Session]) -> None:
    lm = LM(tiny.lively(tiny.stack()), None, "plain")
    before = ids(lm, [3, 1, 4])
    lm.cache = Cache(bits=bits)
    alone = ids(lm, [3, 1, 4])
    together = [[] for _ in range(2)]  # type: ignore[var-annotated]
    for index, piece in lm.stream_batch([[3, 1, 4], [2, 7]], max_tokens=20):
        together[index] += [] if piece.event is None else [piece.event.new]
    form = Int8() if bits == 8 else Plain(torch.float32 if bits == 32 else torch.bfloat16)
    assert [session.store.form for session in opened] == [Plain(torch.float32), form, form, form]
    assert together[0] == alone
    assert (alone == before) or bits < 32


def test_a_source_is_kept_so_too(opened: list[Session]) -> None:
    lm = LM(
        tiny.model(tiny.config(encoder=tiny.stack(), decoder=tiny.stack(), tokens=TokenIds(bos=1))), None, "two stacks"
    )
    lm.cache = Cache(bits=8)
    assert len(ids(lm, [3, 1, 4], 4)) == 4
    assert opened[0].cache == lm.cache
    assert opened[0].memory is not None
    assert opened[0].memory.filled.num_bytes > 0  # type: ignore[attr-defined]


def test_bits_where_nothing_is_kept_are_refused() -> None:
    config = tiny.config(predicts="masked", tokens=TokenIds(mask=2))
    lm = LM(tiny.model(config), None, "diffusion")
    lm.cache = Cache(bits=8)
    with pytest.raises(CutawayError, match=r"keeps none: every pass reads the whole text anew.*fill in hidden tokens"):
        list(lm.stream([3, 2, 4], max_tokens=0))
    lm.cache = Cache()
    assert len([piece for piece in lm.stream([3, 2, 4], max_tokens=0) if piece.event is not None]) == 1


def left(monkeypatch: pytest.MonkeyPatch, num_bytes: int | None) -> None:
    """A machine that has so much left."""
    monkeypatch.setattr(budget, "_left_in_machine", lambda: num_bytes)
    monkeypatch.setattr(budget, "_left_in_group", lambda: None)


def test_memory_that_does_not_suffice_is_said_before_a_session_opens(
    opened: list[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    """2 layers × 2 × 16 numbers a token, in 4 bytes: 256 a token. At 8 bits, of 4 heads of 4 numbers: 128."""
    lm = LM(tiny.model(tiny.config(decoder=tiny.stack(position=PositionConfig(kind="rotary")))), None, "far")
    left(monkeypatch, 25_600)
    assert len(ids(lm, [3, 1], 98)) == 98
    with pytest.raises(CutawayError, match=r"tokens take 25,856 bytes, and there are 25,600 left.*Cache\(bits=8\)"):
        lm.generate([3, 1], max_tokens=99)
    with pytest.raises(CutawayError, match="take 25,856 bytes"):
        lm.generate_batch([[3, 1], [3, 1, 4]], max_tokens=48)
    lm.cache = Cache(bits=8)
    lm.generate_batch([[3, 1], [3, 1, 4]], max_tokens=48)
    with pytest.raises(CutawayError, match=r"tokens take 128,000,000,256 bytes"):
        lm.generate([3, 1], max_tokens=10**9)
    assert len(opened) == 3, "none was opened in vain"
    left(monkeypatch, None)
    lm.cache = Cache()
    assert len(ids(lm, [3, 1], 120)) == 120


def test_positions_that_end_bound_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that goes on past the model's positions forgets what lay before: no more than they are is kept."""
    lm = LM(tiny.model(tiny.config()), None, "table")
    left(monkeypatch, 48 * 256)
    assert len(ids(lm, [3, 1], 60)) == 60
    left(monkeypatch, 48 * 256 - 1)
    with pytest.raises(CutawayError, match="take 12,288 bytes"):
        lm.generate([3, 1], max_tokens=60)


def test_a_session_that_grows_too_large_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody could foresee is refused as it comes: nothing is taken, and what was there goes on."""
    model, read = tiny.model(tiny.config(decoder=NEAR)), prompt(90)
    session = Session(model, cache=Cache(chunk=10))
    session.extend(read[:20])
    monkeypatch.setattr(lanes, "CHECKED_BYTES", 0)
    left(monkeypatch, 64 * 128)
    with pytest.raises(CutawayError, match=r"Keys and values of 70 tokens take 8,960 bytes, and there are 8,192 left"):
        session.extend(read[20:])
    assert (session.length, session.ids) == (20, read[:20])
    left(monkeypatch, None)
    tiny.assert_close(session.extend(read[20:]), Session(model).extend(read))


def test_a_group_has_its_own_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of files count as free; a group without a limit says nothing."""
    monkeypatch.setattr(budget, "GROUP", tmp_path)
    monkeypatch.setattr(budget, "_left_in_machine", lambda: 9000)
    cpu = torch.device("cpu")
    assert budget.bytes_left(cpu) == 9000
    for name, text in {
        "memory.max": "5000\n",
        "memory.current": "3000\n",
        "memory.stat": "anon 1\nactive_file 200\ninactive_file 300\n",
    }.items():
        (tmp_path / name).write_text(text)
    assert budget.bytes_left(cpu) == 2500
    (tmp_path / "memory.max").write_text("max\n")
    assert budget.bytes_left(cpu) == 9000


def test_a_conversation_reads_again_what_a_window_has_forgotten() -> None:
    session = Session(tiny.model(tiny.config(decoder=NEAR)), cache=Cache(margin=2))
    read = prompt(30)
    session.extend(read[:20])
    session.extend([4])
    assert chat._rewind(session, read) == 20
    session.extend(read[20:])
    session.extend([4])
    assert chat._rewind(session, [*read[:9], 5, 6, 7]) == 0
    assert session.length == 0


def test_the_microscope_counts_what_is_kept_and_what_is_read() -> None:
    """Layers with a window read it, and hold a margin beside; int8 has its scales; there is no store of 4 bits."""
    config = tiny.config(decoder=NEAR, context=400)
    found = memory_of(config, AskMemory(bits=32, context=300, cache_bits=8), 1e9)
    each = 2 * (16 + 4 * 4)  # of a token and layer: 4 heads of 4 codes, and a scale each
    assert found["parts"][-3:-1] == [
        {"name": "cache, read", "bytes": (4 + 300) * each},
        {"name": "cache, written", "bytes": 2 * each},
    ]
    assert found["held"]["cache"] == (4 + MARGIN + 300 + 2) * each
    with pytest.raises(CutawayError, match=r"cache_bits is 4\. Allowed: 32, 16, 8"):
        memory_of(config, AskMemory(cache_bits=4), 1e9)


def test_the_public_name() -> None:
    assert cutaway.Cache is Cache
    assert KVStore(tiny.stack()).form == Plain(torch.float32)
    codes = Cache(bits=8).store(tiny.stack(), torch.float32)
    assert codes.form == Int8()
    assert [tensor.dtype for tensor in codes.tensors] == [torch.int8, torch.float32]
    assert Cache().store(NEAR, torch.float32).slides


def test_a_token_that_somebody_else_writes_is_counted_and_shared_memory_is_left() -> None:
    """What a plan needs: room for one token, in memory that no fork looks at."""
    store = KVStore(tiny.stack(), capacity=4)
    store.begin(visibility.causal(3))
    twin = store.fork()
    store.begin_next()
    assert (store.start, store.length, store.causal_length) == (3, 4, 4)
    twin.begin_next()
    assert twin.values.data_ptr() != store.values.data_ptr()
    store.begin_next()
    assert store.capacity == 8
    assert store.fields.shape == (6, 1, 8)


MISTAKES = (
    (("--cache", "7"), "bits of a cache is 7. Allowed: 32, 16, 8"),
    (("--threads", "0"), "--threads is 0. Allowed: 1 to 256"),
    (("--threads", "1000"), "--threads is 1000. Allowed: 1 to 256"),
    (("--threads", "-3"), "--threads is -3"),
)


@pytest.mark.parametrize("words", [("generate", "MODEL", "a"), ("chat", "MODEL")], ids=["generate", "chat"])
@pytest.mark.parametrize(("options", "message"), MISTAKES, ids=[message for _, message in MISTAKES])
def test_a_mistake_is_one_message(
    words: tuple[str, ...], options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    model = str(saved(tmp_path / "model"))
    assert main([*(model if word == "MODEL" else word for word in words), *options]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("value", "is_refused"), [("0", True), ("1000", True), ("4,2", False), ("", False), ("x", False)]
)
def test_variables_that_no_machine_runs_well_with_are_refused(value: str, is_refused: bool) -> None:
    arguments = argparse.Namespace(threads=None)
    if not is_refused:
        shared.use_machine(arguments, {"OMP_NUM_THREADS": value})
        return
    with pytest.raises(CutawayError, match=f"OMP_NUM_THREADS is {value}. Allowed: 1 to 256"):
        shared.use_machine(arguments, {"OMP_NUM_THREADS": value})


def test_the_command_line_hands_the_settings_on(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, opened: list[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_to: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)
    model = str(saved(tmp_path / "model"))
    assert main(["generate", model, "a", "--max-tokens", "4", "--cache", "8", "--threads", "1"]) == 0
    assert opened[0].store.form == Int8()
    assert set_to == [1]
    assert capsys.readouterr().out.startswith("a")
