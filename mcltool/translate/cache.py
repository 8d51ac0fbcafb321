"""The encoded exemplars that were used last, each encoded once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mcltool.core.errors import DataError
from mcltool.translate.plan import Task
from mcltool.translate.reader import Photo, Picture, Result

if TYPE_CHECKING:
    from mcltool.model.network import EncodedExemplar

MOST_KEPT = 100_000
"""Exemplars in the cache, readable or not."""


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

    def turn_to(self, tasks: Sequence[Task], photos: Sequence[Photo]) -> None:
        """A window's tasks, and the photos read for it: the ones asked for from now on."""
        self._photos = {photo.path: photo for photo in photos}
        self._scheduled.difference_update(self._photos)
        sizes: dict[tuple[int, ...], dict[str, None]] = {}
        for path in (path for task in tasks if not task.alone for path in task.photos):
            if path in self._photos and (pixels := self._photos[path].pixels) is not None:
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
            cause = read[0].cause or f"{wanted}: {no_memory(read[0])}"
            self._keep(wanted, replace(read[0], pixels=None, cause=cause))
        while len(self._kept) > len(group) and (self._bytes > self._limit or len(self._kept) > MOST_KEPT):
            self._bytes -= self._kept.popitem(last=False)[1].bytes

    def _prepared(self, path: str) -> Photo:
        if path not in self._photos:
            self._photos[path] = self._read(path)
        return self._photos[path]

    def _keep(self, path: str, found: Photo) -> None:
        self._kept[path] = found
        self._bytes += found.bytes


def no_memory(read: Result | Photo) -> str:
    """The cause of a condition or photo that is too large for the device by itself."""
    assert read.pixels is not None
    height, width = read.pixels.shape[:2] if isinstance(read, Photo) else read.pixels.shape[-2:]
    return f"not enough memory on the device for {width} x {height} pixels"
