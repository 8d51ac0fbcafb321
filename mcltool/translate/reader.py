"""Reading ahead: conditions and photos, prepared by processes or a thread while the device is at work.

At most AHEAD windows are being read or wait to be taken.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mcltool.core.errors import DataError, HungError, McltoolError
from mcltool.core.images import read_photo
from mcltool.core.threads import cores
from mcltool.data.geometry import Size
from mcltool.plugin.contract import DatasetPlugin
from mcltool.translate.exemplars import Exemplar, Weights, files_of_regions, weights_of
from mcltool.translate.images import (
    OutputSize,
    asked_size,
    network_size,
    prepare_condition,
    prepare_photo,
    read_condition,
    short_side_of,
)
from mcltool.translate.manifest import stamp

AHEAD = 2
UNIT = 4
"""Files that one process reads in one go."""
LOOK_SECONDS, LOOKS = 10.0, 60
"""How often a unit is looked for, and how many times before it counts as hung. A process that was stopped meanwhile
has missed one look, not ten minutes."""
FEW = 64
"""Tasks for which starting reader processes takes longer than they save."""
MOST_WORKERS = 8
"""Reader processes at most, unless asked for."""

Request = str | tuple[Sequence[str], str, Sequence[Exemplar]]
"""What to read: a photo, by its path; or a condition, by its files and part (see ConditionFiles) and exemplars."""


def default_workers(device: str, tasks: int) -> int:
    """Reader processes: none beside a model that keeps the processor busy itself, or for a few files."""
    if device == "cpu" or tasks < FEW:
        return 0
    return max(1, min(MOST_WORKERS, cores() - 2))


@dataclass(frozen=True, eq=False)
class Prepared:
    """A condition or an exemplar as read, or the cause why it is not.

    planes: of a condition at its network size, (H, W) uint8 labels or (C, H, W) float32 in [0, 1]; of an
    exemplar (H, W, 3) uint8. size: (height, width) in pixels of the output. source: stamp of the files before
    they were read. weights: of a condition's exemplars, where there are several; uncovered: positions at which
    regions and classes left none, so that all serve.
    """

    planes: NDArray[Any] | None
    size: Size
    cause: str
    source: str
    milliseconds: float
    weights: Weights | None = None
    uncovered: int = 0


class Preparer:
    """Reads conditions and exemplars for a model; pickled to reader processes.

    trained: short side in pixels that the model was trained at. size: as in Settings.
    """

    def __init__(self, plugin: DatasetPlugin, trained: int, size: OutputSize = "trained") -> None:
        self.plugin, self.size, self._trained = plugin, size, trained
        self._short_side = short_side_of(size, trained)
        plugin.short_side = 0 if size == "keep" else self._short_side

    def condition(self, paths: Sequence[str], part: str, exemplars: Sequence[Exemplar] = ()) -> Prepared:
        """Read and resize a condition, and the regions of its exemplars. Errors of files are its cause, not raised."""
        started, source = time.perf_counter(), stamp([*paths, *files_of_regions(exemplars)])
        planes, size, cause, weights, uncovered = None, (0, 0), "", None, 0
        try:
            found = read_condition(self.plugin, [Path(path) for path in paths], part)
            try:
                size = asked_size(found.size, self.size, self._trained)
                read = prepare_condition(self.plugin, found, network_size(size, min(size)))
                if len(exemplars) > 1:
                    weights, uncovered = weights_of(exemplars, read, found.size, self.plugin.spec)
                planes = read
            except DataError as error:
                cause = f"{paths[0]}: {error}"
        except McltoolError as error:
            cause = str(error)
        spent = 1000 * (time.perf_counter() - started)
        return Prepared(planes, size, cause, source, spent, weights, uncovered)

    def exemplar(self, photo: str) -> Prepared:
        """Read and resize an exemplar, likewise."""
        started, source = time.perf_counter(), stamp([photo])
        planes, cause = None, ""
        try:
            pixels = read_photo(Path(photo), self._short_side)
            try:
                planes = prepare_photo(pixels, self._short_side)
            except DataError as error:
                cause = f"{photo}: {error}"
        except McltoolError as error:
            cause = str(error)
        return Prepared(planes, (0, 0), cause, source, 1000 * (time.perf_counter() - started))

    def __call__(self, requests: Sequence[Request]) -> list[Prepared]:
        return [self.exemplar(r) if isinstance(r, str) else self.condition(*r) for r in requests]


class Reader:
    """Reads ahead of whoever takes the results: ``with Reader(preparer, workers) as reader``.

    workers: processes; 0 reads in a thread of this one, which costs nothing to start and suits a model that
    keeps the processor busy anyway.
    """

    def __init__(self, preparer: Preparer, workers: int = 0) -> None:
        self.exemplar = preparer.exemplar
        self._preparer, self._workers = preparer, workers
        self._hung = False

    def __enter__(self) -> Reader:
        self._pool: Executor
        self._read: Callable[[Sequence[Request]], list[Prepared]]
        if self._workers:
            # Not forked: this process has threads of torch, which a fork would leave broken.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._workers, context, _start, (self._preparer,))
            self._read = _in_worker
        else:
            self._pool = ThreadPoolExecutor(1, "reader")
            self._read = self._preparer
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=not self._hung, cancel_futures=True)

    def read(self, windows: Iterable[Sequence[Request]]) -> Iterator[list[Prepared]]:
        """What each window asks for, in order. Raises McltoolError where a reader process is killed, HungError where
        a file is not read in ten minutes."""
        pending: deque[list[tuple[Sequence[Request], Future[list[Prepared]]]]] = deque()
        try:
            for window in windows:
                units = [window[start : start + UNIT] for start in range(0, len(window), UNIT)]
                pending.append([(unit, self._pool.submit(self._read, unit)) for unit in units])
                if len(pending) > AHEAD:
                    yield _gathered(pending.popleft())
            while pending:
                yield _gathered(pending.popleft())
        except BrokenProcessPool:
            raise McltoolError(
                "a reader process was killed, perhaps for lack of memory; run again with fewer --workers"
            ) from None
        except HungError:
            self._hung = True
            raise


def _gathered(units: Sequence[tuple[Sequence[Request], Future[list[Prepared]]]]) -> list[Prepared]:
    return [prepared for unit, future in units for prepared in _result(unit, future)]


def _result(unit: Sequence[Request], future: Future[list[Prepared]]) -> list[Prepared]:
    for _ in range(LOOKS):
        if wait([future], LOOK_SECONDS).done:
            return future.result()
    first = unit[0] if isinstance(unit[0], str) else unit[0][0][0]
    raise HungError(
        f"{first} and the files read with it: no answer in {LOOK_SECONDS * LOOKS / 60:.0f} minutes; check the file "
        "system, then run again to resume"
    )


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


def _in_worker(requests: Sequence[Request]) -> list[Prepared]:
    return _preparer(requests)


def _end_with_parent() -> None:
    """Readers of a job that is killed end with it; they would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)
