"""How much memory there is, and how much a measurement took."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import torch

from mcltool.core.allocator import release_freed_memory
from mcltool.core.device import memory_used


def reset_peak(device: torch.device) -> int:
    """Forget what was taken before, so that ``peak`` is of what follows; returns the bytes taken now.

    Where the system has no way to forget (macOS), ``peak`` is of the whole process.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    release_freed_memory()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the process's high-water mark
    return peak(device)


def peak(device: torch.device) -> int:
    """Most bytes since ``reset_peak``: of tensors on a GPU, else of this process with all its libraries."""
    high_water = _field(Path("/proc/self/status"), "VmHWM")
    if device.type == "cpu" and high_water is not None:
        return high_water
    return memory_used(device)


def free(device: torch.device) -> int | None:
    """Bytes that can be had on ``device``; None where that is not known."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return _field(Path("/proc/meminfo"), "MemAvailable")


def _field(path: Path, name: str) -> int | None:
    """Bytes behind ``name`` in one of Linux's lists of kilobytes."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), None)
