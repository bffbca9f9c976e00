"""A conversation -> the text that a model was trained to continue. In: messages and a checkpoint's Jinja template. Out: text.

A template comes from a stranger and is a program. It runs in a process of its own (`chat_worker`), inside Jinja's sandbox, with
bounds on time, memory and length; whatever it does, the caller gets a text or one CutawayError. A process rather than a count of
lines, since one filter or one multiplication can take for ever within a single line.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock, Timer
from typing import Any, Final

from ..errors import CutawayError, near
from .reading import fault, read_mapping, read_text
from .tokenizer import Tokenizer

TEMPLATE_FILE: Final = "chat_template.jinja"
CONFIG_FILE: Final = "tokenizer_config.json"
_MAP_FILE: Final = "special_tokens_map.json"
_NAMED_FOLDER: Final = "additional_chat_templates"
_DEFAULT: Final = "default"
_MAX_TEMPLATE_LENGTH: Final = 2**18  # the longest of the field have some 30,000 characters
_MAX_REQUEST_BYTES: Final = 2**23
_MAX_TEXT_LENGTH: Final = 2**21
# A noncharacter, which no text holds: within the spelling of a special token it says that a message spelled it.
_MARK: Final = "\ufdd3"
_START_SECONDS: Final = 60.0
_KEPT_VARIABLES: Final = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "TZ")


@dataclass(frozen=True)
class ChatTemplate:
    """A template and the special tokens that it may name.

    source: Jinja. origin: where it came from, for errors. tokens: `bos_token` -> "<s>" …. seconds: how long a rendering may take.
    """

    source: str
    origin: str = "this conversation"
    tokens: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 5.0

    def __post_init__(self) -> None:
        if len(self.source) > _MAX_TEMPLATE_LENGTH:
            raise CutawayError(
                f"The chat template of {self.origin} has {len(self.source):,} characters; at most {_MAX_TEMPLATE_LENGTH:,} "
                "are read. Take the template of the model's own checkpoint."
            )

    def render(
        self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool = False, **variables: Any
    ) -> str:
        """The text of a conversation.

        messages: each with "role" and "content". add_generation_prompt: whether the text ends where the assistant speaks.
        variables: what else the template may read (tools, documents …), as JSON has it. Raises CutawayError where the
        template refuses the conversation, fails, or goes beyond a bound.
        """
        given = {"messages": list(messages), "add_generation_prompt": add_generation_prompt}
        request = {
            "template": self.source,
            "variables": {"tools": None, "documents": None, **self.tokens, **given, **variables},
            "max_length": _MAX_TEXT_LENGTH,
        }
        try:
            line = json.dumps(request).encode("ascii")
        except (TypeError, ValueError, RecursionError) as error:
            raise CutawayError(
                f"The conversation is nothing that JSON can say: {error}. Give texts and lists."
            ) from error
        if len(line) > _MAX_REQUEST_BYTES:
            raise CutawayError(f"The conversation has {len(line):,} bytes; at most {_MAX_REQUEST_BYTES:,}. Shorten it.")
        answer = _worker(os.getpid()).ask(line, self.seconds)
        if "text" in answer:
            return answer["text"]
        raise CutawayError(self._complaint(answer["fault"], answer.get("message", "")))

    def ids(
        self,
        tokenizer: Tokenizer,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = False,
        **variables: Any,
    ) -> list[int]:
        """The ids of a conversation: the template's special tokens are tokens, and those that a message spells are text.

        Arguments and errors as in `render` and `Tokenizer.encode`.
        """
        text = self.marked_text(tokenizer, messages, add_generation_prompt=add_generation_prompt, **variables)
        return self.encode(tokenizer, text)

    def marked_text(
        self,
        tokenizer: Tokenizer,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = False,
        **variables: Any,
    ) -> str:
        """As `render`, with a mark in what a message spells of the tokenizer's special tokens: for `encode`."""
        marked = _marked(list(messages), tokenizer.specials)
        return self.render(marked, add_generation_prompt=add_generation_prompt, **variables)

    def encode(self, tokenizer: Tokenizer, text: str) -> list[int]:
        """The ids of a text that `marked_text` gave."""
        # Every second part was spelled by a message.
        parts = re.split(f"((?:{'|'.join(map(re.escape, _marks(tokenizer.specials).values()))}))", text)
        found: list[int] = []
        for number, part in enumerate(parts if tokenizer.specials else [text]):
            if part:
                found += tokenizer.encode(part.replace(_MARK, ""), specials=number % 2 == 0)
        return found

    def save(self, directory: Path) -> None:
        """Write `chat_template.jinja`, as other tools read it; the tokens that it may name stand in the tokenizer's files."""
        (directory / TEMPLATE_FILE).write_text(self.source, encoding="utf-8")

    def _complaint(self, fault: str, message: str) -> str:
        name, said = f"The chat template of {self.origin}", message.rstrip(".")
        again = "Use another template, or the prompt as plain text."
        return {
            "refused": f"{name} refuses this conversation: {said}. Change the messages to what it allows.",
            "time": f"{name} did not end within {self.seconds:g} seconds. {again}",
            "memory": f"{name} wanted more memory than a template may have. {again}",
            "length": f"{name} writes more than {_MAX_TEXT_LENGTH:,} characters. {again}",
            "ended": f"{name} ended the process that it ran in. {again}",
        }.get(fault, f"{name} cannot be rendered: {said}. {again}")


def read_chat_template(directory: str | Path, name: str = _DEFAULT) -> ChatTemplate | None:
    """The template of a checkpoint directory, or None where it has none at all. name: which, of several.

    `chat_template.jinja` comes first, then `chat_template` in `tokenizer_config.json`. Raises CutawayError for files that
    are malformed and for a name that no template has.
    """
    directory = Path(directory)
    config = read_mapping(directory / CONFIG_FILE)
    found = _templates(directory, config)
    if not found:
        return None
    if name not in found:
        raise CutawayError(f"{directory} has no chat template '{name}'.{near(name, found)}")
    source, origin = found[name]
    spoken = {**read_mapping(directory / _MAP_FILE), **config}
    spelled = {key: value.get("content") if isinstance(value, dict) else value for key, value in spoken.items()}
    tokens = {key: value for key, value in spelled.items() if key.endswith("_token") and isinstance(value, str)}
    return ChatTemplate(source, str(origin), tokens)


def _templates(directory: Path, config: Mapping[str, Any]) -> dict[str, tuple[str, Path]]:
    """Name -> template and the file that it stands in; the first place that has a name decides."""
    file, folder = directory / TEMPLATE_FILE, directory / _NAMED_FOLDER
    places = [(_DEFAULT, file), *((path.stem, path) for path in sorted(folder.glob("*.jinja")))]
    found = {name: (read_text(path, "text", TEMPLATE_FILE), path) for name, path in places if path.is_file()}
    value, config_file = config.get("chat_template"), directory / CONFIG_FILE
    entries = [{"name": _DEFAULT, "template": value}] if isinstance(value, str) else value
    if entries is None:
        return found
    for entry in entries if isinstance(entries, list) else [None]:
        named = [entry.get(key) for key in ("name", "template")] if isinstance(entry, dict) else []
        if len(named) != 2 or not all(isinstance(part, str) for part in named):
            raise fault(
                config_file, "chat_template is neither a template nor a list of them, each with name and template"
            )
        found.setdefault(str(named[0]), (str(named[1]), config_file))
    return found


def _marks(specials: Sequence[str]) -> dict[str, str]:
    """Spelling -> the same with a mark in it, the longest first."""
    return {text: f"{text[0]}{_MARK}{text[1:]}" for text in sorted(specials, key=len, reverse=True)}


def _marked(value: Any, specials: Sequence[str]) -> Any:
    """The value with a mark in every spelling of a special token."""
    if isinstance(value, str):
        for text, marked in _marks(specials).items():
            value = value.replace(text, marked)
        return value
    if isinstance(value, Mapping):
        return {key: _marked(part, specials) for key, part in value.items()}
    return [_marked(part, specials) for part in value] if isinstance(value, (list, tuple)) else value


class _Worker:
    """The process that renders, one request after another. It is ended when a request takes too long, and started anew."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()
        atexit.register(self.close)

    def ask(self, line: bytes, seconds: float) -> dict[str, str]:
        """The answer to one request; {"fault": "time"} or "ended" where the process had to be, or was, ended."""
        with self._lock:
            process = self._started()
            try:
                said, is_late = _said(process, line + b"\n", seconds)
            except BaseException:  # Ctrl-C, say: the answer that is still to come must not be the next one's
                self.close()
                raise
            answer: dict[str, str] = json.loads(said) if said.endswith(b"\n") else {}
            if "text" not in answer and answer.get("fault") not in ("refused", "error"):
                self.close()
            return answer or {"fault": "time" if is_late else "ended"}

    def close(self) -> None:
        """End the process, if it is ours: a fork of us has it too."""
        if self._process is not None and self._owner == os.getpid():
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        if find_spec("jinja2") is None:
            raise CutawayError("Chat templates need the library jinja2. Install it: pip install 'cutaway[chat]'")
        kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        paths = os.pathsep.join(path for path in sys.path if path)
        self._process = subprocess.Popen(
            [sys.executable, "-s", "-P", str(Path(__file__).with_name("chat_worker.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**kept, "PYTHONPATH": paths, "PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        )
        if _said(self._process, b"", _START_SECONDS)[0].strip() != b"ready":
            self.close()
            raise CutawayError(
                "The process for chat templates does not start. Install jinja2 anew: pip install -U jinja2"
            )
        return self._process


def _said(process: subprocess.Popen[bytes], line: bytes, seconds: float) -> tuple[bytes, bool]:
    """The next line of the process after it was given `line`, and whether it was ended since it took too long."""
    assert process.stdin is not None, "it reads from a pipe"
    assert process.stdout is not None, "it writes into a pipe"
    late: list[bool] = []

    def end() -> None:
        late.append(True)
        process.kill()

    timer = Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        process.stdin.write(line)
        process.stdin.flush()
        return process.stdout.readline(), bool(late)
    except OSError:  # the process ended before it had read everything
        return b"", bool(late)
    finally:
        timer.cancel()


@cache
def _worker(process_id: int) -> _Worker:
    """The one worker of this process, and another one in each fork of it."""
    assert process_id == os.getpid(), "a worker is asked by the process that started it"
    return _Worker()
