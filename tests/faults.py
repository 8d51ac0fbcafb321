"""Faults of the system, put under all that mcltool writes: through the functions of mcltool.core.files, and the clock.

In a test: ``with faults(Fault("append", "ENOSPC", skip=3)): ...``. In a process of its own, as the soak does:

    python tests/faults.py --seed 1 --fault write:EIO:0.01 --fault clock:jump:0.1 -- translate-dir masks photos out
"""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import IO, Any

from mcltool.core import files

CALLS = ("create", "write", "append", "replace", "to_disk", "clock")


@dataclass
class Fault:
    """What goes wrong in a call. error: ENOSPC, EIO, EACCES, ...; "short": fewer bytes are written than were
    given; "jump": the clock is set wrong, by up to a month either way.

    chance: of each call. skip: calls that go well before. times: how often it happens at most.
    """

    call: str
    error: str
    chance: float = 1.0
    skip: int = 0
    times: int = sys.maxsize
    happened: int = field(default=0, init=False)

    def happens(self, random: Random) -> bool:
        self.skip -= 1
        if self.skip >= 0 or self.happened >= self.times or random.random() >= self.chance:
            return False
        self.happened += 1
        return True


@contextmanager
def faults(*wanted: Fault, seed: int = 0) -> Iterator[None]:
    """Have these happen while the context lasts, in this process."""
    random = Random(seed)
    for fault in wanted:
        assert fault.call in CALLS

    def wrong(call: str, path: object = None) -> str:
        """The fault that now happens in ``call``, if any; raises what is an error of the system."""
        for fault in wanted:
            if fault.call == call and fault.happens(random):
                if fault.error in ("short", "jump"):
                    return fault.error
                number = getattr(errno, fault.error)
                raise OSError(number, os.strerror(number), None if path is None else str(path))
        return ""

    class Raw(io.FileIO):
        def write(self, data: Any) -> int:
            short = wrong("write", self.name) == "short"
            return super().write(memoryview(data).cast("B")[: max(1, len(data) // 2)] if short else data)

        def fileno(self) -> int:
            raise io.UnsupportedOperation("Pillow would write to it directly")

    real: dict[str, Callable[..., Any]] = {name: getattr(files, name) for name in CALLS[2:5]}
    real |= {"create": files.create, "time": time.time}

    def create(path: Path) -> IO[bytes]:
        wrong("create", path)
        return io.BufferedWriter(Raw(path, "w"), 512)

    def append(handle: int, data: bytes) -> int:
        return int(real["append"](handle, data[: -(-len(data) // 2)] if wrong("append") == "short" else data))

    def replace(source: Path, target: Path) -> None:
        wrong("replace", target)
        real["replace"](source, target)

    def to_disk(path: Path) -> None:
        wrong("to_disk", path)
        real["to_disk"](path)

    def now() -> float:
        jump = random.uniform(-3e6, 3e6) if wrong("clock") else 0.0
        return float(real["time"]()) + jump

    files.create, files.append, files.replace, files.to_disk = create, append, replace, to_disk  # type: ignore
    time.time = now
    try:
        yield
    finally:
        time.time = real.pop("time")  # type: ignore[assignment]
        for name, function in real.items():
            setattr(files, name, function)


def parsed(text: str) -> Fault:
    """CALL:ERROR[:CHANCE]"""
    call, error, *chance = text.split(":")
    return Fault(call, error, *map(float, chance))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fault", action="append", type=parsed, default=[])
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    from mcltool.cli.main import cli

    with faults(*options.fault, seed=options.seed):
        cli.main(options.command)


if __name__ == "__main__":
    main()
