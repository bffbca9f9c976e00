"""Write families.md beside this file from the families that the code knows: `python docs/reference/make_families.py`."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from cutaway.weights import families
from cutaway.weights.families import FAMILIES, Family
from cutaway.weights.families.native import NATIVE
from cutaway.weights.gguf.architectures import ARCHITECTURES

TARGET = Path(__file__).with_name("families.md")
SAID_AS = {"mistral": "as Llama", "roberta": "as BERT", "xlm-roberta": "as BERT", "mt5": "as T5"}
INTRODUCTION = """# Families

A checkpoint on disk is opened as it is, with no conversion: `cutaway generate DIRECTORY "Once"`, `cutaway inspect FILE.gguf`. A
model is saved in the first of these families that holds its config, so that the tools of that family open it; a config that
none holds is saved in Cutaway's own form, and `cutaway convert` says which knob is to blame. Every family is compared with its
reference on random weights of odd sizes, in both directions, by the tests that the last column names (below `tests/weights/`).

| family | `model_type` | class of its makers | .gguf | what it is | compared in |
|---|---|---|---|---|---|
"""
END = """
Files: `model.safetensors`, alone or in shards with an index; where there is none, `pytorch_model.bin`, read with weights-only
loading; `.gguf`. A name of the form `owner/name` that is no folder here is a hub id, and the only thing that reaches the network
(`pip install 'cutaway[hub]'`). Code from a checkpoint is never run.

[To add a family](../add-a-family.md) takes about 40 lines.
"""


def page() -> str:
    """The whole of families.md."""
    return INTRODUCTION + "".join(row(family) for family in FAMILIES) + END


def row(family: Family) -> str:
    """One family. The sentence is the first of the file that holds it."""
    is_named = any(found.model_type == family.model_type for found in ARCHITECTURES)
    in_gguf = "yes" if is_named else SAID_AS.get(family.model_type, "")
    names = f"{family.title} | `{family.model_type}` | `{family.architecture}`"
    return f"| {names} | {in_gguf} | {source(family)} | {tests(family)} |\n"


def tests(family: Family) -> str:
    """The files of tests that make a model of the family, named by their config's class or its `model_type`."""
    name = re.sub("(For.*|LMHeadModel|MTModel)$", "", family.architecture)
    known = re.compile(rf'\b{name}Config\b|"{name}"|"{family.model_type}"')
    paths = sorted((Path(__file__).parents[2] / "tests" / "weights").glob("test_*.py"))
    found = [path.name for path in paths if "gguf" not in path.name and known.search(path.read_text("utf-8"))]
    assert found, f"no test compares {family.title}"
    return ", ".join(f"`{name}`" for name in found)


def source(family: Family) -> str:
    """What the family's file says of it."""
    for path in sorted(Path(families.__path__[0]).glob("*.py")):
        module = importlib.import_module(f"{families.__name__}.{path.stem}")
        if any(value is family for value in vars(module).values()) and path.stem not in ("__init__", "family"):
            sentence = (module.__doc__ or "").split("\n\n")[0]
            return " ".join(sentence.split())
    raise AssertionError(f"no file holds {family.title}")


if __name__ == "__main__":
    assert FAMILIES[-1] is NATIVE, "the last holds all"
    TARGET.write_text(page(), "utf-8")
