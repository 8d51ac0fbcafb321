"""Worker processes for all jobs but training, which has torch's loader."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from errno import EACCES, ENOENT, ENOSPC, ENOSYS, EPERM
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
"""Looks (see mcltool.core.patience) after which ``in_processes`` takes a task, which may be large, for hung."""
AHEAD, UNIT = 2, 4
"""Most windows done ahead of the one that is taken; tasks that a process gets at once."""
LOCKS = 4
"""Most locks that a process needs: those of its queues."""

Task = TypeVar("Task")
Result = TypeVar("Result")


def in_processes(
    work: Callable[[Task], Result], tasks: Sequence[Task], workers: int, at_once: int = 1
) -> Iterator[Result]:
    """What ``work`` makes of each task, in order; ``workers`` 0 works in this process, when it is asked.

    at_once: tasks that a process gets together. A slow consumer holds the work up: results do not pile up. Raises what
    ``work`` and ``Ahead`` raise.
    """
    if workers == 0 or len(tasks) < 2:
        yield from map(work, tasks)
        return
    windows = (tasks[first : first + at_once] for first in range(0, len(tasks), at_once))
    with Ahead(work, min(workers, len(tasks)), CHUNK_LOOKS, "nothing was read") as ahead:
        for results in ahead.map(windows, 2 * workers):
            yield from results


class Ahead(Generic[Task, Result]):
    """Work done in order and ahead of time: ``with Ahead(work, workers) as ahead``.

    work: pickled to the processes, of which there are ``workers``; 0 works in a thread of this process, which costs
    nothing to start. The processes are spawned, not forked: they hold none of this one's files and threads, which a
    fork would leave broken, and they end with it. looks: after how many a task counts as hung; None: patience.LOOKS.
    hung: the message then, with {} for the task. Raises McltoolError where there is no shared memory for processes.
    """

    def __init__(
        self,
        work: Callable[[Task], Result],
        workers: int = 0,
        looks: int | None = None,
        hung: str = "{} and the files read with it: no answer",
    ) -> None:
        self._work, self._workers, self._looks, self._hung = work, workers, looks, hung

    def __enter__(self) -> Self:
        self._pool: Executor
        check_shared_memory(self._workers)
        self._before = active_children()
        if self._workers:
            self._pool = ProcessPoolExecutor(self._workers, get_context("spawn"), _start, (self._work,))
        else:
            self._pool = ThreadPoolExecutor(1, "reader")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown(wait=kind is None, cancel_futures=True)  # what is being read may hang
        if kind:
            end(set(active_children()) - set(self._before))

    def map(self, windows: Iterable[Sequence[Task]], ahead: int = AHEAD) -> Iterator[list[Result]]:
        """The results of each window; up to ``ahead`` windows are worked on beyond the one that is taken.

        Raises what the work raises, McltoolError where a process is killed, and HungError where a task gets no answer.
        """
        pending: deque[list[tuple[Task, Future[list[Result]]]]] = deque()
        try:
            for window in windows:
                units = [window[start : start + UNIT] for start in range(0, len(window), UNIT)]
                pending.append([(unit[0], self._submit(unit)) for unit in units])
                if len(pending) > ahead:
                    yield self._taken(pending.popleft())
            while pending:
                yield self._taken(pending.popleft())
        except BrokenProcessPool:
            cause = "a worker process was killed, perhaps for want of memory"
            raise McltoolError(f"{cause}; run the same command again, perhaps with fewer --workers") from None

    def _submit(self, unit: Sequence[Task]) -> Future[list[Result]]:
        if self._workers:
            return self._pool.submit(_in_worker, unit)
        return self._pool.submit(lambda: [self._work(task) for task in unit])

    def _taken(self, units: Sequence[tuple[Task, Future[list[Result]]]]) -> list[Result]:
        results = []
        for first, future in units:
            looks = self._looks or patience.LOOKS
            for _ in range(looks):
                if wait([future], patience.LOOK_SECONDS).done:
                    break
            else:
                minutes = f"{patience.LOOK_SECONDS * looks / 60:.0f} minutes"
                hung = self._hung.format(first)
                raise HungError(f"{hung} in {minutes}; check the file system, then run again to resume")
            results += future.result()
        return results


def end(processes: Iterable[BaseProcess], seconds: float = 1.0) -> None:
    """Wait ``seconds`` in all for ``processes`` to end by themselves, then kill them.

    Python and torch send SIGTERM, which ours ignore, and then wait for ever.
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


def start_process() -> None:
    """Begin a process that reads. Signals reach all of a group: the one that waits for the others handles them."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(0)


_work: Callable[[Any], Any] | None
"""What a process of ``Ahead`` does."""


def _start(work: Callable[[Any], Any] | None = None) -> None:
    global _work
    _work = work
    start_process()
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
