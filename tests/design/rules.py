"""What files may hold. In: a tree. Out: one line per breach of a rule.

Sizes, names of families, probing, globals, paths of the workplace, words of shapes.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from .tree import PACKAGE, held_files, python_files, text_of

LONGEST_FILE, LONGEST_FUNCTION = 400, 40
SOURCES = (".py", ".js", ".mjs", ".css", ".html", ".sh", "Makefile", ".ci/run")
CODE = ("src/", "tests/", "benchmarks/", "examples/", "recipes/")
MODEL_TYPES = """albert bart bert bloom deepseek_v2 deepseek_v3 distilbert dream Dream electra falcon gemma gemma2 gemma3
    gemma3_text gpt_bigcode gpt_neo gpt_neox gpt_oss gpt2 gptj granite internlm2 llada llama llama4 m2m_100 mamba marian
    mbart mistral mixtral modernbert mpt mt5 nllb olmo olmo2 olmo3 pegasus phi phi3 qwen2 qwen2_moe qwen3 qwen3_moe
    roberta smollm3 stablelm starcoder2 t5 umt5 whisper xlm-roberta"""
FAMILIES = frozenset(MODEL_TYPES.split())
# Built from pieces, so that this file does not hold what it forbids.
WORKPLACE = ["/" + "work/", "/" + "farm/", "/opt/" + "wheels", "/opt/" + "pypi", "shared/" + "data"]
FIRST_AXES = ("batch", "read", "field", "head", "position", "d_in", "d_out")
AXES_PAGE = "docs/reference/axes.md"


def long_files(root: Path) -> list[str]:
    """Source files of more than 400 lines."""
    sizes = {path: len((text_of(root, path) or "").splitlines()) for path in held_files(root) if path.endswith(SOURCES)}
    return [f"{path}: {size} lines; at most {LONGEST_FILE}" for path, size in sizes.items() if size > LONGEST_FILE]


def long_functions(root: Path) -> list[str]:
    """Functions of more than 40 lines, signature included, docstring left out."""
    return [
        f"{path}:{node.lineno}: {node.name} has {length_of(node)} lines; at most {LONGEST_FUNCTION}"
        for path, node in functions(root)
        if length_of(node) > LONGEST_FUNCTION
    ]


def functions(root: Path) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function of our Python files, with its file."""
    for folder in CODE:
        for path, tree in python_files(root, folder).items():
            for node in ast.walk(tree):
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    yield path, node


def length_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines of a function without its docstring."""
    assert node.end_lineno is not None, "ast.parse gives ends"
    whole, first = node.end_lineno - node.lineno + 1, node.body[0]
    if ast.get_docstring(node, clean=False) is None or first.end_lineno is None:
        return whole
    return whole - (first.end_lineno - first.lineno + 1)


def family_names(root: Path) -> list[str]:
    """Names of model families as literals, outside of weights/."""
    home = f"{PACKAGE}/weights/"
    found = [
        f"{path}:{line}: the family name '{value}'; only {home} may know it"
        for path, tree in python_files(root).items()
        if not path.startswith(home)
        for line, value in literals(tree)
        if value.lower() in FAMILIES
    ]
    quoted = re.compile(rf"""(["'`])({"|".join(map(re.escape, sorted(FAMILIES)))})\1""", re.IGNORECASE)
    for path in held_files(root):
        if path.startswith(PACKAGE) and path.endswith((".js", ".mjs")):
            matches = quoted.finditer(text_of(root, path) or "")
            found += [f"{path}: the family name '{match[2]}'; only {home} may know it" for match in matches]
    return found


def literals(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every string of a file, and every keyword of a call, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        elif isinstance(node, ast.keyword) and node.arg is not None:
            yield node.value.lineno, node.arg


def probing(root: Path) -> list[str]:
    """`hasattr`, and `getattr` with a default: objects say what they are by their type."""
    return [
        f"{path}:{node.lineno}: {node.func.id} probes for an attribute"
        for path, tree in python_files(root).items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and (node.func.id == "hasattr" or (node.func.id == "getattr" and len(node.args) + len(node.keywords) > 2))
    ]


def global_state(root: Path) -> list[str]:
    """`global`, and variables of a module: names at its top level are CONSTANTS, Types or dunders."""
    found = []
    for path, tree in python_files(root).items():
        found += [f"{path}:{node.lineno}: global" for node in ast.walk(tree) if isinstance(node, ast.Global)]
        for node in tree.body:
            names = node.targets if isinstance(node, ast.Assign) else [node.target] if is_single(node) else []
            found += [
                f"{path}:{node.lineno}: the variable {name.id} of a module"
                for name in names
                if isinstance(name, ast.Name) and not name.id.startswith("__") and name.id.lstrip("_")[:1].islower()
            ]
    return found


def is_single(node: ast.stmt) -> bool:
    """Whether the statement assigns to one annotated or augmented name."""
    return isinstance(node, (ast.AnnAssign, ast.AugAssign))


def workplace_paths(root: Path) -> list[str]:
    """Paths of the machine that the project was written on."""
    return [
        f"{path}: names {word}"
        for path in held_files(root)
        for word in WORKPLACE
        if word in (text_of(root, path) or "")
    ]


def axis_words(root: Path) -> list[str]:
    """Shapes in docstrings that use words outside of the glossary."""
    glossary = glossary_of(root)
    return [
        f"{path}: [{shape}] uses '{word}', which is not in {AXES_PAGE}"
        for path, tree in python_files(root).items()
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        for shape in re.findall(r"\[(\w+, [^][]*)\]", ast.get_docstring(node) or "")
        if shape.split(", ")[0] in FIRST_AXES
        for word in re.findall(r"[a-z_]+", shape)
        if word.removesuffix("_i") not in glossary
    ]


def glossary_of(root: Path) -> set[str]:
    """The axis words: first column of the tables of the glossary."""
    return set(re.findall(r"^\| `(\w+)` \|", text_of(root, AXES_PAGE) or "", re.MULTILINE))
