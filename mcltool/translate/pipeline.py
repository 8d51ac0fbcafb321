"""Doing a job: windows of its tasks are read ahead, translated in batches, and saved, with a line for each.

Within a window, consecutive tasks of the plan, tasks are put in batches by size, in their order: batches depend
on the plan and the inputs alone, and not on what is done already or where a job was cut. Reading and saving go
on while the device computes, in bounded queues. Imports no torch until something is to be translated.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mcltool.core.errors import DataError, McltoolError
from mcltool.translate.exemplars import Exemplar, ExemplarCache, cut, no_memory
from mcltool.translate.images import OutputFolder, Prepared, Preparer, pictures_of
from mcltool.translate.job import Job, Opened, Report, Result
from mcltool.translate.manifest import Entry, Status
from mcltool.translate.plan import Task
from mcltool.translate.reader import Reader, ReadWindow, Window, default_workers

if TYPE_CHECKING:
    from mcltool.model.network import EncodedExemplar
    from mcltool.translate.translator import Pictures, Translator


WRITERS = 2
"""Threads that save: encoding pictures leaves Python to others."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of a task on the device: the row of pictures, or the cause why there is none.

    condition, exemplar: what they were made of. source: stamp of the files. milliseconds: to read and translate.
    """

    task: Task
    cause: str
    source: str
    milliseconds: float
    condition: Prepared
    exemplar: Exemplar | None = None
    pictures: Pictures | None = None
    row: int = 0


def run(job: Job) -> Generator[Result, None, None]:
    """Do what is left of a job, one result an input. Closing it finishes the files in flight.

    An input that cannot be translated is one failed result, and the rest are done. What an earlier job made with
    the same weights, settings and inputs is skipped. Raises McltoolError where nothing more can be written, and
    UsageError where another job is writing to the same folder.
    """
    try:
        with job.opened() as opened:
            yield from opened.left_alone()
            if opened.left.any():
                yield from _Run(job, opened).results()
    except OSError as error:
        raise McltoolError(
            f"{error.filename or job.out}: cannot be written ({error.strerror}); nothing more is done, "
            "run again to go on"
        ) from None


class _Run:
    """What is left of an opened job."""

    def __init__(self, job: Job, opened: Opened) -> None:
        self._job, self._opened, self._plan = job, opened, opened.ledger.plan
        self._folder = OutputFolder(job.out, opened.scratch, job.settings)
        self._lock = Lock()
        self._saving: deque[Future[Result]] = deque()

    def results(self) -> Iterator[Result]:
        job, batch = self._job, self._job.settings.batch_size
        translator, report = job.translator, job.report
        left, device = int(self._opened.left.sum()), translator.device.type
        workers = job.options.workers
        workers = default_workers(device, left) if workers is None else workers
        report.device, report.workers = str(translator.device), workers
        preparer = Preparer(job.plugin, translator.short_side, job.settings.size)
        with ThreadPoolExecutor(WRITERS, "writer") as pool, Reader(preparer, workers) as reader:
            mebibytes = job.options.cache_mebibytes
            pipeline = Pipeline(translator, reader, batch, job.settings.save, mebibytes, report)
            for outcomes in pipeline.run(self._windows()):
                self._saving.extend(pool.submit(self._save, outcome) for outcome in outcomes)
                yield from self._saved(in_flight=2 * batch)
            yield from self._saved(in_flight=0)

    def _windows(self) -> Iterator[Window]:
        """Those in which something is left to do."""
        size, photos, plan = self._job.window, self._plan.pairs[1], self._plan
        left = self._opened.left
        for start in (np.unique(np.flatnonzero(left) // size) * size).tolist():
            stop = min(start + size, len(plan))
            tasks = [plan[number] for number in range(start, stop)]
            neighbours = {int(photos[n]) for n in (start - 1, stop) if 0 <= n < len(photos)}
            shared = frozenset(plan.exemplars.path(index) for index in neighbours)
            yield Window(tasks, (), frozenset(np.flatnonzero(left[start:stop]) + start), shared)

    def _saved(self, in_flight: int) -> Iterator[Result]:
        """What has been saved, the oldest first; waits until at most ``in_flight`` are left."""
        while self._saving and (len(self._saving) > in_flight or self._saving[0].done()):
            started = time.perf_counter()
            self._saving[0].exception()
            self._job.report.waited_writing += time.perf_counter() - started
            yield self._saving.popleft().result()

    def _save(self, outcome: Outcome) -> Result:
        """Save the pictures and write the line, both in this thread: a kill between the two, after which the input
        is made again, is rare. Raises OSError where nothing more can be written."""
        started, task, cause = time.perf_counter(), outcome.task, outcome.cause
        if outcome.pictures and outcome.exemplar:
            save, spec = self._job.settings.save, self._job.plugin.spec
            found = pictures_of(
                outcome.pictures, outcome.row, outcome.condition, outcome.exemplar.pixels, save, spec
            )
            try:
                for kind, picture in found.items():
                    name = self._plan.names.extra(task.number, kind) if kind else task.output
                    self._folder.save(name, picture)
            except DataError as error:
                cause = str(error)
        milliseconds = round(outcome.milliseconds + 1000 * (time.perf_counter() - started))
        ledger = self._opened.ledger
        status: Status = "failed" if cause else "ok"
        entry = Entry(
            task.input, task.exemplar, task.output, status, cause, milliseconds, ledger.weights, ledger.settings,
            outcome.source, round(time.time(), 3),
        )  # fmt: skip
        with self._lock:
            ledger.record(task.number, self._opened.journal.add(entry))
        path, total = self._job.out / task.output, self._opened.total
        return Result(task.input, task.exemplar, path, status, cause, milliseconds, total)


class Pipeline:
    """Translates windows of tasks.

    batch_size: conditions of the trained size a batch; of larger ones as many fewer as they have more pixels.
    extras: kinds of pictures wanted beside the results, as in Settings. cache_mebibytes: for encoded exemplars.
    """

    def __init__(
        self,
        translator: Translator,
        reader: Reader,
        batch_size: int,
        extras: Sequence[str] = (),
        cache_mebibytes: int = 512,
        report: Report | None = None,
    ) -> None:
        self._translator, self._reader, self._batch_size = translator, reader, batch_size
        self._warped = bool({"warp", "grid"} & set(extras))
        self._confident = "confidence" in extras
        self.report = report or Report()
        self.exemplars = ExemplarCache(self._encode, reader.exemplar, batch_size, cache_mebibytes)

    def run(self, windows: Iterable[Window]) -> Iterator[list[Outcome]]:
        """The outcomes of all wanted tasks, a list a batch, window by window."""
        ahead = (replace(window, photos=self.exemplars.missing(window)) for window in windows)
        reads = self._reader.read(ahead)
        while True:
            started = time.perf_counter()
            read = next(reads, None)
            self.report.waited_reading += time.perf_counter() - started
            if read is None:
                return
            self.exemplars.turn_to(read)
            yield from self._translate_window(read)

    def _translate_window(self, read: ReadWindow) -> Iterator[list[Outcome]]:
        wanted, unread = read.window.wanted, []
        sizes: dict[tuple[int, ...], list[tuple[Task, Prepared]]] = {}
        for task, condition in zip(read.window.tasks, read.conditions, strict=True):
            if condition.planes is not None:
                sizes.setdefault(condition.planes.shape, []).append((task, condition))
            elif task.number in wanted:
                unread.append(self._failed(task, condition, condition.cause))
        yield unread
        for shape, items in sizes.items():
            fitting = self._batch_size * self._translator.short_side**2 // (shape[-1] * shape[-2])
            for batch in cut(items, max(1, fitting)):
                if any(task.number in wanted for task, _ in batch):
                    yield [o for o in self._translate_batch(batch) if o.task.number in wanted]

    def _translate_batch(self, batch: Sequence[tuple[Task, Prepared]]) -> Iterator[Outcome]:
        started, ready = time.perf_counter(), []
        for task, condition in batch:
            try:
                ready.append((task, condition, self.exemplars.get(task.photo)))
            except DataError as error:
                yield self._failed(task, condition, str(error))
        made = self._forward([c for _, c, _ in ready], [e.encoded for _, _, e in ready])
        each = 1000 * (time.perf_counter() - started) / max(1, len(ready))
        for (task, condition, exemplar), (pictures, row) in zip(ready, made, strict=True):
            if pictures:
                source, spent = f"{condition.source} {exemplar.source}", condition.milliseconds + each
                yield Outcome(task, "", source, spent, condition, exemplar, pictures, row)
            else:
                yield self._failed(task, condition, f"{task.files[0]}: {no_memory(condition)}")

    def _failed(self, task: Task, condition: Prepared, cause: str) -> Outcome:
        source = f"{condition.source} {self.exemplars.stamp(task.photo)}"
        return Outcome(task, cause, source, condition.milliseconds, condition)

    def _forward(
        self, conditions: Sequence[Prepared], exemplars: Sequence[EncodedExemplar]
    ) -> list[tuple[Pictures | None, int]]:
        """For each condition its pictures and the row in them; halved until it fits into memory."""
        if not conditions:
            return []
        planes = [condition.planes for condition in conditions if condition.planes is not None]
        try:
            pictures = self._translator.translate(planes, exemplars, self._warped, self._confident)
            self.report.batches += 1
            return [(pictures, row) for row in range(len(conditions))]
        except RuntimeError as error:
            self._check_memory(error, len(conditions))
        if len(conditions) == 1:
            return [(None, 0)]
        self._batch_size = max(1, self._batch_size // 2)
        half = len(conditions) // 2
        return self._forward(conditions[:half], exemplars[:half]) + self._forward(
            conditions[half:], exemplars[half:]
        )

    def _encode(self, photos: Sequence[NDArray[np.uint8]]) -> list[EncodedExemplar] | None:
        try:
            return self._translator.encode(photos)
        except RuntimeError as error:
            self._check_memory(error, len(photos))
            return None

    def _check_memory(self, error: RuntimeError, batch: int) -> None:
        """Note a batch that did not fit into the device's memory; raises any other error again."""
        from mcltool.core.device import is_out_of_memory

        if not is_out_of_memory(error):
            raise error
        self.report.halved += batch > 1
