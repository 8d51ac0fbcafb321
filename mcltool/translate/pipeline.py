"""Windows of tasks, read ahead and translated in batches; each exemplar is encoded once and kept for reuse.

Within a window tasks are batched by size, in their order. So batches depend on the plan and the inputs alone, and
not on what is done already or where a job was cut. Imports no torch: what uses it comes with the translator.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from mcltool.core.errors import DataError
from mcltool.plugin.contract import ConditionSpec
from mcltool.translate.exemplars import Weights
from mcltool.translate.images import Picture, pictures_to_save
from mcltool.translate.plan import Task
from mcltool.translate.reader import Prepared, Reader, Request

if TYPE_CHECKING:
    from mcltool.model.network import EncodedExemplar
    from mcltool.translate.translator import Pictures, Translator

T = TypeVar("T")
Photos = Sequence[NDArray[np.uint8]]

MOST_KEPT = 100_000
"""Exemplars in the cache, readable or not."""


@dataclass(frozen=True, eq=False)
class Output:
    """What was made of a task: its row of a batch of pictures, or the cause why there is none.

    condition, exemplars: what it was made of, as the network saw them. source: stamps of their files.
    milliseconds: to read and translate.
    """

    task: Task
    condition: Prepared
    source: str
    milliseconds: float
    cause: str = ""
    exemplars: Sequence[Picture] = ()
    made: Pictures | None = None
    row: int = 0

    def pictures(self, kinds: Sequence[str], spec: ConditionSpec) -> dict[str, Picture]:
        """What to save, as in ``pictures_to_save``; waits for the device. Of an output without cause."""
        assert self.made
        planes, size = self.condition.planes, self.condition.size
        assert planes is not None
        return pictures_to_save(self.made.row(self.row), size, planes, self.exemplars, kinds, spec)


@dataclass
class Stats:
    """How a run went. device: "" where there was nothing to translate.

    batches: how many; halved: how often one did not fit into the device's memory. waited_...: seconds that the
    device waited for inputs, and for outputs to be saved. uncovered: positions at which regions and classes left no
    exemplar, so that all serve.
    """

    device: str = ""
    workers: int = 0
    batches: int = 0
    halved: int = 0
    waited_reading: float = 0.0
    waited_writing: float = 0.0
    uncovered: int = 0


class Pipeline:
    """Translates windows of tasks.

    batch_size: conditions of the trained size a batch; of larger ones as many fewer as they have more pixels.
    kinds: pictures wanted beside the outputs, as in Settings.save. cache_mebibytes: for encoded exemplars.
    """

    def __init__(
        self,
        translator: Translator,
        reader: Reader,
        batch_size: int,
        kinds: Sequence[str] = (),
        cache_mebibytes: int = 512,
        stats: Stats | None = None,
    ) -> None:
        self._translator, self._reader, self._batch_size = translator, reader, batch_size
        self._warped = bool({"warp", "grid"} & set(kinds))
        self._confident = "confidence" in kinds
        self.stats = stats or Stats()
        self.exemplars = ExemplarCache(self._encode, reader.exemplar, batch_size, cache_mebibytes)

    def run(self, windows: Iterable[Sequence[Task]]) -> Iterator[list[Output]]:
        """The outputs of all wanted tasks, a list a batch, window by window."""
        ahead: deque[tuple[Sequence[Task], list[str]]] = deque()

        def requests() -> Iterator[list[Request]]:
            for tasks in windows:
                photos = self.exemplars.missing(tasks)
                ahead.append((tasks, photos))
                yield [*photos, *((task.files, task.part, task.exemplars) for task in tasks)]

        reads = self._reader.read(requests())
        while True:
            started = time.perf_counter()
            read = next(reads, None)
            self.stats.waited_reading += time.perf_counter() - started
            if read is None:
                return
            tasks, photos = ahead.popleft()
            self.exemplars.turn_to(tasks, dict(zip(photos, read, strict=False)))
            yield from self._window(tasks, read[len(photos) :])

    def _window(self, tasks: Sequence[Task], conditions: Sequence[Prepared]) -> Iterator[list[Output]]:
        unread, sizes = [], dict[tuple[int, ...], list[tuple[Task, Prepared]]]()
        for task, condition in zip(tasks, conditions, strict=True):
            if condition.planes is not None:
                sizes.setdefault(condition.planes.shape, []).append((task, condition))
            elif task.wanted:
                unread.append(self._failed(task, condition, condition.cause))
        yield unread
        for shape, items in sizes.items():
            fitting = max(1, self._batch_size * self._translator.short_side**2 // (shape[-1] * shape[-2]))
            for start in range(0, len(items), fitting):
                batch = items[start : start + fitting]
                if any(task.wanted for task, _ in batch):
                    yield [output for output in self._batch(batch) if output.task.wanted]

    def _batch(self, batch: Sequence[tuple[Task, Prepared]]) -> Iterator[Output]:
        started, ready = time.perf_counter(), []
        for task, condition in batch:
            try:
                ready.append((task, condition, [self.exemplars.get(photo) for photo in task.photos]))
            except DataError as error:
                yield self._failed(task, condition, str(error))
        made = self._forward([(condition, exemplars) for _, condition, exemplars in ready])
        each = 1000 * (time.perf_counter() - started) / max(1, len(ready))
        for (task, condition, exemplars), (pictures, row) in zip(ready, made, strict=True):
            if pictures:
                source = f"{condition.source} {','.join(exemplar.source for exemplar in exemplars)}"
                pixels = [exemplar.pixels for exemplar in exemplars if exemplar.pixels is not None]
                self.stats.uncovered += condition.uncovered * task.wanted
                yield Output(
                    task, condition, source, condition.milliseconds + each, "", pixels, pictures, row
                )
            else:
                yield self._failed(task, condition, f"{task.files[0]}: {_no_memory(condition)}")

    def _failed(self, task: Task, condition: Prepared, cause: str) -> Output:
        source = f"{condition.source} {','.join(map(self.exemplars.stamp, task.photos))}"
        return Output(task, condition, source, condition.milliseconds, cause)

    def _forward(
        self, pairs: Sequence[tuple[Prepared, Sequence[CachedExemplar]]]
    ) -> list[tuple[Pictures | None, int]]:
        """For each pair its pictures and the row in them; halved until it fits into memory."""
        if not pairs:
            return []
        planes = [condition.planes for condition, _ in pairs if condition.planes is not None]
        exemplars = [_encoded(condition, several) for condition, several in pairs]
        made = self._fitting(
            len(pairs), lambda: self._translator.translate(planes, exemplars, self._warped, self._confident)
        )
        if made:
            self.stats.batches += 1
            return [(made, row) for row in range(len(pairs))]
        if len(pairs) == 1:
            return [(None, 0)]
        self._batch_size = max(1, self._batch_size // 2)
        half = len(pairs) // 2
        return self._forward(pairs[:half]) + self._forward(pairs[half:])

    def _encode(self, photos: Photos) -> list[EncodedExemplar] | None:
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


@dataclass(frozen=True, eq=False)
class CachedExemplar:
    """A photo as the network takes it, or the cause why it cannot be used: it is not opened again for each condition.

    pixels: (H, W, 3) uint8. source: stamp of its file.
    """

    source: str
    cause: str = ""
    encoded: EncodedExemplar | None = None
    pixels: NDArray[np.uint8] | None = None

    @property
    def bytes(self) -> int:
        arrays = (*self.encoded, self.pixels) if self.encoded else ()
        return sum(array.nbytes for array in arrays if array is not None)


class ExemplarCache:
    """The exemplars used last, up to ``mebibytes`` of them (and at least one batch).

    Those of one size that only one window uses are encoded in batches, always the same ones; one that windows
    share is encoded by itself. So each exemplar's bits depend on the plan alone.

    encode: photos of one size to encoded ones; None where the device's memory does not suffice for them.
    read: reads a photo that is in no window, as one that was dropped and is needed again.
    """

    def __init__(
        self,
        encode: Callable[[Photos], list[EncodedExemplar] | None],
        read: Callable[[str], Prepared],
        batch_size: int = 1,
        mebibytes: int = 512,
    ) -> None:
        self._encode, self._read, self._batch_size = encode, read, batch_size
        self._limit, self._bytes = mebibytes * 2**20, 0
        self._kept: OrderedDict[str, CachedExemplar] = OrderedDict()
        self._scheduled: set[str] = set()
        self._photos: dict[str, Prepared] = {}
        self._groups: dict[str, Sequence[str]] = {}

    def missing(self, tasks: Sequence[Task]) -> list[str]:
        """The photos to read for a window: those that are not kept, and not read for one before it."""
        photos = dict.fromkeys(photo for task in tasks for photo in task.photos)
        found = [photo for photo in photos if photo not in self._kept and photo not in self._scheduled]
        self._scheduled.update(found)
        return found

    def turn_to(self, tasks: Sequence[Task], photos: dict[str, Prepared]) -> None:
        """A window's tasks, and the photos read for it: the ones asked for from now on."""
        self._scheduled.difference_update(photos)
        self._photos = photos
        sizes: dict[tuple[int, ...], dict[str, None]] = {}
        for photo in (photo for task in tasks if not task.alone for photo in task.photos):
            planes = photos[photo].planes if photo in photos else None
            if planes is not None:
                sizes.setdefault(planes.shape, {})[photo] = None
        self._groups = {}
        for alike in map(list, sizes.values()):
            for start in range(0, len(alike), self._batch_size):
                group = alike[start : start + self._batch_size]
                self._groups |= dict.fromkeys(group, group)

    def get(self, photo: str) -> CachedExemplar:
        """The exemplar of this path, encoded with its group if it is not yet. Raises DataError where it cannot be."""
        if photo not in self._kept:
            self._add(self._groups.get(photo, [photo]), photo)
        found = self._kept[photo]
        if found.cause:
            raise DataError(found.cause)
        self._kept.move_to_end(photo)
        return found

    def stamp(self, photo: str) -> str:
        """The stamp of a photo's file, which need not be readable."""
        return self._kept[photo].source if photo in self._kept else self._prepared(photo).source

    def _add(self, group: Sequence[str], wanted: str) -> None:
        prepared = [self._prepared(photo) for photo in group]
        pixels = [read.planes for read in prepared if read.planes is not None]
        encoded = self._encode(pixels) if len(pixels) == len(group) else None
        if encoded is not None:
            for photo, read, code in zip(group, prepared, encoded, strict=True):
                self._keep(photo, CachedExemplar(read.source, "", code, read.planes))
        elif len(group) > 1:
            self._add([wanted], wanted)
        else:
            cause = prepared[0].cause or f"{wanted}: {_no_memory(prepared[0])}"
            self._keep(wanted, CachedExemplar(prepared[0].source, cause))
        while len(self._kept) > len(group) and (self._bytes > self._limit or len(self._kept) > MOST_KEPT):
            self._bytes -= self._kept.popitem(last=False)[1].bytes

    def _prepared(self, photo: str) -> Prepared:
        if photo not in self._photos:
            self._photos[photo] = self._read(photo)
        return self._photos[photo]

    def _keep(self, photo: str, found: CachedExemplar) -> None:
        self._kept[photo] = found
        self._bytes += found.bytes


def _encoded(
    condition: Prepared, exemplars: Sequence[CachedExemplar]
) -> EncodedExemplar | tuple[Sequence[EncodedExemplar], Weights]:
    """As ``Translator.translate`` takes them."""
    encoded = [exemplar.encoded for exemplar in exemplars if exemplar.encoded]
    return encoded[0] if condition.weights is None else (encoded, condition.weights)


def _no_memory(read: Prepared) -> str:
    """The cause of a condition or photo that is too large for the device by itself."""
    assert read.planes is not None
    height, width = read.planes.shape[-2:]
    return f"not enough memory on the device for {width} x {height} pixels"
