"""How this process computes: how many threads, how they wait for one another, and what becomes of freed memory.

The command line settles it before torch is loaded; whoever uses mcltool as a library decides for their own process.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

CGROUPS, OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
CPUS = Path("/sys/devices/system/cpu")
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
SHORT_SPIN = "1000"
"""For libgomp, torch's library on Linux: some 20 microseconds."""
COUNT = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_... of malloc.h


def settle_threads() -> None:
    """Before torch is loaded: as many threads as there are cores for this process, and threads that soon yield.

    By default a waiting OpenMP thread spins for milliseconds and takes the core that the others need, where there is
    other work: two thirds of the processor time beside busy processes. One that sleeps at once loses a sixth of the
    speed alone. So it spins briefly on a machine with room, and not at all on a busy one (docs/benchmarks.md).
    Processes that this one starts inherit the settings. What the user has set in the environment stays.
    """
    if not any(name in os.environ for name in WAITING):
        os.environ |= {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0" if busy() else SHORT_SPIN}
    if not any(name in os.environ for name in COUNT):
        use_threads(cores())


def use_threads(count: int) -> None:
    """Compute with ``count`` threads, in this process and those that it starts."""
    for name in COUNT:
        os.environ[name] = str(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)


def cores() -> int:
    """Cores that this process may keep busy: those of its affinity, as far as its control group's quota goes."""
    return max(1, math.ceil(min(physical_cores(), quota())))


def busy() -> bool:
    """Whether three processes and more wait for every two processors of this machine, in the last minute's mean."""
    return hasattr(os, "getloadavg") and os.getloadavg()[0] >= 1.5 * (os.cpu_count() or 1)


def affinity() -> set[int]:
    """Numbers of the processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def physical_cores(cpus: Path = CPUS) -> int:
    """Cores of ``affinity``. Two processors of one core count once: matrix products gain nothing from the second."""

    def core(number: int) -> str:
        try:
            return (cpus / f"cpu{number}/topology/core_cpus_list").read_text()
        except OSError:
            return str(number)

    return len({core(number) for number in affinity()})


def quota(root: Path = CGROUPS, own: Path = OWN_CGROUP) -> float:
    """Processors' worth of time that Linux's control groups, v1 or v2, allow this process; inf without a limit."""
    return min(_quotas(root, own), default=math.inf)


def _quotas(root: Path, own: Path) -> Iterator[float]:
    """The limits of this process's groups and of those above them.

    A line of ``own`` is NUMBER:CONTROLLERS:/PATH. In a container the path may be that of the host, which is not there.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / controllers
        inner = top / path.lstrip("/")
        for group in (inner, *inner.parents):
            if group.is_relative_to(top):
                yield from _limit(group)


def _limit(group: Path) -> Iterator[float]:
    try:
        if (group / "cpu.max").exists():
            limit, period = (group / "cpu.max").read_text().split()
        else:
            limit, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        if limit != "max" and int(limit) > 0:
            yield int(limit) / int(period)
    except (OSError, ValueError):
        return


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
