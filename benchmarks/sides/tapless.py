"""A package imported a second time without its tap calls. In: its source. Out: the same modules under another name.

Every `call.tap(site, tensor)` in the syntax tree becomes `tensor`; the rest is compiled as it stands. Relative imports lead to
the twin's own modules, so that both packages live in one process and share nothing.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import find_spec, spec_from_file_location
from types import CodeType, ModuleType

PARTS = ("model", "runtime")


def import_tapless(package: str, twin: str) -> int:
    """Import the parts of a package that hold the forward pass, as `twin`. Returns the number of calls removed."""
    finder = TaplessFinder(package, twin)
    sys.meta_path.insert(0, finder)
    for part in PARTS:
        module = importlib.import_module(f"{twin}.{part}")
        for found in pkgutil.iter_modules(module.__path__):
            importlib.import_module(f"{twin}.{part}.{found.name}")
    return finder.num_removed


class TaplessFinder(MetaPathFinder):
    """Finds `twin.some.module` where `package.some.module` lies."""

    def __init__(self, package: str, twin: str) -> None:
        self.package, self.twin, self.num_removed = package, twin, 0

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 (the protocol)
        target: ModuleType | None = None,  # noqa: ARG002 (the protocol)
    ) -> ModuleSpec | None:
        """The same file as the original's, loaded without tap calls; None for other packages."""
        if fullname.partition(".")[0] != self.twin:
            return None
        original = find_spec(self.package + fullname.removeprefix(self.twin))
        if original is None or original.origin is None:
            return None
        loader = TaplessLoader(fullname, original.origin, self)
        return spec_from_file_location(
            fullname, original.origin, loader=loader, submodule_search_locations=original.submodule_search_locations
        )


class TaplessLoader(SourceFileLoader):
    """Compiles a file without its tap calls, and tells the finder how many there were."""

    def __init__(self, name: str, path: str, finder: TaplessFinder) -> None:
        super().__init__(name, path)
        self.finder = finder

    def get_code(self, fullname: str) -> CodeType:
        """From the source, always: the bytecode kept beside it has the calls."""
        path = self.get_filename(fullname)
        tree, num_removed = without_taps(ast.parse(self.get_data(path), path))
        self.finder.num_removed += num_removed
        return compile(tree, path, "exec", dont_inherit=True)


def without_taps(tree: ast.Module) -> tuple[ast.Module, int]:
    """The tree with every `call.tap(site, tensor)` replaced by `tensor`, and how many there were."""
    remover = TapRemover()
    changed = ast.fix_missing_locations(remover.visit(tree))
    return changed, remover.count


class TapRemover(ast.NodeTransformer):
    """Replaces tap calls, those within others too."""

    def __init__(self) -> None:
        self.count = 0

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """node: any call."""
        self.generic_visit(node)
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="call"), attr="tap"), args=[_, tensor], keywords=[]):
                self.count += 1
                return tensor
        return node
