"""What memory is left. In: a device. Out: bytes; and a refusal before anything is taken that there is no room for."""

from __future__ import annotations

from pathlib import Path

import torch

from ..errors import CutawayError

CPU = torch.device("cpu")
MEMORY = Path("/proc/meminfo")
GROUP = Path("/sys/fs/cgroup")


def check_memory(num_bytes: float, what: str, device: torch.device) -> None:
    """Raises CutawayError where a device has fewer bytes left. what: that takes them, a plural."""
    left = bytes_left(device)
    if left is not None and num_bytes > left:
        raise CutawayError(
            f"{what} take {num_bytes:,.0f} bytes, and there are {left:,} left. Ask for fewer tokens, or keep them in fewer bits: "
            "Cache(bits=8), --cache 8."
        )


def bytes_left(device: torch.device = CPU) -> int | None:
    """Bytes that a device could still give, None where nobody says. Of a processor: the machine's, and those of its group."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by torch, to be given again
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    found = [number for number in (_left_in_machine(), _left_in_group()) if number is not None]
    return min(found, default=None) if device.type == "cpu" else None


def _left_in_machine() -> int | None:
    """As Linux tells."""
    try:
        lines = dict(line.split(":", 1) for line in MEMORY.read_text("ascii").splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError):
        return None


def _left_in_group() -> int | None:
    """What the limit of a container leaves (Linux, control groups, version 2): pages of files are given back when asked for."""
    try:
        limit, used, stat = (
            (GROUP / name).read_text("ascii") for name in ("memory.max", "memory.current", "memory.stat")
        )
        counts = dict(line.split() for line in stat.splitlines())
        return max(0, int(limit) - int(used) + int(counts["active_file"]) + int(counts["inactive_file"]))
    except (OSError, ValueError, KeyError):  # none, or "max"
        return None
