"""Windows of tasks, read ahead and translated in batches; each exemplar is encoded once and kept for reuse.

Within a window tasks are batched by size, in their order. So batches depend on the plan and the inputs alone, and not
on what is done already or where a job was cut. Imports no torch: what uses it comes with the translator.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar, cast

from mcltool.core.errors import DataError
from mcltool.data.workers import Ahead
from mcltool.translate.plan import Task
from mcltool.translate.reader import Photo, Picture, Pictures, Preparer, Request, Result

if TYPE_CHECKING:
    from mcltool.model.network import EncodedExemplar
    from mcltool.translate.translator import Style, Translator

T = TypeVar("T")

MOST_KEPT = 100_000
"""Exemplars in the cache, readable or not."""


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
        ahead: deque[tuple[Sequence[Task], list[str]]] = deque()

        def requests() -> Iterator[list[Request]]:
            for tasks in windows:
                photos = self.exemplars.missing(tasks)
                ahead.append((tasks, photos))
                yield [*photos, *tasks]

        with Ahead(self._preparer, self._workers) as reader:
            reads = reader.map(requests())
            while True:
                started = time.perf_counter()
                read = next(reads, None)
                self.stats.waited_reading += time.perf_counter() - started
                if read is None:
                    return
                tasks, paths = ahead.popleft()
                photos = dict(zip(paths, cast(list[Photo], read), strict=False))
                self.exemplars.turn_to(tasks, photos)
                yield from self._window(cast(list[Result], read[len(photos) :]))

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
                yield self._failed(read, f"{read.task}: {_no_memory(read)}")
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


class ExemplarCache:
    """The exemplars used last, up to ``mebibytes`` of them (and at least one batch).

    Those of one size that only one window uses are encoded in batches, always the same ones; one that windows share is
    encoded by itself. So each exemplar's bits depend on the plan alone. One that cannot be read is not opened again.

    encode: photos of one size; None where the device's memory does not suffice. read: reads a photo that is in no
    window, such as one that was dropped and is needed again.
    """

    def __init__(
        self,
        encode: Callable[[Sequence[Picture]], list[EncodedExemplar] | None],
        read: Callable[[str], Photo],
        batch_size: int = 1,
        mebibytes: int = 512,
    ) -> None:
        self._encode, self._read, self._batch_size = encode, read, batch_size
        self._limit, self._bytes = mebibytes * 2**20, 0
        self._kept: OrderedDict[str, Photo] = OrderedDict()
        self._scheduled: set[str] = set()
        self._photos: dict[str, Photo] = {}
        self._groups: dict[str, Sequence[str]] = {}

    def missing(self, tasks: Sequence[Task]) -> list[str]:
        """The photos to read for a window: those that are not kept, and not read for one before it."""
        photos = dict.fromkeys(path for task in tasks for path in task.photos)
        found = [path for path in photos if path not in self._kept and path not in self._scheduled]
        self._scheduled.update(found)
        return found

    def turn_to(self, tasks: Sequence[Task], photos: dict[str, Photo]) -> None:
        """A window's tasks, and the photos read for it: the ones asked for from now on."""
        self._scheduled.difference_update(photos)
        self._photos = photos
        sizes: dict[tuple[int, ...], dict[str, None]] = {}
        for path in (path for task in tasks if not task.alone for path in task.photos):
            pixels = photos[path].pixels if path in photos else None
            if pixels is not None:
                sizes.setdefault(pixels.shape, {})[path] = None
        self._groups = {}
        for alike in map(list, sizes.values()):
            for start in range(0, len(alike), self._batch_size):
                group = alike[start : start + self._batch_size]
                self._groups |= dict.fromkeys(group, group)

    def get(self, path: str) -> Photo:
        """The exemplar of this path, encoded with its group if it is not yet. Raises DataError where it cannot be."""
        if path not in self._kept:
            self._add(self._groups.get(path, [path]), path)
        found = self._kept[path]
        if found.cause:
            raise DataError(found.cause)
        self._kept.move_to_end(path)
        return found

    def stamp(self, path: str) -> str:
        """The stamp of a photo's file, which need not be readable."""
        return self._kept[path].source if path in self._kept else self._prepared(path).source

    def _add(self, group: Sequence[str], wanted: str) -> None:
        read = [self._prepared(path) for path in group]
        pixels = [photo.pixels for photo in read if photo.pixels is not None]
        encoded = self._encode(pixels) if len(pixels) == len(group) else None
        if encoded is not None:
            for path, photo, code in zip(group, read, encoded, strict=True):
                self._keep(path, replace(photo, encoded=code))
        elif len(group) > 1:
            self._add([wanted], wanted)
        else:
            self._keep(wanted, Photo(read[0].source, read[0].cause or f"{wanted}: {_no_memory(read[0])}"))
        while len(self._kept) > len(group) and (self._bytes > self._limit or len(self._kept) > MOST_KEPT):
            self._bytes -= self._kept.popitem(last=False)[1].bytes

    def _prepared(self, path: str) -> Photo:
        if path not in self._photos:
            self._photos[path] = self._read(path)
        return self._photos[path]

    def _keep(self, path: str, found: Photo) -> None:
        self._kept[path] = found
        self._bytes += found.bytes


def _no_memory(read: Result | Photo) -> str:
    """The cause of a condition or photo that is too large for the device by itself."""
    assert read.pixels is not None
    height, width = read.pixels.shape[:2] if isinstance(read, Photo) else read.pixels.shape[-2:]
    return f"not enough memory on the device for {width} x {height} pixels"
