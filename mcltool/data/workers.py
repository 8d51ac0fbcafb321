"""Work on files in processes of its own, for jobs that are not training (which has torch's loader)."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from errno import EACCES, ENOENT, ENOSPC, ENOSYS, EPERM
from itertools import islice
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Any, Generic, Self, TypeVar

import cv2

from mcltool.core import patience
from mcltool.core.errors import HungError, McltoolError

NO_SHARED_MEMORY = (
    "/dev/shm, through which processes hand over what they read, is too small: --workers 0 reads in this process; "
    "a container gets more by docker run --shm-size 2g"
)

CHUNK_LOOKS = 180
"""Looks (see mcltool.core.patience) after which ``in_processes``, whose tasks may be large, takes them for hung."""
AHEAD, UNIT = 2, 4
"""Windows that are done ahead at most; tasks that a process does in one go."""
LOCKS = 4
"""At most so many of each process: those of its queues."""

Task = TypeVar("Task")
Result = TypeVar("Result")


def in_processes(
    work: Callable[[Task], Result], tasks: Sequence[Task], workers: int
) -> Iterator[tuple[Task, Result]]:
    """Each task with what ``work`` makes of it, as they get done; ``workers`` 0 works in this process.

    A slow consumer holds the work up: results do not pile up. The processes are spawned, not forked: they hold
    none of this one's files and threads, and they end with it. Raises what ``work`` raises, and McltoolError
    where a process is killed or there is no shared memory, HungError where none gets anything done in half an hour.
    """
    if workers == 0 or len(tasks) < 2:
        for task in tasks:
            yield task, work(task)
        return
    check_shared_memory(workers)
    before = active_children()
    pool = ProcessPoolExecutor(min(workers, len(tasks)), get_context("spawn"), _start)
    waiting = iter(tasks)
    running: dict[Future[Result], Task] = {}
    try:
        for task in islice(waiting, 2 * workers):
            running[pool.submit(work, task)] = task
        while running:
            for done in _some(running, "nothing was read", CHUNK_LOOKS):
                result = running.pop(done), done.result()
                for task in islice(waiting, 1):
                    running[pool.submit(work, task)] = task
                yield result
    except BrokenProcessPool:
        cause = "a worker process was killed, perhaps for want of memory"
        raise McltoolError(f"{cause}; run the same command again, perhaps with fewer --workers") from None
    finally:
        pool.shutdown(
            wait=not running, cancel_futures=True
        )  # Python itself waits for what is at work, however long
        end(set(active_children()) - set(before))


def _some(running: Iterable[Future[Result]], what: str, looks: int) -> set[Future[Result]]:
    """Those that are done, at least one. Raises HungError, ``what``, where that takes more than ``looks``."""
    for _ in range(looks):
        if done := wait(running, patience.LOOK_SECONDS, FIRST_COMPLETED).done:
            return done
    minutes = patience.LOOK_SECONDS * looks / 60
    raise HungError(f"{what} in {minutes:.0f} minutes; check the file system, then run again to resume")


class Ahead(Generic[Task, Result]):
    """Work done in order, ahead of whoever takes its results: ``with Ahead(work, workers) as ahead``.

    work: pickled to the processes, of which there are ``workers``; 0 works in a thread of this process, which costs
    nothing to start.
    """

    def __init__(self, work: Callable[[Task], Result], workers: int = 0) -> None:
        self._work, self._workers = work, workers

    def __enter__(self) -> Self:
        self._pool: Executor
        self._before = active_children()
        if self._workers:  # not forked: this process has threads of torch, which a fork would leave broken
            self._pool = ProcessPoolExecutor(self._workers, get_context("spawn"), _start, (self._work,))
        else:
            self._pool = ThreadPoolExecutor(1, "reader")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown(wait=kind is None, cancel_futures=True)  # what is being read may hang
        if kind:
            end(set(active_children()) - set(self._before))

    def map(self, windows: Iterable[Sequence[Task]]) -> Iterator[list[Result]]:
        """The results of each window. Raises McltoolError where a process is killed, HungError where a task gets no
        answer in ten minutes."""
        pending: deque[list[tuple[Task, Future[list[Result]]]]] = deque()
        try:
            for window in windows:
                units = [window[start : start + UNIT] for start in range(0, len(window), UNIT)]
                pending.append([(unit[0], self._submit(unit)) for unit in units])
                if len(pending) > AHEAD:
                    yield self._taken(pending.popleft())
            while pending:
                yield self._taken(pending.popleft())
        except BrokenProcessPool:
            raise McltoolError(
                "a reader process was killed, perhaps for lack of memory; run again with fewer --workers"
            ) from None

    def _submit(self, unit: Sequence[Task]) -> Future[list[Result]]:
        if self._workers:
            return self._pool.submit(_in_worker, unit)
        return self._pool.submit(lambda: [self._work(task) for task in unit])

    def _taken(self, units: Sequence[tuple[Task, Future[list[Result]]]]) -> list[Result]:
        results = []
        for first, future in units:
            _some([future], f"{first} and the files read with it: no answer", patience.LOOKS)
            results += future.result()
        return results


def end(processes: Iterable[BaseProcess], seconds: float = 1.0) -> None:
    """Have ``processes`` gone: they get ``seconds`` together to end by themselves.

    Python and torch end them by SIGTERM, which those that leave signals to their parent ignore, and then wait for
    ever.
    """
    limit = time.monotonic() + seconds
    for process in processes:
        process.join(max(0.0, limit - time.monotonic()))
        process.kill()
        # Not join: a pool's own thread may see the end first, and tells of it a moment later.
        while process.is_alive() and time.monotonic() < limit + seconds:
            time.sleep(0.005)


def is_shared_memory(error: Exception) -> bool:
    """Whether an error of torch or of Python is that there is no, or no more, shared memory."""
    if isinstance(error, OSError):  # of a semaphore, which has no file name
        return error.filename is None and error.errno in (ENOSPC, ENOENT, EACCES, EPERM, ENOSYS)
    return any(words in str(error) for words in ("shared memory", "Bus error"))


def check_shared_memory(workers: int) -> None:
    """Raises McltoolError where there is no room for what ``workers`` processes begin with: a page for each lock."""
    with explaining_shared_memory():
        del [get_context().Lock() for _ in range(LOCKS * (workers + 1) if workers else 0)][:]


@contextmanager
def explaining_shared_memory() -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:
        if not is_shared_memory(error):
            raise
        raise McltoolError(NO_SHARED_MEMORY) from None


_work: Callable[[Any], Any] | None
"""What a process of ``Ahead`` does."""


def _start(work: Callable[[Any], Any] | None = None) -> None:
    """In a new process, which is ended by the one that waits for the pool, whoever is asked to stop."""
    global _work
    _work = work
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(0)
    Thread(target=_end_with_parent, daemon=True).start()


def _in_worker(tasks: Sequence[Any]) -> list[Any]:
    assert _work
    return [_work(task) for task in tasks]


def _end_with_parent() -> None:
    """Without it, a pool's workers wait for ever where their parent was killed."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
