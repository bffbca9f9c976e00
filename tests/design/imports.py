"""Who may import whom. In: a tree. Out: imports against the order of the design, and loops.

Every import counts: at the top, inside functions, under TYPE_CHECKING, relative or absolute.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from .tree import dotted, modules, python_files

ROOT_PACKAGE = "cutaway"
ORDER: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("strict",),
    ("parts",),
    ("config",),
    ("cost",),
    ("text", "model"),
    ("data", "weights", "objectives", "runtime"),
    ("decode",),
    ("lens", "train"),
    ("finding",),
    ("lm",),
    (ROOT_PACKAGE,),  # the package itself, which hands on the names of lm
    ("tasks",),
    ("lessons",),
    ("apps",),
    ("__main__",),
)
RANKS = {part: rank for rank, parts in enumerate(ORDER) for part in parts}


@dataclass(frozen=True, slots=True)
class Import:
    """One import of the package by itself. names: what is taken from the module; empty for the module itself."""

    importer: str
    imported: str
    names: tuple[str, ...]
    place: str


def direction(root: Path) -> list[str]:
    """Imports of what comes later in the order, and of parts without a place in it."""
    found = [f"{name}: '{part_of(name)}' has no place in ORDER" for name in modules(root) if part_of(name) not in RANKS]
    for each in imports(root):
        importer, imported = part_of(each.importer), part_of(each.imported)
        if importer in RANKS and imported in RANKS and RANKS[imported] > RANKS[importer]:
            found.append(f"{each.place}: {importer} imports {imported}, which comes later")
    return found


def siblings(root: Path) -> list[str]:
    """Siblings that take from each other more than data types."""
    return [
        f"{each.place}: {part_of(each.importer)} takes {', '.join(each.names) or 'a module'} from its sibling "
        f"{part_of(each.imported)}; only data types may be taken"
        for each in imports(root)
        if are_siblings(each) and not (each.names and all(is_type_name(name) for name in each.names))
    ]


def loops(root: Path) -> list[str]:
    """A loop of modules, or of siblings, by any kind of import."""
    between_modules: dict[str, set[str]] = {}
    between_siblings: dict[str, set[str]] = {}
    for each in imports(root):
        between_modules.setdefault(each.importer, set()).add(each.imported)
        if are_siblings(each):
            between_siblings.setdefault(part_of(each.importer), set()).add(part_of(each.imported))
    return [loop for graph in (between_modules, between_siblings) for loop in loop_in(graph)]


def unreadable(root: Path) -> list[str]:
    """Imports by computed name outside apps, which no check can follow."""
    return [
        f"{path}:{node.lineno}: import by computed name"
        for path, tree in python_files(root).items()
        for node in ast.walk(tree)
        if isinstance(node, (ast.Attribute, ast.Name))
        and (node.attr if isinstance(node, ast.Attribute) else node.id) in ("import_module", "__import__")
        and part_of(dotted(path)) != "apps"
    ]


def imports(root: Path) -> Iterator[Import]:
    """Every import of the package by itself."""
    known = set(modules(root))
    for path, tree in python_files(root).items():
        name = dotted(path)
        package = name if path.endswith("/__init__.py") else name.rpartition(".")[0]
        for node in ast.walk(tree):
            place = f"{path}:{getattr(node, 'lineno', 0)}"
            for imported, names in targets(node, package, known):
                if imported.partition(".")[0] == ROOT_PACKAGE:
                    yield Import(name, imported, names, place)


def targets(node: ast.AST, package: str, known: set[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What one statement imports: modules, each with the names taken from it."""
    if isinstance(node, ast.Import):
        yield from ((alias.name, ()) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        base = ".".join([*parents, *([node.module] if node.module else [])])
        names = [alias.name for alias in node.names]
        yield from ((f"{base}.{name}", ()) for name in names if f"{base}.{name}" in known)
        taken = tuple(name for name in names if f"{base}.{name}" not in known)
        if taken:
            yield base, taken


def part_of(module: str) -> str:
    """cutaway.text.train -> text; the package itself is its own part."""
    return module.split(".")[1] if "." in module else module


def are_siblings(each: Import) -> bool:
    """Whether an import goes from one part to another of the same rank."""
    importer, imported = part_of(each.importer), part_of(each.imported)
    return importer != imported and RANKS.get(importer, -1) == RANKS.get(imported, -2)


def is_type_name(name: str) -> bool:
    """CapitalWords: a class or a type, not a function and not a constant."""
    return name[:1].isupper() and (not name.isupper())


def loop_in(graph: dict[str, set[str]]) -> list[str]:
    """The first loop of a graph, as text."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return ["loop: " + " -> ".join(reversed(error.args[1]))]
    return []
