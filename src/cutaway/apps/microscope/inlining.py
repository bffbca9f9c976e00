"""The page's files as one. In: its answers as JSON. Out: one HTML file that asks for nothing.

Answers and modules are packed together (gzip, in base64), and a script at the end unpacks them: modules become data addresses
under the names of an import map, and then the page begins as it does elsewhere. A module names another by its path; here it names
it by its place among all (`cutaway/way/loom.js`). Styles stand in the page.
"""

from __future__ import annotations

import gzip
import json
import posixpath
import re
from base64 import b64encode

from .files import INDEX, texts
from .wire import json_bytes

POLICY = "default-src 'none'; script-src 'unsafe-inline' data:; style-src 'unsafe-inline'; img-src data: blob:"
SAME = "$same"
_IMPORT = re.compile(r"""((?:^|[\n;])\s*(?:import|export)\b[^'";]*?|\bimport\()(["'])(\.{1,2}/[^"']+)\2""")
_STYLE = re.compile(r'<link rel="stylesheet" href="([^"]+)">')
_BEGIN = """
(async () => {
  const packed = JSON.parse(document.getElementById("saved").textContent);
  const unpacked = async (text) => {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  };
  const base64 = (text) => btoa(Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join(""));
  const modules = Object.entries(JSON.parse(await unpacked(packed.modules))), lists = JSON.parse(await unpacked(packed.lists));
  const whole = (_, value) => (value?.SAME === undefined ? value : lists[value.SAME]);
  window.CUTAWAY_SAVED = JSON.parse(await unpacked(packed.answers), whole);
  const imports = Object.fromEntries(modules.map(([name, text]) => [name, "data:text/javascript;base64," + base64(text)]));
  for (const [type, text] of [["importmap", JSON.stringify({ imports })], ["module", 'import "APP";']]) {
    document.head.append(Object.assign(document.createElement("script"), { type, textContent: text }));
  }
})().catch((error) => {
  document.body.prepend("This saved page cannot be unpacked: " + error.message + ". It takes a browser of 2023 or newer.");
});
"""
_SCRIPT = re.compile(r'<script type="module" src="([^"]+)"></script>')


def one_file(answers: bytes, lists: bytes) -> bytes:
    """The page. answers: JSON, for `window.CUTAWAY_SAVED`; what is {"$same": "3"} in it is what lists, JSON too, have as "3"."""
    files = texts()
    page = _STYLE.sub(lambda link: f"<style>\n{files[link[1]]}</style>", files[INDEX])
    found = _SCRIPT.search(page)
    assert found is not None, "the page has a script"
    modules = {f"cutaway/{path}": named(path, text) for path, text in files.items() if path.endswith(".js")}
    parts = {"modules": json_bytes(modules), "answers": answers, "lists": lists}
    packed = {name: packed_base64(part) for name, part in parts.items()}
    data = f'<script type="application/json" id="saved">{json.dumps(packed)}</script>\n'
    begin = _BEGIN.replace("APP", f"cutaway/{found[1]}").replace("SAME", SAME)
    page = page[: found.start()] + page[found.end() :]
    page = page.replace("</body>", f"{data}<script>{begin}</script>\n</body>")
    policy = f'<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    return page.replace('<meta charset="utf-8">', policy, 1).encode("utf-8", "replace")


def packed_base64(data: bytes) -> str:
    """Bytes, packed, as text."""
    return b64encode(gzip.compress(data, 9, mtime=0)).decode()


def named(path: str, text: str) -> str:
    """A module whose imports name other modules by their place among all."""
    folder = posixpath.dirname(path)
    return _IMPORT.sub(lambda f: f"{f[1]}{f[2]}cutaway/{posixpath.normpath(posixpath.join(folder, f[3]))}{f[2]}", text)
