"""When a run ends before its last step: signals and the time it was given."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from mcltool.errors import McltoolError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class InterruptedRun(McltoolError):  # noqa: N818 (no error of the run)
    """A signal ended the run, after it had saved its state. exit_code: 128 + the signal's number."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class Stop:
    """What asks a run to stop. signal: the number of the signal that came, or None."""

    def __init__(self, max_minutes: float | None) -> None:
        self.signal: int | None = None
        self._end = None if max_minutes is None else time.monotonic() + 60 * max_minutes

    def requested(self) -> bool:
        return self.signal is not None or (self._end is not None and time.monotonic() >= self._end)


@contextmanager
def stoppable(max_minutes: float | None) -> Iterator[Stop]:
    """Note the first SIGINT or SIGTERM instead of dying of it; a second one does what it always did.

    max_minutes: after these, ``requested`` too. Only a program's main thread can take signals; elsewhere they
    stay as they are.
    """
    stop = Stop(max_minutes)
    before: dict[signal.Signals, Any] = {}

    def note(number: int, _: FrameType | None) -> None:
        stop.signal = number
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield stop
    finally:
        restore()
