"""Runs a job: claims the output folder, settles what is open, then makes and saves what is left, with a line each.

Reading and saving go on while the device computes, in bounded queues. Imports torch only when there is something to
translate.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from mcltool.core.errors import DataError, McltoolError
from mcltool.core.patience import limited
from mcltool.translate.folder import DONE, FAILED, Ledger, claimed, settling
from mcltool.translate.job import Job
from mcltool.translate.manifest import Entry, Journal, Status, merge
from mcltool.translate.names import write_pairs
from mcltool.translate.pairing import nearest_pairs
from mcltool.translate.pipeline import WINDOW_BATCHES, Pipeline, Stats
from mcltool.translate.plan import Plan, Task
from mcltool.translate.reader import Preparer, default_workers
from mcltool.translate.saving import OutputFolder, pictures_to_save, provenance
from mcltool.translate.settings import Shard

if TYPE_CHECKING:
    from mcltool.translate.translator import Translator

LONGEST_WAIT = timedelta(days=14)
"""How long a rank waits for the others under torchrun."""
WRITERS = 2
"""Threads that save: encoding a picture does not hold Python's lock."""


class Run:
    """One pass over a job. Iterating it does the work and yields the Entry of each input.

    An input that cannot be translated has a failed entry, and the rest are done. What an earlier run made with the same
    weights, settings and inputs is skipped. Closing the iterator finishes the files in flight. Iterating raises
    McltoolError where nothing more can be written, UsageError where another job writes to the same folder.

    translator: the job's model, if it is loaded already. Known once entries come: settings (the job's, complete), plan,
    and total, the inputs of this job's shard.
    """

    plan: Plan

    def __init__(self, job: Job, translator: Translator | None = None) -> None:
        self.job, self.settings, self.stats, self.total = job, job.settings, Stats(), 0
        self._model = translator

    def __iter__(self) -> Generator[Entry, None, None]:
        job = self.job
        try:
            if not self.settings.is_complete:
                self.model()  # an error of the device comes before anything is written
            with claimed(job.out, job.options.shard) as scratch:
                ledger = self.prepare(scratch)
                try:
                    with Journal(ledger.path) as journal:
                        yield from self._earlier(ledger)
                        if ledger.left.any():
                            yield from self._make(ledger, journal, scratch)
                finally:
                    with limited(f"{ledger.path}: putting its lines in order"):
                        ledger.write(scratch, absorb=job.options.shard.is_whole)
        except OSError as error:
            raise McltoolError(
                f"{error.filename or job.out}: cannot be written ({error.strerror}); stopped here, run again to resume"
            ) from None

    def model(self) -> Translator:
        """Loaded by the first call: a run with nothing left to do needs none. Raises UsageError as Translator does."""
        if self._model is None:
            from mcltool.translate.translator import Translator

            job = self.job
            self._model = Translator(job.weights, job.plugin, self.settings.precision, job.options.device)
        return self._model

    def prepare(self, scratch: Path | None = None) -> Ledger:
        """Settle the settings and exemplars that the request leaves open; returns what is done and what is left.

        scratch: of the claimed OUT, where the decisions are kept for all shards; None, for --dry-run, keeps nothing.
        """
        job, options = self.job, self.job.options
        with settling(job.out) if scratch else nullcontext():
            self.settings = self.settings.completed(job.out, job.digest)
            if not self.settings.is_complete:
                model = self.model()
                batch = self.settings.batch_size or model.fitting_batch_size(self.settings.size)
                self.settings = replace(self.settings, precision=model.precision, batch_size=batch)
            self.plan = job.plan or job.planned(nearest_pairs(job, self.model, scratch))
            if scratch:
                job.save(self.settings, scratch)
        if options.pair_out and options.shard.index == 0:
            write_pairs(options.pair_out, self.plan.rows())
        mine = options.shard.mine(len(self.plan), self._window)
        self.total = int(mine.sum())
        path = job.out / options.shard.manifest
        ledger = Ledger(self.plan, job.out, path, mine, job.digest, self.settings.digest())
        if options.overwrite:
            ledger.forget(DONE, FAILED)
        elif options.retry_failed:
            ledger.forget(FAILED)
        return ledger

    @property
    def _window(self) -> int:
        """Tasks that are batched together, and that shards take in turn."""
        return WINDOW_BATCHES * self.settings.batch_size

    def _earlier(self, ledger: Ledger) -> Iterator[Entry]:
        """What earlier runs made, and what failed there and has not changed."""
        digests = self.job.digest, self.settings.digest()
        for number in np.flatnonzero((ledger.states == DONE) & ledger.mine):
            task = self.plan[int(number)]
            yield Entry(task.input, task.exemplar, task.output, "skipped", "", 0, *digests, "", 0.0)
        yield from ledger.failed_before()

    def _make(self, ledger: Ledger, journal: Journal, scratch: Path) -> Iterator[Entry]:
        """Translate and save what is left."""
        job, settings, model = self.job, self.settings, self.model()
        folder = OutputFolder(job.out, scratch, settings.format, settings.quality)
        lock, digests = Lock(), (job.digest, settings.digest())

        def save(task: Task) -> Entry:
            """Save the pictures and write the line, both in this thread: a kill between the two, after which the
            input is made again, is rare. Raises OSError where nothing more can be written."""
            started, cause = time.perf_counter(), task.cause
            if not cause:
                made_of = (job.digest, job.plugin.name, task.input, task.exemplar)
                marks = provenance(settings.format, *made_of) if job.options.provenance else None
                try:
                    for kind, picture in pictures_to_save(task, settings.save, job.plugin.spec).items():
                        folder.save(self.plan.names.of(task.number, kind), picture, marks)
                except DataError as error:
                    cause = str(error)
            milliseconds = round(task.milliseconds + 1000 * (time.perf_counter() - started))
            status: Status = "failed" if cause else "ok"
            what = task.input, task.exemplar, task.output
            entry = Entry(*what, status, cause, milliseconds, *digests, task.source, round(time.time(), 3))
            with lock:
                ledger.made[task.number] = journal.add(entry)
            return entry

        left, size = ledger.left, self._window
        starts = (np.unique(np.flatnonzero(left) // size) * size).tolist()
        windows = (self.plan.window(start, size, left) for start in starts)
        workers = job.options.workers
        workers = default_workers(model.device.type, int(left.sum())) if workers is None else workers
        self.stats.device, self.stats.workers = str(model.device), workers
        preparer = Preparer(job.plugin, model.short_side, settings.size)
        cache = job.options.cache_mebibytes
        pipeline = Pipeline(model, preparer, settings.batch_size, settings.save, workers, cache, self.stats)
        saving: deque[Future[Entry]] = deque()
        pool = ThreadPoolExecutor(WRITERS, "writer")
        try:
            with closing(pipeline.run(windows)) as batches:
                for tasks in batches:
                    saving.extend(pool.submit(save, task) for task in tasks)
                    yield from self._saved(saving, in_flight=2 * settings.batch_size)
                yield from self._saved(saving, in_flight=0)
        finally:
            with self._limited():
                pool.shutdown()

    def _limited(self) -> AbstractContextManager[None]:
        return limited(f"{self.job.out}: saving a picture")

    def _saved(self, saving: deque[Future[Entry]], in_flight: int) -> Iterator[Entry]:
        """What has been saved, the oldest first; waits until at most ``in_flight`` are left."""
        while saving and (len(saving) > in_flight or saving[0].done()):
            started = time.perf_counter()
            with self._limited():
                saving[0].exception()
            self.stats.waited_writing += time.perf_counter() - started
            yield saving.popleft().result()


def settle_ranks(out: Path, shard: Shard, failed: int) -> int:
    """Under torchrun, wait for all ranks, join their manifests, and return how many inputs failed in all of them;
    elsewhere return ``failed``.

    torchrun ends all ranks as soon as one exits with an error, so that each waits for the last before it does.
    """
    if shard.is_whole or "TORCHELASTIC_RUN_ID" not in os.environ:
        return failed
    import torch
    from torch import distributed

    distributed.init_process_group("gloo", timeout=LONGEST_WAIT)
    try:
        total = torch.tensor(failed)
        distributed.all_reduce(total)
        if shard.index == 0:
            with claimed(out, Shard()) as scratch:
                merge(out, scratch)
        distributed.barrier()
        return int(total)
    finally:
        distributed.destroy_process_group()
