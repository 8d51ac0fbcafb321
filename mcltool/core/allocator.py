"""What the C library does with memory that tensors on a CPU have left behind."""

from __future__ import annotations

import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_... of malloc.h


def keep_freed_memory() -> None:
    """Have the C library keep the memory of freed tensors for the next ones, in this process and its forks.

    glibc hands large blocks back to the system, which then has to make and clear every page of the next one: on a CPU
    a sixth of a training step (docs/benchmarks.md). Other C libraries are left as they are.
    """
    _in_glibc("mallopt", _TRIM_THRESHOLD, 2**31 - 1)
    _in_glibc("mallopt", _MMAP_THRESHOLD, 2**30)


def release_freed_memory() -> None:
    """Give back to the system what ``keep_freed_memory`` has kept so far."""
    _in_glibc("malloc_trim", 0)


def _in_glibc(function: str, *numbers: int) -> None:
    """Call a function of the C library; nothing happens where it has none of that name."""
    if sys.platform == "linux":
        import ctypes

        found = getattr(ctypes.CDLL(None), function, None)
        if found is not None:
            found(*numbers)
