"""Work on samples in processes of its own, for jobs that are not training (which has torch's loader)."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import TypeVar

import cv2

from mcltool.core.errors import McltoolError

Task = TypeVar("Task")
Result = TypeVar("Result")


def in_processes(
    work: Callable[[Task], Result], tasks: Sequence[Task], workers: int
) -> Iterator[tuple[Task, Result]]:
    """Each task with what ``work`` makes of it, as they get done; ``workers`` 0 works in this process.

    A slow consumer holds the work up: results do not pile up. The processes are spawned, not forked: they hold
    none of this one's files and threads, and they end with it. Raises what ``work`` raises, and McltoolError
    where a process is killed.
    """
    if workers == 0 or len(tasks) < 2:
        for task in tasks:
            yield task, work(task)
        return
    pool = ProcessPoolExecutor(min(workers, len(tasks)), get_context("spawn"), _start)
    waiting = iter(tasks)
    running: dict[Future[Result], Task] = {}
    try:
        for task in islice(waiting, 2 * workers):
            running[pool.submit(work, task)] = task
        while running:
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                result = running.pop(done), done.result()
                for task in islice(waiting, 1):
                    running[pool.submit(work, task)] = task
                yield result
    except BrokenProcessPool:
        cause = "a worker process was killed, perhaps for want of memory"
        raise McltoolError(f"{cause}; run the same command again, perhaps with fewer --workers") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _start() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that waits for the pool ends it
    cv2.setNumThreads(0)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Without it, a pool's workers wait for ever where their parent was killed."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        signal.raise_signal(signal.SIGKILL)
