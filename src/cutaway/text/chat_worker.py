"""The process in which chat templates run. In: one JSON request a line. Out: "ready", then one JSON answer a line.

A script, and no part of the package: it imports nothing of it, so that it starts fast and holds nothing worth taking. A template
is a program from a stranger. Here it meets Jinja's immutable sandbox, a bound on memory, on what is repeated and on what is
written; a bound on time is kept by whoever started the process, who ends it.

Request: {template, variables, max_length}. Answer: {text}, or {fault, message}: fault is "refused" (the template's own
`raise_exception`), "memory", "length" or "error".
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from jinja2 import Template, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

_MAX_MEMORY: Final = 256 * 2**20
_MAX_REPEATED: Final = 2**22
_MAX_POWER_BITS: Final = 4096
_MAX_MESSAGE: Final = 400


class RefusalError(TemplateError):
    """The template called `raise_exception`."""


class LengthError(Exception):
    """The text is longer than it may be."""


class Generation(Extension):
    """`{% generation %} … {% endgeneration %}` marks what the assistant wrote; the text is what is in it."""

    tags = {"generation"}  # noqa: RUF012 (an attribute of instances, says the base class)

    def parse(self, parser: Parser) -> nodes.Node:
        """The statements between the tags, in a scope of their own."""
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, in which nothing is repeated into a huge value."""

    intercepted_binops = frozenset(["*", "**"])

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """left operator right, where the result is not huge."""
        if operator == "**":
            if isinstance(left, int) and isinstance(right, int) and left.bit_length() * right > _MAX_POWER_BITS:
                raise SecurityError("a power is larger than any template needs")
        else:
            for value, times in ((left, right), (right, left)):
                is_long = isinstance(value, (str, list, tuple)) and isinstance(times, int)
                if is_long and len(value) * times > _MAX_REPEATED:
                    raise SecurityError("a text or list is repeated more often than any template needs")
        return super().call_binop(context, operator, left, right)


class PlainNamespace(Namespace):
    """Jinja's `namespace`, without names that begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, *rest = args
        attributes = dict(*rest, **kwargs)
        for name in attributes:
            _check_name(name)
        Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def environment() -> Sandbox:
    """What templates of the field expect: white space around blocks trimmed, `break` and `continue`, and a few helpers."""
    made = Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    made.filters["tojson"] = _as_json
    made.globals.update(raise_exception=_refuse, strftime_now=_now, namespace=PlainNamespace)
    return made


def answer(sandbox: Sandbox, request: dict[str, Any]) -> dict[str, str]:
    """Render one request. Every failure is an answer."""
    length, pieces = 0, []
    try:
        for piece in _compiled(sandbox, request["template"]).generate(request["variables"]):
            length += len(piece)
            if length > request["max_length"]:
                raise LengthError
            pieces.append(piece)
        return {"text": "".join(pieces)}
    except RefusalError as error:
        return _fault("refused", str(error))
    except (MemoryError, LengthError) as error:
        return _fault("length" if isinstance(error, LengthError) else "memory", "")
    except RecursionError:
        return _fault("error", "it calls itself without end")
    except Exception as error:  # a template may raise whatever Python raises
        return _fault("error", f"{type(error).__name__}: {error}")


def serve() -> None:
    """Answer requests until the input ends."""
    # Ctrl-C in a terminal reaches every process there: it is meant for whoever asks, who ends this one when that is right.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit_memory()
    sandbox, write = environment(), _writer()
    write("ready")
    for line in sys.stdin.buffer:
        write(json.dumps(answer(sandbox, json.loads(line))))


@lru_cache(maxsize=4)
def _compiled(sandbox: Sandbox, source: str) -> Template:
    """Compiling takes ten times as long as rendering, and data sets are rendered with one template."""
    return sandbox.from_string(source)


def _fault(fault: str, message: str) -> dict[str, str]:
    return {"fault": fault, "message": message[:_MAX_MESSAGE]}


def _limit_memory() -> None:
    """Of the whole process. Not every system has such a bound; the sandbox's own bounds hold everywhere."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY, _MAX_MEMORY))


def _writer() -> Callable[[str], None]:
    out = sys.stdout.buffer

    def write(line: str) -> None:
        out.write(line.encode("ascii") + b"\n")
        out.flush()

    return write


def _refuse(message: object) -> None:
    raise RefusalError(str(message))


def _now(form: str) -> str:
    return datetime.now().strftime(form)


def _as_json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """Jinja's own filter escapes for HTML; a template of the field expects JSON as Python writes it."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _check_name(name: object) -> None:
    if str(name).startswith("_"):
        raise SecurityError(f"the name {name!r:.60} begins with an underscore")


if __name__ == "__main__":
    serve()
