"""The process that reads mutated inputs: one target, its memory limited; it may die, and is then begun again.

Says what it is at in the file ``now``, and writes its findings and counts as JSON lines.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from random import Random

from .mutate import Files, mutated
from .targets import TARGETS, read, seeds_of, write

ADDRESS_SPACE = 6 << 30
MOST_RESIDENT = 3 << 30
"""Bytes of memory that no input may take; decoding a picture of 100 million pixels, which is allowed, takes 2 GiB."""


def make(name: str, seed: int, number: int) -> Files:
    """Input ``number`` of a target: a function of its arguments alone."""
    chance = Random(f"{seed}/{name}/{number}")
    known = seeds_of(name)
    return mutated(chance.choice(known), chance, known)


def main() -> None:
    name, seed, first, last, home = sys.argv[1], *map(int, sys.argv[2:5]), Path(sys.argv[5])
    seeds_of(name)
    if not TARGETS[name].torch:
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    now = os.open(home / "now", os.O_WRONLY | os.O_CREAT, 0o600)
    counts: Counter[str] = Counter()
    most, started = 0, time.perf_counter()
    with open(home / "lines.jsonl", "a", buffering=1) as lines:
        for number in range(first, last):
            os.pwrite(now, f"{number:12d}".encode(), 0)
            files = make(name, seed, number)
            with tempfile.TemporaryDirectory(dir=home) as inner:
                folder = Path(inner, "input")
                write(files, folder)
                reset_peak()
                try:
                    counts["refused" if read(name, folder) else "read"] += 1
                except Exception as error:
                    counts["found"] += 1
                    lines.write(json.dumps({"number": number, "error": _signature(error)}) + "\n")
                used = peak()
                if used > MOST_RESIDENT:
                    lines.write(json.dumps({"number": number, "error": f"memory: {used >> 20} MiB"}) + "\n")
                most = max(most, used)
            shutil.rmtree(f"{folder}-inputs", ignore_errors=True)
        seconds = time.perf_counter() - started
        lines.write(json.dumps({"counts": counts, "peak": most, "seconds": seconds}) + "\n")


def _signature(error: Exception) -> str:
    """Type and the innermost place that is ours: the same mistake has the same."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "mcltool" in f.filename and "fuzz" not in f.filename] or frames
    place = f"{'/'.join(Path(ours[-1].filename).parts[-2:])}:{ours[-1].name}"
    return f"{type(error).__name__} in {place}"


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Bytes: the most that was resident since the last reset."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) << 10
    return 0


if __name__ == "__main__":
    main()
