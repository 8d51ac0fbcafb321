"""Windows of tasks, read ahead and translated in batches; each exemplar is encoded once and kept for reuse.

Within a window tasks are batched by size, in their order. So batches depend on the plan and the inputs alone, and not
on what is done already or where a job was cut. Imports no torch: what uses it comes with the translator.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from mcltool.core.errors import DataError
from mcltool.core.pictures import Picture
from mcltool.data.workers import Ahead
from mcltool.translate.exemplars import Name
from mcltool.translate.plan import Pictures, Task
from mcltool.translate.reader import Photo, Preparer, Request

if TYPE_CHECKING:
    from mcltool.model.network import EncodedExemplar
    from mcltool.translate.translator import Style, Translator

WINDOW_BATCHES = 4
"""Batches a window: enough to fill batches of mixed sizes, few enough to keep memory small."""
MOST_KEPT = 100_000
"""Exemplars in the cache, readable or not."""

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

    batch_size: conditions of the trained size in a batch; of larger ones fewer. kinds: as in Settings.save. workers:
    reader processes; 0 reads in a thread. cache_mebibytes: memory for encoded exemplars.
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
        self._translator, self._preparer, self.stats = translator, preparer, stats or Stats()
        self._batch_size, self._kinds, self._workers = batch_size, kinds, workers
        self.exemplars = ExemplarCache(
            lambda photos: self._fitting(len(photos), partial(translator.encode, photos)),
            preparer.photo, batch_size, cache_mebibytes,
        )  # fmt: skip

    def run(self, windows: Iterable[Sequence[Task]]) -> Generator[list[Task], None, None]:
        """All wanted tasks, translated or with the cause why not, a list a batch, window by window."""
        requests: Iterator[list[Request]] = ([*self.exemplars.missing(tasks), *tasks] for tasks in windows)
        with Ahead(self._preparer, self._workers) as reader:
            started = time.perf_counter()
            for read in reader.map(requests):
                self.stats.waited_reading += time.perf_counter() - started
                tasks = [task for task in read if isinstance(task, Task)]
                self.exemplars.turn_to(tasks, [photo for photo in read if isinstance(photo, Photo)])
                yield from self._window(tasks)
                started = time.perf_counter()

    def _window(self, tasks: Sequence[Task]) -> Iterator[list[Task]]:
        unread, sizes = [], dict[tuple[int, ...], list[Task]]()
        for task in tasks:
            if task.pixels is not None:
                sizes.setdefault(task.pixels.shape, []).append(task)
            elif task.wanted:
                unread.append(self._failed(task, task.cause))
        yield unread
        for shape, alike in sizes.items():
            fitting = max(1, self._batch_size * self._translator.short_side**2 // (shape[-1] * shape[-2]))
            for start in range(0, len(alike), fitting):
                batch = alike[start : start + fitting]
                if any(task.wanted for task in batch):
                    yield [task for task in self._batch(batch) if task.wanted]

    def _batch(self, batch: Sequence[Task]) -> Iterator[Task]:
        started, ready = time.perf_counter(), []
        for task in batch:
            try:
                ready.append((task, [self.exemplars.get(one.path) for one in task.exemplars]))
            except DataError as error:
                yield self._failed(task, str(error))
        pictures = self._forward(ready)
        each = 1000 * (time.perf_counter() - started) / max(1, len(ready))
        for (task, photos), made in zip(ready, pictures, strict=True):
            if made is None:
                yield self._failed(task, f"{task}: {_no_memory(task)}")
                continue
            self.stats.uncovered += task.uncovered * task.wanted
            yield replace(
                task,
                source=f"{task.source} {','.join(photo.source for photo in photos)}",
                milliseconds=task.milliseconds + each,
                photos=[photo.pixels for photo in photos if photo.pixels is not None],
                made=made,
            )

    def _failed(self, task: Task, cause: str) -> Task:
        stamps = ",".join(self.exemplars.stamp(one.path) for one in task.exemplars)
        return replace(task, source=f"{task.source} {stamps}", cause=cause)

    def _forward(self, pairs: Sequence[tuple[Task, Sequence[Photo]]]) -> list[Pictures | None]:
        """The pictures of each pair; the batch is halved until it fits into memory."""
        if not pairs:
            return []
        conditions = [task.pixels for task, _ in pairs if task.pixels is not None]
        styles: list[Style] = []
        for task, photos in pairs:
            encoded = [photo.encoded for photo in photos if photo.encoded]
            styles.append(encoded[0] if task.weights is None else (encoded, task.weights))
        made = self._fitting(len(pairs), partial(self._translator.translate, conditions, styles, self._kinds))
        if made:
            self.stats.batches += 1
            return [_row(made, row) for row in range(len(pairs))]
        if len(pairs) == 1:
            return [None]
        self._batch_size = max(1, self._batch_size // 2)
        half = len(pairs) // 2
        return self._forward(pairs[:half]) + self._forward(pairs[half:])

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


class ExemplarCache:
    """The exemplars used last, up to ``mebibytes`` of them (and at least one batch).

    Those of one size that only one window uses are encoded in batches, always the same ones; one that windows share is
    encoded by itself. So each exemplar's bits depend on the plan alone. One that cannot be read is not opened again.

    encode: photos of one size; None where memory does not suffice. read: a photo that no window has read.
    """

    def __init__(
        self,
        encode: Callable[[Sequence[Picture]], list[EncodedExemplar] | None],
        read: Callable[[Name], Photo],
        batch_size: int = 1,
        mebibytes: int = 512,
    ) -> None:
        self._encode, self._read, self._batch_size = encode, read, batch_size
        self._limit, self._bytes = mebibytes * 2**20, 0
        self._kept: OrderedDict[Name, Photo] = OrderedDict()
        self._scheduled: set[Name] = set()
        self._photos: dict[Name, Photo] = {}
        self._groups: dict[Name, Sequence[Name]] = {}

    def missing(self, tasks: Sequence[Task]) -> list[Name]:
        """The photos to read for a window: those that are not kept, and not read for one before it."""
        photos = dict.fromkeys(one.path for task in tasks for one in task.exemplars)
        found = [path for path in photos if path not in self._kept and path not in self._scheduled]
        self._scheduled.update(found)
        return found

    def turn_to(self, tasks: Sequence[Task], photos: Sequence[Photo]) -> None:
        """A window's tasks, and the photos read for it: the ones asked for from now on."""
        self._photos = {photo.path: photo for photo in photos}
        self._scheduled.difference_update(self._photos)
        sizes: dict[tuple[int, ...], dict[Name, None]] = {}
        for path in (one.path for task in tasks if not task.alone for one in task.exemplars):
            if path in self._photos and (pixels := self._photos[path].pixels) is not None:
                sizes.setdefault(pixels.shape, {})[path] = None
        self._groups = {}
        for alike in map(list, sizes.values()):
            for start in range(0, len(alike), self._batch_size):
                group = alike[start : start + self._batch_size]
                self._groups |= dict.fromkeys(group, group)

    def get(self, path: Name) -> Photo:
        """The exemplar of this path, encoded with its group if it is not yet. Raises DataError where it cannot be."""
        if path not in self._kept:
            self._add(self._groups.get(path, [path]), path)
        found = self._kept[path]
        if found.cause:
            raise DataError(found.cause)
        self._kept.move_to_end(path)
        return found

    def stamp(self, path: Name) -> str:
        """The stamp of a photo's file, which need not be readable."""
        return self._kept[path].source if path in self._kept else self._prepared(path).source

    def _add(self, group: Sequence[Name], wanted: Name) -> None:
        read = [self._prepared(path) for path in group]
        pixels = [photo.pixels for photo in read if photo.pixels is not None]
        encoded = self._encode(pixels) if len(pixels) == len(group) else None
        if encoded is not None:
            read = [replace(photo, encoded=code) for photo, code in zip(read, encoded, strict=True)]
        elif len(group) > 1:
            return self._add([wanted], wanted)
        else:
            cause = read[0].cause or f"{wanted}: {_no_memory(read[0])}"
            read = [replace(read[0], pixels=None, cause=cause)]
        self._kept |= {photo.path: photo for photo in read}
        self._bytes += sum(photo.bytes for photo in read)
        while len(self._kept) > len(group) and (self._bytes > self._limit or len(self._kept) > MOST_KEPT):
            self._bytes -= self._kept.popitem(last=False)[1].bytes

    def _prepared(self, path: Name) -> Photo:
        if path not in self._photos:
            self._photos[path] = self._read(path)
        return self._photos[path]


def _no_memory(read: Task | Photo) -> str:
    """The cause of a condition or photo that is too large for the device by itself."""
    assert read.pixels is not None
    height, width = read.pixels.shape[:2] if isinstance(read, Photo) else read.pixels.shape[-2:]
    return f"not enough memory on the device for {width} x {height} pixels"


def _row(made: Pictures, row: int) -> Pictures:
    return lambda: {kind: rows[row] for kind, rows in made().items()}
