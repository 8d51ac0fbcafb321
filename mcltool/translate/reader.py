"""Reading ahead: windows of a plan, prepared by reader processes or a thread while the device is at work.

The queue is bounded: at most AHEAD windows are being read or wait to be taken.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from mcltool.core.errors import HungError, McltoolError
from mcltool.core.threads import cores
from mcltool.translate.images import Prepared, Preparer
from mcltool.translate.plan import Task

AHEAD = 2
UNIT = 4
"""Files that are read in one go by one process."""
PATIENCE, LOOKS = 10.0, 60
"""Seconds between two looks whether a unit is read, and how many looks there are before it counts as hung. A
process that was stopped meanwhile has missed one look, not ten minutes."""
FEW = 64
"""Tasks for which starting reader processes takes longer than they save."""
MOST = 8
"""Reader processes at most, where nobody says how many."""


def default_workers(device: str, tasks: int) -> int:
    """Reader processes: none beside a model that keeps the processor busy itself, or for a few files."""
    if device == "cpu" or tasks < FEW:
        return 0
    return max(1, min(MOST, cores() - 2))


@dataclass(frozen=True, eq=False)
class Window:
    """Consecutive tasks of a plan: what is put in batches together.

    photos: the exemplars to read with them. wanted: numbers of the tasks to make; the others are there to make
    the batches whole. shared: exemplars that other windows use too.
    """

    tasks: Sequence[Task]
    photos: Sequence[str] = ()
    wanted: frozenset[int] = frozenset()
    shared: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class ReadWindow:
    """A window with what was read: its conditions in the order of its tasks, and its photos."""

    window: Window
    conditions: Sequence[Prepared]
    photos: dict[str, Prepared]


class Reader:
    """Prepares windows ahead of who takes them: ``with Reader(preparer, workers) as reader``.

    workers: processes; 0 reads in a thread of this one, which costs nothing to start and suits a model that
    keeps the processor busy anyway.
    """

    def __init__(self, preparer: Preparer, workers: int = 0) -> None:
        self._preparer, self._workers = preparer, workers
        self._hung = False

    def __enter__(self) -> Reader:
        self._pool: Executor
        if self._workers:
            # Not forked: this process has threads of torch, which a fork would leave broken.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._workers, context, _start, (self._preparer,))
            self._call: Callable[..., Future[list[Prepared]]] = lambda unit: self._pool.submit(
                _in_worker, unit
            )
        else:
            self._pool = ThreadPoolExecutor(1, "reader")
            self._call = lambda unit: self._pool.submit(_read, self._preparer, unit)
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=not self._hung, cancel_futures=True)

    def exemplar(self, photo: str) -> Prepared:
        """Read one exemplar here and now."""
        return self._preparer.exemplar(photo)

    def read(self, windows: Iterable[Window]) -> Iterator[ReadWindow]:
        """The windows in order. Raises McltoolError where a reader process is killed, HungError where a file is
        not read in ten minutes."""
        pending: deque[tuple[Window, list[Future[list[Prepared]]]]] = deque()
        try:
            for window in windows:
                pending.append((window, [self._call(unit) for unit in _units(window)]))
                if len(pending) > AHEAD:
                    yield _gathered(*pending.popleft())
            while pending:
                yield _gathered(*pending.popleft())
        except BrokenProcessPool:
            raise McltoolError(
                "a reader process was killed, perhaps for want of memory; run again, with fewer --workers"
            ) from None
        except HungError:
            self._hung = True
            raise


_Unit = list[tuple[Sequence[str], str] | str]


def _units(window: Window) -> Iterator[_Unit]:
    items: _Unit = [*window.photos, *((task.files, task.part) for task in window.tasks)]
    for start in range(0, len(items), UNIT):
        yield items[start : start + UNIT]


def _gathered(window: Window, futures: list[Future[list[Prepared]]]) -> ReadWindow:
    units = zip(futures, _units(window), strict=True)
    found = [prepared for future, unit in units for prepared in _result(future, unit)]
    photos = dict(zip(window.photos, found, strict=False))
    return ReadWindow(window, found[len(window.photos) :], photos)


def _result(future: Future[list[Prepared]], unit: _Unit) -> list[Prepared]:
    for _ in range(LOOKS):
        if wait([future], PATIENCE).done:
            return future.result()
    first = unit[0] if isinstance(unit[0], str) else unit[0][0][0]
    raise HungError(
        f"{first} and what is read with it: no answer in {PATIENCE * LOOKS / 60:.0f} minutes; is the file system "
        "still there? run again to go on"
    )


def _read(preparer: Preparer, unit: _Unit) -> list[Prepared]:
    return [preparer.exemplar(item) if isinstance(item, str) else preparer.condition(*item) for item in unit]


_preparer: Preparer


def _start(preparer: Preparer) -> None:
    """In a new reader process."""
    global _preparer
    _preparer = preparer
    for number in (signal.SIGINT, signal.SIGTERM):  # the job handles them, and ends its readers
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import cv2

    cv2.setNumThreads(0)


def _in_worker(unit: _Unit) -> list[Prepared]:
    return _read(_preparer, unit)


def _end_with_parent() -> None:
    """A job that is killed takes its readers with it: they would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)
