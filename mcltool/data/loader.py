"""From samples to batches on the device: which numbers a rank takes, worker processes, copies ahead of time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from multiprocessing import active_children
from typing import TypeVar

import torch
from torch.utils.data import DataLoader, get_worker_info

from mcltool.core.errors import McltoolError, UsageError
from mcltool.core.patience import RESUME, limited
from mcltool.data.batch import Batch, HostBatch
from mcltool.data.dataset import Samples
from mcltool.data.workers import (
    NO_SHARED_MEMORY,
    check_shared_memory,
    end,
    explaining_shared_memory,
    is_shared_memory,
    start_process,
)

BATCH_LOOKS = 180
"""Looks (see mcltool.core.patience) after which a batch counts as hung: it may be of many large photos."""

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class SampleStream:
    """The numbers of a rank's batches, from step ``start`` to before ``stop``, for torch's DataLoader.

    Step k is the samples from k * batch_size on, over all ``world`` ranks; each takes its share of them in
    ``parts`` batches. Another number of ranks or parts sees the same samples in a step.
    """

    start: int
    stop: int
    rank: int
    world: int
    batch_size: int
    parts: int = 1

    def __post_init__(self) -> None:
        if self.batch_size % (self.world * self.parts):
            parts = f" in {self.parts} parts (train.accumulate)" if self.parts > 1 else ""
            raise UsageError(
                f"train.batch_size: a batch of {self.batch_size} does not divide among {self.world} processes{parts}"
            )

    def __iter__(self) -> Iterator[list[int]]:
        size = self.batch_size // (self.world * self.parts)
        for step in range(self.start, self.stop):
            for part in range(self.parts):
                first = step * self.batch_size + (self.rank * self.parts + part) * size
                yield list(range(first, first + size))

    def __len__(self) -> int:
        return max(0, self.stop - self.start) * self.parts


def training_loader(
    data: Samples, stream: SampleStream, workers: int, device: torch.device | str
) -> Generator[Batch, None, None]:
    """The batches of ``stream`` in order, loaded ahead by ``workers`` processes (0: in this one).

    device: where they arrive. On a GPU the next one is copied from pinned memory, and what is made of it there is
    made, while one is worked on. Raises the DataError of a sample that cannot be read (the worker's own, by its
    words) when its batch is due. Closing the iterator ends the workers.
    """
    target = torch.device(device)
    loaded = load(data, stream, workers, pinned=target.type == "cuda")
    with closing(loaded):
        if target.type == "cuda":
            yield from _ahead(loaded, data.arrive, target)
        else:
            yield from (data.arrive(batch) for batch in loaded)


def one_ahead(
    batches: Iterator[T], start: Callable[[T], U], finish: Callable[[U], None]
) -> Generator[U, None, None]:
    """What ``start`` makes of each of ``batches``; it is called for the next one before one is given out.

    finish: called with one right before it is given out. An error of ``batches`` is raised when it is due.
    """

    def following() -> U | McltoolError | None:
        try:
            return start(next(batches))
        except StopIteration:
            return None
        except McltoolError as error:
            return error

    ahead = following()
    while ahead is not None:
        if isinstance(ahead, McltoolError):
            raise ahead
        current = ahead
        finish(current)
        ahead = following()
        yield current


def _ahead(
    loaded: Iterator[HostBatch], arrive: Callable[[HostBatch], Batch], device: torch.device
) -> Generator[Batch, None, None]:
    """The batches on a GPU, copied and made on a stream of their own beside the work on the one before."""
    aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def start(batch: HostBatch) -> Batch:
        with torch.cuda.stream(aside):
            return arrive(batch.to(device))

    def finish(batch: Batch) -> None:
        work = torch.cuda.current_stream(device)
        work.wait_stream(aside)
        batch.record_stream(work)  # its memory is of the other stream, which must not take it back too early

    yield from one_ahead(loaded, start, finish)


def load(data: Samples, stream: SampleStream, workers: int, pinned: bool) -> Generator[HostBatch, None, None]:
    """The batches of ``stream`` as ``workers`` processes make them: all that ``training_loader`` does on the CPU."""
    loader: DataLoader[HostBatch | McltoolError] = DataLoader(
        _Batches(data),  # type: ignore[arg-type]
        batch_size=None,  # the stream's items are whole batches
        sampler=stream,
        num_workers=workers,
        pin_memory=pinned,
        worker_init_fn=_start_worker,
        generator=torch.Generator(),  # the loader draws a seed for its workers: not from the trainer's state
    )
    check_shared_memory(workers)
    before = active_children()
    batches = iter(loader)
    processes = set(active_children()) - set(before)
    try:
        with explaining_shared_memory():
            while True:
                with limited("the next batch of samples", BATCH_LOOKS, RESUME):
                    batch = next(batches, None)
                if batch is None:
                    return
                if isinstance(batch, McltoolError):
                    raise batch
                yield batch
    finally:  # also where torch raised: the traceback would keep its iterator, and so the workers, alive
        getattr(batches, "_shutdown_workers", lambda: None)()
        end(processes)


@contextmanager
def explaining_killed_workers() -> Iterator[None]:
    """Around all that is done while batches are loaded: where a worker is killed, torch raises a RuntimeError wherever
    this process happens to be."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        if is_shared_memory(error):  # Bus error: a write to memory that there was no room for
            raise McltoolError(NO_SHARED_MEMORY) from None
        cause = "a loader process was killed, perhaps for want of memory"
        raise McltoolError(f"{cause}; go on with mcltool fit --resume, perhaps with --workers 1") from None


class _Batches:
    """Samples by the batch. An error a user can cause is handed over as a value, because torch re-raises what
    it catches in a worker with a traceback for a message."""

    def __init__(self, data: Samples) -> None:
        self.data = data

    def __getitem__(self, numbers: Sequence[int]) -> HostBatch | McltoolError:
        try:
            items = (self.data.item(number) for number in numbers)
            return HostBatch.of(items, len(numbers), shared=get_worker_info() is not None)
        except McltoolError as error:
            return error
        except RuntimeError as error:
            if not is_shared_memory(error):
                raise
            return McltoolError(NO_SHARED_MEMORY)


def _start_worker(worker: int) -> None:
    start_process()
    torch.set_num_threads(1)
