"""The kernels' C++ -> one shared library beside it. In: a compiler, if there is one. Out: the library, or why there is none.

Run by the package's build (`hatch_build.py`), and by hand: `python src/cutaway/runtime/native/build.py`. It needs no torch and
nothing but the standard library. Each instruction set is a unit of its own; which one runs is decided when the library is loaded.
OpenMP's symbols stay open: they are those of the pool that torch brings, so that there is one pool of threads and not two.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
LIBRARY = HERE / "cutaway_kernels.so"
COMMON = (
    "-std=c++17",
    "-O3",
    "-fPIC",
    "-fvisibility=hidden",
    "-fopenmp",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-w",
)
SETS: dict[str, dict[str, tuple[str, ...]]] = {
    "x86_64": {
        "avx2": ("-march=x86-64-v3",),
        "avx512": ("-march=x86-64-v4", "-mprefer-vector-width=512"),
        "avx512vnni": ("-march=x86-64-v4", "-mprefer-vector-width=512", "-mavx512vnni"),
    },
    "aarch64": {"neon": ()},
}
FLOATS = ("avx2", "avx512", "neon")
# Units that are compiled for other sets than floats are; a processor without one of these takes the best that it has.
OTHERWISE: dict[str, tuple[str, ...]] = {
    "integers": ("avx2", "avx512vnni"),
    "halves": ("avx2", "avx512"),
    "rounding": ("avx2", "avx512"),
    "processor": ("avx2",),
}


def build(library: Path = LIBRARY, *extra: str) -> str | None:
    """Compile every unit and link them. Returns None when it went well, else the reason why not; nothing is left half-made.

    extra: more flags for the compiler.
    """
    sets = SETS.get(platform.machine()) if sys.platform == "linux" else None
    compiler = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("c++")
    if sets is None:
        return f"there are no kernels for {sys.platform} on {platform.machine()}"
    if compiler is None:
        return "there is no C++ compiler; on Debian or Ubuntu: apt install g++"
    with tempfile.TemporaryDirectory() as folder:
        objects = []
        for name, flags in sets.items():
            for unit in sorted(HERE.glob("*.cpp")):
                if name not in OTHERWISE.get(unit.stem, FLOATS):
                    continue
                objects.append(f"{folder}/{name}_{unit.stem}.o")
                command = [
                    compiler,
                    *COMMON,
                    *flags,
                    *extra,
                    f"-DINSTRUCTIONS={name}",
                    "-c",
                    str(unit),
                    "-o",
                    objects[-1],
                ]
                failure = _run(command)
                if failure:
                    return failure
        made = Path(folder) / library.name
        failure = _run([compiler, "-shared", *objects, "-o", str(made)])
        if not failure:
            shutil.copyfile(made, library.with_suffix(".part"))
            library.with_suffix(".part").replace(library)
            library.with_suffix(".sources").write_text(fingerprint(), "ascii")
        return failure


def fingerprint() -> str:
    """Of the sources: a library made of others is not used."""
    digest = hashlib.sha256()
    for path in sorted((*HERE.glob("*.cpp"), *HERE.glob("*.h"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _run(command: list[str]) -> str | None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"{' '.join(command)}\n{done.stderr[-2000:]}"


if __name__ == "__main__":
    reason = build()
    print(reason or f"{LIBRARY} is ready.")  # noqa: T201 (a program of its own)
    sys.exit(reason is not None)
