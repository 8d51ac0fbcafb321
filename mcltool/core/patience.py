"""A time limit on waiting: a file system that is gone never answers, and no exception reaches a thread stuck in it.

Only the command line, which owns its process, sets limits. Elsewhere ``limited`` does nothing, nor does it in threads
and child processes: the main thread waits for those.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import active_children
from threading import Thread, current_thread, main_thread

LOOK_SECONDS, LOOKS = 10.0, 60
"""Seconds between two looks, and the looks after which a wait counts as hung: ten minutes. A process that was suspended
meanwhile has missed one look."""
ENDING_LOOKS, LONG_LOOKS = 3, 360
"""The same for threads that are at work when the program ends, and for gigabytes on their way to a disk."""
RUN_AGAIN, RESUME = "run again to resume", "go on with mcltool fit --resume"

_owner = 0
"""Id of the process that may be ended; 0: none."""
_waits: list[tuple[str, int, int]] = []
"""What the main thread waits for, the innermost last: what is said, the looks, and the exit code."""
_progress = 0
"""Waits that have begun or ended."""


@contextmanager
def limited(what: str, looks: int | None = None, then: str = RUN_AGAIN) -> Iterator[None]:
    """End the program, with a line that begins with ``what``, if the block takes longer than ``looks``.

    A wait that begins or ends within the block shows progress, and the time starts again. then: what the line advises
    besides checking the file system.
    """
    global _progress
    if _owner != os.getpid() or current_thread() is not main_thread():
        yield
        return
    most = LOOKS if looks is None else looks
    minutes = f"{LOOK_SECONDS * most / 60:.2g} minutes"
    _wait(f"{what}: no answer in {minutes}; check the file system, then {then}", most)
    try:
        yield
    finally:
        _waits.pop()
        _progress += 1


@contextmanager
def own_process() -> Iterator[None]:
    """The whole run of the program; threads still at work at its end get half a minute."""
    global _owner
    _owner = os.getpid()
    Thread(target=_watch, daemon=True).start()
    code = 0
    try:
        yield
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        raise
    finally:
        _wait("ended while a thread was still at work", ENDING_LOOKS, code)


def _wait(line: str, looks: int, code: int = 1) -> None:
    global _progress
    _waits.append((line, looks, code))
    _progress += 1


def _watch() -> None:
    seen, looks = 0, 0
    while True:
        time.sleep(LOOK_SECONDS)
        seen, looks = _progress, looks + 1 if seen == _progress else 0
        for line, most, code in _waits[-1:]:
            if looks > most:
                _end(line, code)


def _end(line: str, code: int) -> None:
    """End the process as it stands; the next run copes with that as with one that was killed."""
    cursor = "\x1b[?25h\n" if os.isatty(2) else ""  # a progress bar has hidden it
    os.write(2, f"{cursor}mcltool: {line}\n".encode(errors="backslashreplace"))
    for child in active_children():
        child.kill()
    os._exit(code)
