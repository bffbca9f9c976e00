"""A run as one file. In: a run, and what the page shows of it and asks. Out: the page with scripts, styles and answers inside.

What the page would ask is answered beforehand, under the names that docs/reference/microscope.md gives answers ("Saved pages"):
for every token, what heads, units and the output do, and every tensor from which it computes the rest itself.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import numpy as np

from ...errors import CutawayError
from .asks import AskPosition, AskSave, of_json
from .described import columns_of
from .desk import Desk
from .inlining import SAME, one_file
from .passes import Pass, Strand
from .wire import Answer, Answering, Lines, json_bytes

MOST_TOKENS = 256
MOST_ASKED = 20_000
NUM_NEIGHBOURS = 8  # as the page asks
DIGITS = 4
POSITION = "/api/position"
LONG = 32  # numbers of a list that is kept once
HALF_MOST = 60_000.0  # what a half float holds


def saved_page(desk: Desk, ask: AskSave, answer: Answering) -> bytes:
    """The whole file. answer: of a method, a path, a query and a body. Raises CutawayError for a text that is too long."""
    found = desk.find(ask.run)
    longest = max(map(len, found.strands))
    if longest > MOST_TOKENS:
        raise CutawayError(
            f"A page of {longest:,} tokens would be too large a file. Save a text of {MOST_TOKENS} at most."
        )
    if len(ask.asked) > MOST_ASKED:
        raise CutawayError(f"{len(ask.asked):,} answers are more than a page holds, {MOST_ASKED:,}. Ask for fewer.")
    answers, tables = answers_of(found, ask.asked, answer)
    lists: dict[tuple[float | None, ...], int] = {}
    page = {"state": ask.state, "answers": _shared(answers, lists)}
    held = {str(number): list(numbers) for numbers, number in lists.items()}
    return one_file(json_bytes(page), json_bytes({**held, **tables}))


def answers_of(found: Pass, asked: tuple[str, ...], answer: Answering) -> tuple[dict[str, Any], dict[str, Any]]:
    """Every answer by its name, and the tables of positions, of which answers hold the names.

    What cannot be answered is left out, and the page says so where it is wanted.
    """
    held: dict[str, Any] = {}
    tables: dict[str, Any] = {}
    for key in dict.fromkeys([*keys_of(found), *asked]):
        try:
            method, path, query, body = _request(key)
            if path == POSITION:
                held[key] = _position(body, tables, answer)
            else:
                held[key] = _packed(answer(method, path, query, body), is_exact=path == "/api/logits")
        except CutawayError:
            continue
    return held, tables


def _position(body: bytes, tables: dict[str, Any], answer: Answering) -> dict[str, Any]:
    """The answer about a token's place; its table, the same for all tokens of a stack, goes to the tables once."""
    ask = of_json(AskPosition, body)
    name = f"table {ask.run} {ask.stack}"
    is_wanted = ask.table and name not in tables
    given = json_bytes(asdict(replace(ask, table=is_wanted)))
    found = _packed(answer("POST", POSITION, {}, given), is_exact=False)
    if is_wanted:
        tables[name] = found["json"]["table"]
    return {"json": {**found["json"], "table": {SAME: name} if ask.table else None}}


def keys_of(found: Pass) -> Iterator[str]:
    """The names of what every saved page holds."""
    yield post("/api/run", found.ask.request)
    yield get("/api/models")
    yield get("/api/lessons")
    yield get("/api/vocabulary", model=found.opened.name)
    yield get("/api/memory", model=found.opened.name)
    run = found.ask.name
    for strand in found.strands:
        yield from _of_strand(found, strand)
    for token in range(len(found.main)):
        yield post("/api/heads", {"run": run, "token": token})
    if found.model.head is not None:
        yield post("/api/says", {"run": run, "rows": [0, len(found.main)]})
        for token in range(len(found.main)):
            yield get("/api/logits", run=run, token=token)
            yield post("/api/says", {"run": run, "rows": [token, token + 1]})
            word = int(found.logits(token, token + 1)[0].argmax())
            yield post("/api/why", {"run": run, "token": token, "word": word, "against": None})


def post(path: str, body: Mapping[str, Any]) -> str:
    """The name of an answer to a body: its keys in order, no spaces."""
    return f"POST {path} {json.dumps(body, sort_keys=True, separators=(',', ':'), ensure_ascii=False)}"


def get(path: str, **query: Any) -> str:
    """The name of an answer to a query, in the order given."""
    return f"GET {path}" + (f"?{urlencode(query)}" if query else "")


def _of_strand(found: Pass, strand: Strand) -> Iterator[str]:
    run, layers = found.ask.name, range(strand.config.num_layers)
    for site in columns_of(found, strand):
        yield get("/api/tensor", run=run, site=site)
    for layer in layers:
        yield from _of_layer(run, strand, f"{strand.scope}layers.{layer}.")
        for block in _blocks(strand):
            about = {"run": run, "stack": strand.name, "layer": layer, "block": block}
            yield post("/api/head", {**about, "head": 0, "token": 0})
    for token in range(len(strand)):
        where = {"run": run, "stack": strand.name, "token": token}
        yield post("/api/embedding", {**where, "count": NUM_NEIGHBOURS})
        yield post(POSITION, where)
        for layer in layers:
            yield post("/api/unit", {**where, "layer": layer, "unit": None})


def _of_layer(run: str, strand: Strand, base: str) -> Iterator[str]:
    units = "router" if strand.config.feedforward.experts is not None else "active"
    mixes = [f"{base}mix"] if strand.source is None else [f"{base}mix", f"{base}cross.mix"]
    for site in (f"{base}feedforward.{units}", *mixes):
        yield get("/api/tensor", run=run, site=site)
    heads = strand.config.attention
    counts = {"query": heads.num_heads, "key": heads.kv_heads, "value": heads.kv_heads}
    for block in _blocks(strand):
        for name, count in {**counts, "scores": heads.num_heads, "weights": heads.num_heads}.items():
            for index in range(count):
                yield get("/api/tensor", run=run, site=f"{base}{block}.{name}", index=index)


def _blocks(strand: Strand) -> tuple[str, ...]:
    return ("attention",) if strand.source is None else ("attention", "cross")


def _request(key: str) -> tuple[str, str, Mapping[str, str], bytes]:
    """Method, path, query and body of a name. Raises CutawayError for a text that is none."""
    method, _, rest = key.partition(" ")
    address, _, body = rest.partition(" ")
    if method not in ("GET", "POST") or not address.startswith("/api/") or address == "/api/save":
        raise CutawayError(f"'{key:.80}' names no answer. It is GET or POST, an address, and what is asked.")
    parts = urlsplit(address)
    return method, parts.path, dict(parse_qsl(parts.query, keep_blank_values=True)), body.encode("utf-8", "replace")


def _packed(found: Answer, *, is_exact: bool) -> dict[str, Any]:
    """An answer as a mapping: JSON with four digits, lines, or a matrix in base64, in half floats where it need not be exact."""
    if isinstance(found, Lines):
        return {"lines": [dict(line) for line in found.lines]}
    if found.kind == "application/json":
        return {"json": json.loads(found.data, parse_float=_rounded)}
    numbers = np.frombuffer(found.data, "<f4")
    is_half = not is_exact and bool(numbers.max(initial=0.0) <= HALF_MOST)
    with np.errstate(over="ignore"):  # the score of what is hidden becomes −∞
        data = numbers.astype("<f2") if is_half else numbers
    deviation = found.headers.get("X-Deviation")
    return {
        "shape": [int(size) for size in found.headers["X-Shape"].split(",")],
        "deviation": None if deviation is None else float(deviation),
        "type": "float16" if is_half else "float32",
        "data": b64encode(data.tobytes()).decode(),
    }


def _rounded(number: str) -> float:
    """A number with four digits, which is more than a page shows."""
    return float(f"{float(number):.{DIGITS}g}")


def _shared(value: Any, lists: dict[tuple[float | None, ...], int]) -> Any:
    """The same with every long list of numbers in `lists`, once, and its place there: rows of tables come again and again."""
    if isinstance(value, dict):
        return {name: _shared(item, lists) for name, item in value.items()}
    if not isinstance(value, list):
        return value
    if len(value) >= LONG and isinstance(value[0], float | int):
        return {SAME: lists.setdefault(tuple(value), len(lists))}
    return [_shared(item, lists) for item in value]
