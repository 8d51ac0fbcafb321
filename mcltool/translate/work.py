"""Doing what is left of a plan: windows in, pictures written, a line in the manifest for each."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from threading import Lock

import numpy as np

from mcltool.translate.job import Job, Result
from mcltool.translate.manifest import Entry, Journal
from mcltool.translate.pipeline import Outcome, Pipeline, Work
from mcltool.translate.prepare import Preparer
from mcltool.translate.reader import Reader
from mcltool.translate.resume import TODO, Ledger
from mcltool.translate.writer import Writer

FEW = 64
"""Tasks for which starting reader processes takes longer than they save."""


def default_workers(device: str, tasks: int) -> int:
    """Reader processes: none beside a model that keeps the processor busy itself, or for a few files."""
    if device == "cpu" or tasks < FEW:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(8, cores - 2))


class LeftWork:
    """The tasks of a ledger that are TODO."""

    def __init__(self, job: Job, ledger: Ledger, journal: Journal, scratch: Path) -> None:
        self._job, self._ledger, self._journal, self._scratch = job, ledger, journal, scratch
        self._plan = ledger.plan
        self._total = int(ledger.mine.sum())
        self._lock = Lock()
        self._pending: deque[Future[Result]] = deque()

    def results(self) -> Iterator[Result]:
        """Make them, a result each. When this is closed, files in flight are finished and recorded."""
        job, translator = self._job, self._job.translator
        wanted = int((self._ledger.states[self._ledger.mine] == TODO).sum())
        workers = job.options.workers
        workers = default_workers(translator.device.type, wanted) if workers is None else workers
        preparer = Preparer(job.plugin, translator.short_side, job.settings.size)
        batch, mebibytes = job.settings.batch_size, job.options.cache_mebibytes
        writer = Writer(job.out, self._scratch, self._plan, job.settings, job.plugin.spec, self._record)
        with writer, Reader(preparer, workers) as reader:
            pipeline = Pipeline(translator, reader, batch, job.settings.save, mebibytes)
            job.report.started(job.settings, str(translator.device), workers, pipeline.timing)
            for outcome in pipeline.run(self._works()):
                if outcome.cause:
                    yield self._record(outcome, outcome.cause, 0.0)
                else:
                    self._pending.append(writer.submit(outcome))
                yield from self._written(keep=2 * batch, pipeline=pipeline)
            yield from self._written(keep=0, pipeline=pipeline)

    def _works(self) -> Iterator[Work]:
        """The windows in which something is left to do."""
        window, photos = self._job.window, self._plan.pairs[1]
        todo = self._ledger.mine & (self._ledger.states == TODO)
        for start in (np.unique(np.flatnonzero(todo) // window) * window).tolist():
            stop = min(start + window, len(self._plan))
            tasks = [self._plan[number] for number in range(start, stop)]
            neighbours = {int(photos[n]) for n in (start - 1, stop) if 0 <= n < len(photos)}
            shared = frozenset(self._plan.exemplars.path(index) for index in neighbours)
            yield Work(tasks, frozenset(np.flatnonzero(todo[start:stop]) + start), shared)

    def _written(self, keep: int, pipeline: Pipeline) -> Iterator[Result]:
        """What has been written, the oldest first; waits until at most ``keep`` are in flight."""
        while self._pending:
            future = self._pending[0]
            if not future.done():
                if len(self._pending) <= keep:
                    return
                started = time.perf_counter()
                future.exception()
                pipeline.timing.waited_writing += time.perf_counter() - started
            yield self._pending.popleft().result()

    def _record(self, outcome: Outcome, cause: str, milliseconds: float) -> Result:
        """Write the line of an input, in the thread that has written its output: a kill between the two, after
        which the input is made again, is rare."""
        task = outcome.task
        entry = Entry(
            input=task.input,
            exemplar=task.exemplar,
            output=task.output,
            status="failed" if cause else "ok",
            cause=cause,
            milliseconds=round(outcome.milliseconds + milliseconds),
            weights=self._ledger.weights,
            settings=self._ledger.settings,
            source=outcome.source,
            finished=round(time.time(), 3),
        )
        with self._lock:
            self._ledger.record(task.number, self._journal.add(entry))
        path = self._job.out / task.output
        return Result(task.input, task.exemplar, path, entry.status, cause, entry.milliseconds, self._total)
