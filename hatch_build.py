"""Part of the package's build: compiles the kernels where there is a compiler. Without one the package works, on torch alone."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("src/cutaway/runtime/native")


class NativeHook(BuildHookInterface):
    """Compiles before the wheel (or the editable installation) is put together."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 (hatchling's signature)
        """Make the library and put it into the wheel, which is then one for this platform."""
        place = Path(self.root) / FOLDER / "build.py"
        specification = importlib.util.spec_from_file_location("build_kernels", place)
        assert specification is not None and specification.loader is not None  # noqa: PT018
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        reason = module.build()
        if reason:
            self.app.display_warning(f"The native kernels were not built: {reason}")
            return
        build_data["artifacts"] += [f"{FOLDER}/cutaway_kernels.so", f"{FOLDER}/cutaway_kernels.sources"]
        build_data["pure_python"], build_data["infer_tag"] = False, True
