"""A saved page holds the answers that the server gives, asks for nothing, and shows itself in a notebook."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cutaway.apps.microscope.files import texts
from cutaway.apps.microscope.inlining import SAME, named
from cutaway.apps.microscope.notebook import show
from cutaway.errors import CutawayError
from cutaway.lm import LM
from tests.apps.chrome import chrome

from .served import Client, one_stack, reader, served, two_stacks

TEXT = "a </script> cat <!-- saw"


def held(page: bytes) -> dict[str, Any]:
    """What the page's script unpacks, done here."""
    found = re.search(r'<script type="application/json" id="saved">(.*?)</script>', page.decode())
    assert found is not None
    parts = {name: json.loads(gzip.decompress(base64.b64decode(text))) for name, text in json.loads(found[1]).items()}
    restored = restore(parts["answers"], parts["lists"])
    assert isinstance(restored, dict)
    return {**restored, "modules": parts["modules"]}


def restore(value: Any, lists: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return (
            lists[str(value[SAME])] if SAME in value else {name: restore(item, lists) for name, item in value.items()}
        )
    return [restore(item, lists) for item in value] if isinstance(value, list) else value


def rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {name: rounded(item) for name, item in value.items() if name != "seconds"}
    return [rounded(item) for item in value] if isinstance(value, list) else value


def again(client: Client, key: str) -> Any:
    """The live answer of a saved one's name."""
    method, address, *body = key.split(" ", 2)
    return client.ask(method, address, body[0].encode() if body else None)


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bandwidth is not: it takes time, and differs."""
    for name in ("read_bandwidth", "peak_flops"):
        monkeypatch.setattr(f"cutaway.apps.microscope.desk.{name}", lambda: 1e9)


@pytest.mark.parametrize("lm", [one_stack(), two_stacks(), reader(has_head=False)], ids=["one", "two", "no head"])
def test_every_answer_is_the_servers(lm: LM) -> None:
    with served(lm) as (client, _):
        run = client.run("cat")
        page = client.post("/api/save", run=run["run"], state="way=1", asked=[])
        assert page.status == 200
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        assert re.fullmatch(r'attachment; filename="\w+\.html"', page.headers["Content-Disposition"])
        saved = held(page.data)
        assert saved["state"] == "way=1"
        runs = [answer["json"] for key, answer in saved["answers"].items() if key.startswith("POST /api/run ")]
        assert [each["run"] for each in runs] == [run["run"]]
        for key, answer in saved["answers"].items():
            live = again(client, key)
            assert live.status == 200, key
            if "json" in answer:
                assert rounded(answer["json"]) == rounded(live.json), key
            else:
                numbers = np.frombuffer(
                    base64.b64decode(answer["data"]), f"<f{2 if answer['type'] == 'float16' else 4}"
                )
                found = torch.from_numpy(numbers.astype("f4")).reshape(answer["shape"])
                bound = 0.0 if answer["type"] == "float32" else 2**-10 * live.matrix.abs().clamp(1e-3)
                assert bool((((found - live.matrix).abs() <= bound) | (live.matrix < -1e30)).all()), key
        kinds = {key.split("?")[0].split(" {")[0] for key in saved["answers"]}
        wanted = {
            "POST /api/run",
            "POST /api/heads",
            "POST /api/head",
            "POST /api/unit",
            "POST /api/embedding",
            "GET /api/tensor",
        }
        assert wanted <= kinds
        assert ("GET /api/logits" in kinds) == (lm.model.head is not None)


def test_what_the_page_asks_is_inside_and_what_cannot_be_is_not() -> None:
    with served(one_stack()) as (client, _):
        run = client.run("cat saw")["run"]
        body = json.dumps({"max_tokens": 3, "run": run, "sampling": {"temperature": 0}}, separators=(",", ":"))
        events = f"POST /api/generate {body}"
        asked = [
            events,
            f"GET /api/tensor?run={run}&site=layers.0.attention.mixed&index=1",
            "GET /api/tensor?run=nix&site=x",
        ]
        asked += [
            "POST /api/position nonsense",
            "POST /api/position []",
            "GET /etc/passwd",
            "nix",
            "POST /api/save {}",
            "PUT /api/run {}",
        ]
        page = client.post("/api/save", run=run, asked=asked)
        answers = held(page.data)["answers"]
        assert set(asked) & set(answers) == set(asked[:2])
        assert [line["new"] for line in answers[events]["lines"][:-1]] == [
            json.loads(line)["new"] for line in again(client, events).data.splitlines()[:-1]
        ]
        assert "more than a page holds" in client.post("/api/save", run=run, asked=["x"] * 20_001).json["error"]


def test_tables_of_two_runs_are_not_taken_for_one_another() -> None:
    with served(one_stack()) as (client, _):
        one, other = client.run("cat")["run"], client.run("cat", positions=False)["run"]
        keys = [
            f'POST /api/position {{"run":"{other}","stack":"","table":{table},"token":1}}'
            for table in ("true", "false")
        ]
        answers = held(client.post("/api/save", run=one, asked=keys).data)["answers"]
        assert [answers[key]["json"]["table"] for key in keys] == [None, None]
        mine = [answer["json"]["table"] for key, answer in answers.items() if f'position {{"run":"{one}"' in key]
        assert [len(table) for table in mine] == [48] * 3


def test_a_text_that_is_too_long_for_a_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cutaway.apps.microscope.saving.MOST_TOKENS", 4)
    with pytest.raises(CutawayError, match=r"A page of 5 tokens would be too large"):
        show(one_stack(), "a cat")


def test_modules_name_one_another_by_their_place() -> None:
    text = "import { a } from \"../core/a.js\";\nimport './b.js';\nexport * from './c/d.js';\n"
    expected = (
        "import { a } from \"cutaway/core/a.js\";\nimport 'cutaway/way/b.js';\nexport * from 'cutaway/way/c/d.js';\n"
    )
    assert named("way/x.js", text) == expected
    assert named("way/x.js", 'const e = await import("./e.js");') == 'const e = await import("cutaway/way/e.js");'
    assert named("x.js", 'const text = "from ./a.js";') == 'const text = "from ./a.js";'
    files = texts()
    for path, module in files.items():
        for name in re.findall(r"""^import[^'";]*["']([^"']+)["']""", named(path, module), re.MULTILINE):
            assert name.removeprefix("cutaway/") in files, f"{path} imports {name}"
        assert "url(" not in module or path.endswith(".js"), f"{path}: a saved page has no files beside it"


def test_a_notebook_shows_the_page_in_a_frame(tmp_path: Path) -> None:
    found = show(one_stack(), TEXT, height=500)
    shown = found._repr_html_()
    assert shown.startswith('<iframe srcdoc="&lt;!doctype html&gt;')
    assert shown.count("<") == 2, "the page stands inside of the attribute"
    assert "height:500px" in shown
    found.save(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_bytes() == found.page
    assert [k for k in held(found.page)["answers"] if k.startswith("POST /api/run ")] == [
        'POST /api/run {"edits":[],"model":"tiny","more":[],"positions":true,"target":null,"text":"a </script> cat <!-- saw"}'
    ]


def test_it_opens_by_itself_and_asks_for_nothing(browser: str, tmp_path: Path) -> None:
    page = tmp_path / "saved.html"
    show(one_stack(), TEXT).save(page)
    with chrome(browser) as tab:
        tab.open(page)
        tab.value(
            "new Promise((done) => { const look = () => window.microscope ? done(1) : setTimeout(look, 20); look(); })"
        )
        assert tab.value("CUTAWAY_SAVED.answers && Object.keys(CUTAWAY_SAVED.answers).length") > 100
        assert tab.value("window.microscope.settled().then(() => window.microscope.readings().length)") > 100
        assert tab.value("document.getElementById('trouble').hidden")
        assert {url for url in tab.requests if not url.startswith(("data:", "blob:"))} == {page.as_uri()}
        assert tab.complaints == []
