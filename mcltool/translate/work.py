"""Doing what is left of a plan: windows in, pictures written, a line in the manifest for each."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path

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

_Written = tuple[Outcome, Future[tuple[str, float]] | None]


def default_workers(device: str, tasks: int) -> int:
    """Reader processes: none beside a model that keeps the processor busy itself, or for a few files."""
    if device == "cpu" or tasks < FEW:
        return 0
    return max(1, min(8, len(os.sched_getaffinity(0)) - 2))


class LeftWork:
    """The tasks of a ledger that are TODO."""

    def __init__(self, job: Job, ledger: Ledger, journal: Journal, scratch: Path) -> None:
        self._job, self._ledger, self._journal, self._scratch = job, ledger, journal, scratch
        self._plan = ledger.plan
        self._total = int(ledger.mine.sum())
        self._pending: deque[_Written] = deque()

    def results(self) -> Iterator[Result]:
        """Make them, a result each. When this is closed, files in flight are finished and recorded."""
        job, translator = self._job, self._job.translator
        wanted = int((self._ledger.states[self._ledger.mine] == TODO).sum())
        workers = job.options.workers
        workers = default_workers(translator.device.type, wanted) if workers is None else workers
        preparer = Preparer(job.plugin, translator.short_side, job.settings.size)
        with ExitStack() as stack:
            stack.callback(self._record_rest)
            writer = stack.enter_context(
                Writer(job.out, self._scratch, self._plan, job.settings, job.plugin.spec)
            )
            reader = stack.enter_context(Reader(preparer, workers))
            batch = job.settings.batch_size
            mebibytes = job.options.cache_mebibytes
            pipeline = Pipeline(translator, reader, batch, job.settings.save, mebibytes)
            job.report.started(job.settings, str(translator.device), workers, pipeline.timing)
            for outcome in pipeline.run(self._works()):
                self._pending.append((outcome, None if outcome.cause else writer.submit(outcome)))
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
        """Record what has been written, the oldest first, and wait until at most ``keep`` are in flight."""
        while self._pending:
            future = self._pending[0][1]
            if future and not future.done():
                if len(self._pending) <= keep:
                    return
                started = time.perf_counter()
                future.exception()
                pipeline.timing.waited_writing += time.perf_counter() - started
            yield self._record(*self._pending.popleft())

    def _record_rest(self) -> None:
        """After the end, however it came: all threads are done by now."""
        while self._pending:
            outcome, future = self._pending.popleft()
            if future is None or (future.exception() is None):
                self._record(outcome, future)

    def _record(self, outcome: Outcome, future: Future[tuple[str, float]] | None) -> Result:
        cause, milliseconds = future.result() if future else (outcome.cause, 0.0)
        task = outcome.task
        entry = Entry(
            task.input,
            task.exemplar,
            task.output,
            "failed" if cause else "ok",
            cause,
            round(outcome.milliseconds + milliseconds),
            self._ledger.weights,
            self._ledger.settings,
            outcome.source,
            round(time.time(), 3),
        )
        self._ledger.record(task.number, self._journal.add(entry))
        path = self._job.out / task.output
        return Result(task.input, task.exemplar, path, entry.status, cause, entry.milliseconds, self._total)
