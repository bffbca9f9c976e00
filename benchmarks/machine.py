"""On what the figures were measured. In: nothing. Out: facts about the machine and the versions, without a date."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path


def facts() -> dict[str, str]:
    """Name -> value, in the order to print."""
    num_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{num_bytes / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        "torch": version("torch"),
        "transformers": version("transformers"),
        "threads": os.environ.get("OMP_NUM_THREADS", "torch's default"),
    }


def processor() -> str:
    """The processor's name, where the system tells it, and the widest vectors that it computes with."""
    described = Path("/proc/cpuinfo")
    if not described.exists():
        return platform.processor() or "unknown"
    lines = [line.partition(":") for line in described.read_text("utf-8").splitlines()]
    named = {key.strip(): value.strip() for key, _, value in reversed(lines)}
    flags = named.get("flags", "").split()
    vectors = next((kind for kind in ("avx512f", "avx2", "avx") if kind in flags), "")
    return " ".join(part for part in (named.get("model name", "unknown"), vectors) if part)


def load() -> float:
    """How many programs wanted to run in the last minute, on average."""
    return os.getloadavg()[0]
