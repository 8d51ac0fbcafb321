"""From windows of tasks to pictures: reading ahead, batches, exemplars, and the device.

Windows are consecutive tasks of the plan. Within one, tasks are put in batches by size, in their order; so
that batches depend on the plan and the inputs alone, and not on what is done already or where a job was cut.
An exemplar is encoded in one batch with those that the same window alone has; one that other windows share is
encoded by itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mcltool.device import is_out_of_memory
from mcltool.errors import DataError
from mcltool.model.network import EncodedExemplar
from mcltool.translate.exemplars import Exemplar, ExemplarCache
from mcltool.translate.plan import Task
from mcltool.translate.prepare import Prepared
from mcltool.translate.reader import Reader, ReadWindow, Window
from mcltool.translate.translator import Pictures, Translator

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Work:
    """A window of tasks. wanted: numbers of those to make; the others are there to make the batches whole.
    shared: exemplars that other windows use too."""

    tasks: Sequence[Task]
    wanted: frozenset[int]
    shared: frozenset[str]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of a task: the row of pictures, or the cause why there is none.

    condition, exemplar: what they were made of. source: stamp of the files. milliseconds: to read and translate.
    """

    task: Task
    cause: str
    source: str
    milliseconds: float
    condition: Prepared
    exemplar: Exemplar | None = None
    pictures: Pictures | None = None
    row: int = 0


@dataclass
class Timing:
    """Seconds that the device waited for inputs, and for outputs to be written. batches: how many it made.
    halved: how often one did not fit into its memory."""

    waited_reading: float = 0.0
    waited_writing: float = 0.0
    batches: int = 0
    halved: int = 0


class Pipeline:
    """Translates windows of tasks.

    batch_size: conditions of the trained size a batch; of larger ones as many fewer as they have more pixels.
    extras: kinds of pictures wanted beside the results, as in Settings. cache_mebibytes: for encoded exemplars.
    """

    def __init__(
        self,
        translator: Translator,
        reader: Reader,
        batch_size: int,
        extras: Sequence[str] = (),
        cache_mebibytes: int = 512,
    ) -> None:
        self._translator, self._reader = translator, reader
        self._batch_size = batch_size
        self._warped = bool({"warp", "grid"} & set(extras))
        self._confident = "confidence" in extras
        self.cache = ExemplarCache(translator.encode, cache_mebibytes)
        self.timing = Timing()
        self._scheduled: set[str] = set()
        self._waiting: list[Work] = []

    def run(self, works: Iterable[Work]) -> Iterator[Outcome]:
        """The outcomes of all wanted tasks, window by window."""
        windows = self._reader.read(map(self._window, works))
        while True:
            started = time.perf_counter()
            read = next(windows, None)
            self.timing.waited_reading += time.perf_counter() - started
            if read is None:
                return
            work = self._waiting.pop(0)
            yield from self._translate_window(work, read)
            self._scheduled.difference_update(read.photos)

    def _window(self, work: Work) -> Window:
        """What to read of a window. Runs ahead of the device."""
        self._waiting.append(work)
        photos = dict.fromkeys(task.photo for task in work.tasks)
        needed = [photo for photo in photos if photo not in self.cache and photo not in self._scheduled]
        self._scheduled.update(needed)
        return Window(work.tasks, needed)

    def _translate_window(self, work: Work, read: ReadWindow) -> Iterator[Outcome]:
        groups = _encoding_groups(work, read.photos, self._batch_size)
        sizes: dict[tuple[int, ...], list[tuple[Task, Prepared]]] = {}
        for task, condition in zip(work.tasks, read.conditions, strict=True):
            if condition.planes is not None:
                sizes.setdefault(condition.planes.shape, []).append((task, condition))
            elif task.number in work.wanted:
                stamp = f"{condition.source} {self._photo_stamp(task.photo, read)}"
                yield Outcome(task, condition.cause, stamp, condition.milliseconds, condition)
        for shape, items in sizes.items():
            for batch in _cut(items, self._fitting(shape)):
                if any(task.number in work.wanted for task, _ in batch):
                    outcomes = self._translate_batch(batch, read, groups)
                    yield from (outcome for outcome in outcomes if outcome.task.number in work.wanted)

    def _translate_batch(
        self, batch: Sequence[tuple[Task, Prepared]], read: ReadWindow, groups: dict[str, list[str]]
    ) -> Iterator[Outcome]:
        started = time.perf_counter()
        ready: list[tuple[Task, Prepared, Exemplar]] = []
        for task, condition in batch:
            try:
                ready.append((task, condition, self._exemplar(task.photo, read, groups)))
            except DataError as error:
                stamp = f"{condition.source} {self._photo_stamp(task.photo, read)}"
                yield Outcome(task, str(error), stamp, condition.milliseconds, condition)
        if not ready:
            return
        made = self._forward([c for _, c, _ in ready], [e.encoded for _, _, e in ready])
        each = 1000 * (time.perf_counter() - started) / len(ready)
        for (task, condition, exemplar), (pictures, row) in zip(ready, made, strict=True):
            cause = "" if pictures else f"{task.files[0]}: {_no_memory(condition)}"
            stamp = f"{condition.source} {exemplar.source}"
            yield Outcome(
                task, cause, stamp, condition.milliseconds + each, condition, exemplar, pictures, row
            )

    def _forward(
        self, conditions: Sequence[Prepared], exemplars: Sequence[EncodedExemplar]
    ) -> list[tuple[Pictures | None, int]]:
        """For each condition its pictures and the row in them; halved until it fits into memory."""
        planes = [condition.planes for condition in conditions if condition.planes is not None]
        try:
            pictures = self._translator.translate(planes, exemplars, self._warped, self._confident)
            self.timing.batches += 1
            return [(pictures, row) for row in range(len(conditions))]
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        if len(conditions) == 1:
            return [(None, 0)]
        self.timing.halved += 1
        self._batch_size = max(1, self._batch_size // 2)
        half = len(conditions) // 2
        return self._forward(conditions[:half], exemplars[:half]) + self._forward(
            conditions[half:], exemplars[half:]
        )

    def _exemplar(self, photo: str, read: ReadWindow, groups: dict[str, list[str]]) -> Exemplar:
        """From the cache, or encoded with its group. Raises DataError where the photo cannot be read."""
        found = self.cache.get(photo)
        if found:
            return found
        group = groups.get(photo, [photo])
        prepared = [read.photos.get(name) or self._reader.exemplar(name) for name in group]
        mine = prepared[group.index(photo)]
        if mine.planes is None:
            self.cache.add_unreadable(photo, mine)
        else:
            self._encode(photo, mine, group, prepared)
        found = self.cache.get(photo)
        assert found is not None
        return found

    def _encode(self, photo: str, mine: Prepared, group: Sequence[str], prepared: Sequence[Prepared]) -> None:
        try:
            return self.cache.add(group, prepared)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        if len(group) == 1:
            raise DataError(f"{photo}: {_no_memory(mine)}")
        self.timing.halved += 1
        self._encode(photo, mine, [photo], [mine])

    def _photo_stamp(self, photo: str, read: ReadWindow) -> str:
        try:
            found = self.cache.get(photo)
        except DataError:
            found = None
        prepared = read.photos.get(photo)
        return found.source if found else prepared.source if prepared else self._reader.exemplar(photo).source

    def _fitting(self, shape: tuple[int, ...]) -> int:
        pixels = shape[-1] * shape[-2]
        return max(1, self._batch_size * self._translator.short_side**2 // pixels)


def _encoding_groups(work: Work, photos: dict[str, Prepared], batch_size: int) -> dict[str, list[str]]:
    """For each readable exemplar that this window alone has, those it is encoded with: of one size, in order."""
    sizes: dict[tuple[int, ...], list[str]] = {}
    for photo in dict.fromkeys(task.photo for task in work.tasks):
        if photo not in work.shared and photo in photos:
            planes = photos[photo].planes
            if planes is not None:
                sizes.setdefault(planes.shape, []).append(photo)
    cuts = (cut for alike in sizes.values() for cut in _cut(alike, batch_size))
    return {photo: list(cut) for cut in cuts for photo in cut}


def _cut(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _no_memory(condition: Prepared) -> str:
    assert condition.planes is not None
    height, width = [side for side in condition.planes.shape if side % 32 == 0][-2:]
    return f"the device's memory does not suffice for {width} x {height} pixels"
