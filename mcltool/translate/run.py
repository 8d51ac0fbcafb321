"""Doing a job: claim the output folder, settle what is open, and make and save what is left, a manifest line each.

Reading and saving go on while the device computes, in bounded queues. Imports no torch until something is to be
translated.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from mcltool.core.errors import DataError, McltoolError
from mcltool.translate.folder import claimed, settling
from mcltool.translate.images import OutputFolder, short_side_of
from mcltool.translate.job import Job, read_job, write_job
from mcltool.translate.lists import write_pairs
from mcltool.translate.manifest import DONE, FAILED, Entry, Journal, Ledger, Result, Status
from mcltool.translate.pairing import keep_pairs, kept_pairs, nearest_pairs
from mcltool.translate.pipeline import Output, Pipeline, Stats
from mcltool.translate.plan import Pairs, Plan
from mcltool.translate.provenance import Provenance
from mcltool.translate.reader import Preparer, Reader, default_workers

if TYPE_CHECKING:
    from mcltool.translate.translator import Translator

WRITERS = 2
"""Threads that save: encoding a picture does not hold Python's lock."""


class Run:
    """One pass over a job; iterate it for one Result an input, or none of it is done.

    An input that cannot be translated is a failed result, and the rest are done. What an earlier run made with the
    same weights, settings and inputs is skipped. Closing the iterator finishes the files in flight. Iterating raises
    McltoolError where nothing more can be written, UsageError where another job writes to the same folder.

    translator: the job's model, if it is loaded already. Known once results come: settings (the job's, complete), plan,
    and total, the inputs of this job's shard.
    """

    plan: Plan

    def __init__(self, job: Job, translator: Translator | None = None) -> None:
        self.job, self.settings, self.stats, self.total = job, job.settings, Stats(), 0
        self._translator = translator
        self._saving: deque[Future[Result]] = deque()
        self._lock = Lock()

    def __iter__(self) -> Generator[Result, None, None]:
        job = self.job
        try:
            self._check_device()
            with claimed(job.out, job.options.shard) as scratch:
                self._settle(scratch)
                ledger = self._ledger()
                try:
                    with Journal(ledger.path) as journal:
                        yield from self._earlier(ledger)
                        if ledger.left.any():
                            yield from self._make(ledger, journal, scratch)
                finally:
                    ledger.write(scratch, absorb=job.options.shard.is_whole)
        except OSError as error:
            raise McltoolError(
                f"{error.filename or job.out}: cannot be written ({error.strerror}); stopped here, run again to resume"
            ) from None

    def ledger(self) -> Ledger:
        """What is done and what is left, for --dry-run: nothing is written."""
        self._check_device()
        self._choose(None)
        return self._ledger()

    def translator(self) -> Translator:
        """The model, loaded by the first call: a run with nothing left to do needs none."""
        if self._translator is None:
            from mcltool.translate.translator import Translator

            job = self.job
            self._translator = Translator(
                job.weights, job.plugin, self.settings.precision, job.options.device
            )
        return self._translator

    def _check_device(self) -> None:
        """Raises UsageError for a device or precision that is not available, before anything is written."""
        if not self.settings.is_complete:
            self.translator()

    def _settle(self, scratch: Path) -> None:
        """Resolve what the settings leave open, once for all shards, and keep it in job.json."""
        job = self.job
        with settling(job.out):
            earlier = read_job(job.out, job.digest)
            self.settings = self.settings.completed(earlier) if earlier else self.settings
            if not self.settings.is_complete:
                model = self.translator()
                side = short_side_of(self.settings.size, model.short_side)
                batch = self.settings.batch_size or model.fitting_batch_size(side)
                self.settings = replace(self.settings, precision=model.precision, batch_size=batch)
            self._choose(scratch)
            if self.settings != earlier:
                write_job(job, self.settings, scratch)

    def _choose(self, scratch: Path | None) -> None:
        options = self.job.options
        self.plan = self.job.plan(lambda: self._nearest(scratch))
        if options.pair_out and options.shard.index == 0:
            write_pairs(options.pair_out, self.plan.rows())

    def _nearest(self, scratch: Path | None) -> Pairs:
        """The pairs where names do not decide them all; kept in OUT, if it is claimed (scratch)."""
        job, size = self.job, self.settings.size
        about = f"{job.digest} {size}" + (" by name first" if (job.chosen >= 0).any() else "")
        pairs = kept_pairs(job.out, about, job.conditions, job.exemplars)
        if pairs is None:
            workers = job.options.workers or 0
            pairs = nearest_pairs(
                self.translator(), size, job.conditions, job.exemplars, workers, scratch, job.chosen
            )
            if scratch:
                keep_pairs(job.out, about, job.conditions, job.exemplars, pairs, scratch)
        return pairs

    def _ledger(self) -> Ledger:
        job, plan, options = self.job, self.plan, self.job.options
        mine = options.shard.mine(len(plan), job.window(self.settings))
        self.total = int(mine.sum())
        path = job.out / options.shard.manifest
        ledger = Ledger(plan, job.out, path, mine, job.digest, self.settings.digest())
        if options.overwrite:
            ledger.forget((DONE, FAILED))
        elif options.retry_failed:
            ledger.forget((FAILED,))
        return ledger

    def _earlier(self, ledger: Ledger) -> Iterator[Result]:
        """What earlier runs made, and what failed there and has not changed."""
        for number in np.flatnonzero((ledger.states == DONE) & ledger.mine):
            task = ledger.plan[int(number)]
            yield Result(task.input, task.exemplar, task.output, "skipped", "", 0)
        for _, entry in ledger.failed_before():
            yield Result(*entry[:6])._replace(status="failed")

    def _make(self, ledger: Ledger, journal: Journal, scratch: Path) -> Iterator[Result]:
        """Translate and save what is left."""
        job, settings, model = self.job, self.settings, self.translator()
        folder = OutputFolder(job.out, scratch, settings.format, settings.quality)

        def save(output: Output) -> Result:
            """Save the pictures and write the line, both in this thread: a kill between the two, after which the
            input is made again, is rare. Raises OSError where nothing more can be written."""
            started, task, cause = time.perf_counter(), output.task, output.cause
            if not cause:
                made_of = Provenance(job.digest, job.plugin.name, task.input, task.exemplar)
                provenance = made_of if job.options.provenance else None
                try:
                    for kind, picture in output.pictures(settings.save, job.plugin.spec).items():
                        name = ledger.plan.names.extra(task.number, kind) if kind else task.output
                        folder.save(name, picture, provenance)
                except DataError as error:
                    cause = str(error)
            milliseconds = round(output.milliseconds + 1000 * (time.perf_counter() - started))
            status: Status = "failed" if cause else "ok"
            result = Result(task.input, task.exemplar, task.output, status, cause, milliseconds)
            entry = Entry(*result, ledger.weights, ledger.settings, output.source, round(time.time(), 3))
            with self._lock:
                ledger.record(task.number, journal.add(entry))
            return result

        left, size = ledger.left, job.window(settings)
        starts = (np.unique(np.flatnonzero(left) // size) * size).tolist()
        windows = (ledger.plan.window(start, size, left) for start in starts)
        workers = job.options.workers
        workers = default_workers(model.device.type, int(left.sum())) if workers is None else workers
        self.stats.device, self.stats.workers = str(model.device), workers
        preparer = Preparer(job.plugin, model.short_side, settings.size)
        with ThreadPoolExecutor(WRITERS, "writer") as pool, Reader(preparer, workers) as reader:
            cache = job.options.cache_mebibytes
            pipeline = Pipeline(model, reader, settings.batch_size, settings.save, cache, self.stats)
            for outputs in pipeline.run(windows):
                self._saving.extend(pool.submit(save, output) for output in outputs)
                yield from self._saved(in_flight=2 * settings.batch_size)
            yield from self._saved(in_flight=0)

    def _saved(self, in_flight: int) -> Iterator[Result]:
        """What has been saved, the oldest first; waits until at most ``in_flight`` are left."""
        while self._saving and (len(self._saving) > in_flight or self._saving[0].done()):
            started = time.perf_counter()
            self._saving[0].exception()
            self.stats.waited_writing += time.perf_counter() - started
            yield self._saving.popleft().result()
