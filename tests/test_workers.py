"""Work in processes ends, whatever they do: see mcltool.data.workers. That it is done: tests/test_packing.py."""

from __future__ import annotations

import os
import time
from multiprocessing import active_children

import pytest

from mcltool.core import patience
from mcltool.core.errors import HungError, McltoolError
from mcltool.data import workers
from mcltool.data.workers import in_processes


def none_left() -> bool:
    """Whether all processes are gone; one that the pool's own thread is just waiting for counts for a moment more."""
    limit = time.monotonic() + 5
    while active_children() and time.monotonic() < limit:
        time.sleep(0.05)
    return not active_children()


def test_work_that_hangs_is_given_up_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(workers, "CHUNK_LOOKS", 3)
    with pytest.raises(
        HungError, match=r"nothing was read in .* minutes; check the file system, then run again"
    ):
        list(in_processes(time.sleep, [600, 600], 2))
    assert none_left()


def test_who_stops_early_does_not_wait_for_what_is_at_work() -> None:
    results = in_processes(time.sleep, [0, 600], 2)
    assert next(results) is None
    results.close()  # type: ignore[attr-defined]
    assert none_left()


def test_a_process_that_is_killed_is_one_line() -> None:
    with pytest.raises(McltoolError, match="a worker process was killed"):
        list(in_processes(os._exit, [1, 1], 2))
    assert none_left()


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RuntimeError("killed by signal: Bus error.")]
)
def test_a_want_of_shared_memory_is_named(error: Exception) -> None:
    with (
        pytest.raises(McltoolError, match=r"/dev/shm.*--workers 0.*--shm-size"),
        workers.explaining_shared_memory(),
    ):
        raise error
    with pytest.raises(OSError, match=r"photo\.jpg"), workers.explaining_shared_memory():
        raise OSError(28, "No space left on device", "photo.jpg")
