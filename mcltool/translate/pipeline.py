"""Windows of tasks, read ahead and translated in batches; each exemplar is encoded once and kept for reuse.

Within a window tasks are batched by size, in their order. So batches depend on the plan and the inputs alone, and not
on what is done already or where a job was cut. Imports no torch: what uses it comes with the translator.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from mcltool.core.errors import DataError
from mcltool.data.workers import Ahead
from mcltool.translate.cache import ExemplarCache, no_memory
from mcltool.translate.plan import Task
from mcltool.translate.reader import Photo, Picture, Pictures, Preparer, Request, Result

if TYPE_CHECKING:
    from mcltool.model.network import EncodedExemplar
    from mcltool.translate.translator import Style, Translator

T = TypeVar("T")


@dataclass
class Stats:
    """How a run went. device: "" where there was nothing to translate.

    batches: how many; halved: how often one did not fit into the device's memory. waited_...: seconds that the device
    waited for inputs, and for outputs to be saved. uncovered: positions at which regions and classes left no exemplar,
    so that all serve.
    """

    device: str = ""
    workers: int = 0
    batches: int = 0
    halved: int = 0
    waited_reading: float = 0.0
    waited_writing: float = 0.0
    uncovered: int = 0


class Pipeline:
    """Reads and translates windows of tasks.

    batch_size: conditions of the trained size a batch; of larger ones as many fewer as they have more pixels. kinds:
    pictures wanted beside the outputs, as in Settings.save. workers: reader processes; 0 reads in a thread, which suits
    a model that keeps the processor busy anyway. cache_mebibytes: for encoded exemplars.
    """

    def __init__(
        self,
        translator: Translator,
        preparer: Preparer,
        batch_size: int,
        kinds: Sequence[str] = (),
        workers: int = 0,
        cache_mebibytes: int = 512,
        stats: Stats | None = None,
    ) -> None:
        self._translator, self._preparer, self._batch_size = translator, preparer, batch_size
        self._workers = workers
        self._warped = bool({"warp", "grid"} & set(kinds))
        self._confident = "confidence" in kinds
        self.stats = stats or Stats()
        self.exemplars = ExemplarCache(self._encode, preparer.photo, batch_size, cache_mebibytes)

    def run(self, windows: Iterable[Sequence[Task]]) -> Generator[list[Result], None, None]:
        """The results of all wanted tasks, a list a batch, window by window."""
        requests: Iterator[list[Request]] = ([*self.exemplars.missing(tasks), *tasks] for tasks in windows)
        with Ahead(self._preparer, self._workers) as reader:
            started = time.perf_counter()
            for read in reader.map(requests):
                self.stats.waited_reading += time.perf_counter() - started
                conditions = [result for result in read if isinstance(result, Result)]
                photos = [photo for photo in read if isinstance(photo, Photo)]
                self.exemplars.turn_to([result.task for result in conditions], photos)
                yield from self._window(conditions)
                started = time.perf_counter()

    def _window(self, conditions: Sequence[Result]) -> Iterator[list[Result]]:
        unread, sizes = [], dict[tuple[int, ...], list[Result]]()
        for read in conditions:
            if read.pixels is not None:
                sizes.setdefault(read.pixels.shape, []).append(read)
            elif read.task.wanted:
                unread.append(self._failed(read, read.cause))
        yield unread
        for shape, alike in sizes.items():
            fitting = max(1, self._batch_size * self._translator.short_side**2 // (shape[-1] * shape[-2]))
            for start in range(0, len(alike), fitting):
                batch = alike[start : start + fitting]
                if any(read.task.wanted for read in batch):
                    yield [result for result in self._batch(batch) if result.task.wanted]

    def _batch(self, batch: Sequence[Result]) -> Iterator[Result]:
        started, ready = time.perf_counter(), []
        for read in batch:
            try:
                ready.append((read, [self.exemplars.get(path) for path in read.task.photos]))
            except DataError as error:
                yield self._failed(read, str(error))
        pictures = self._forward(ready)
        each = 1000 * (time.perf_counter() - started) / max(1, len(ready))
        for (read, photos), made in zip(ready, pictures, strict=True):
            if made is None:
                yield self._failed(read, f"{read.task}: {no_memory(read)}")
                continue
            self.stats.uncovered += read.uncovered * read.task.wanted
            yield replace(
                read,
                source=f"{read.source} {','.join(photo.source for photo in photos)}",
                milliseconds=read.milliseconds + each,
                photos=[photo.pixels for photo in photos if photo.pixels is not None],
                made=made,
            )

    def _failed(self, read: Result, cause: str) -> Result:
        stamps = ",".join(map(self.exemplars.stamp, read.task.photos))
        return replace(read, source=f"{read.source} {stamps}", cause=cause)

    def _forward(self, pairs: Sequence[tuple[Result, Sequence[Photo]]]) -> list[Pictures | None]:
        """The pictures of each pair; the batch is halved until it fits into memory."""
        if not pairs:
            return []
        conditions = [read.pixels for read, _ in pairs if read.pixels is not None]
        styles = [_style(read, photos) for read, photos in pairs]
        made = self._fitting(
            len(pairs), lambda: self._translator.translate(conditions, styles, self._warped, self._confident)
        )
        if made:
            self.stats.batches += 1
            return [_row(made, row) for row in range(len(pairs))]
        if len(pairs) == 1:
            return [None]
        self._batch_size = max(1, self._batch_size // 2)
        half = len(pairs) // 2
        return self._forward(pairs[:half]) + self._forward(pairs[half:])

    def _encode(self, photos: Sequence[Picture]) -> list[EncodedExemplar] | None:
        return self._fitting(len(photos), lambda: self._translator.encode(photos))

    def _fitting(self, batch: int, compute: Callable[[], T]) -> T | None:
        """What ``compute`` gives; None where a batch does not fit into the device's memory."""
        from mcltool.core.device import is_out_of_memory

        try:
            return compute()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            self.stats.halved += batch > 1
            return None


def _style(read: Result, photos: Sequence[Photo]) -> Style:
    """As ``Translator.translate`` takes it."""
    encoded = [photo.encoded for photo in photos if photo.encoded]
    return encoded[0] if read.weights is None else (encoded, read.weights)


def _row(made: Pictures, row: int) -> Pictures:
    return lambda: {kind: rows[row] for kind, rows in made().items()}
