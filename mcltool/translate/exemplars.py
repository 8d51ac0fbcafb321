"""Encoded exemplars, kept for as long as they are paired, within a bound of memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from mcltool.core.errors import DataError
from mcltool.translate.images import Prepared
from mcltool.translate.reader import ReadWindow, Window

if TYPE_CHECKING:
    from mcltool.model.network import EncodedExemplar

T = TypeVar("T")
Encode = Callable[[Sequence[NDArray[np.uint8]]], "list[EncodedExemplar] | None"]
MOST_KEPT = 100_000


@dataclass(frozen=True, eq=False)
class Exemplar:
    """encoded: as the network takes it. pixels: (H, W, 3) uint8. source: stamp of its file."""

    encoded: EncodedExemplar
    pixels: NDArray[Any]
    source: str

    @property
    def bytes(self) -> int:
        return self.encoded.v.nbytes + self.encoded.values.nbytes + self.pixels.nbytes


class Unreadable(NamedTuple):
    """A photo that cannot be used, and why: it is not opened again for each of its conditions."""

    cause: str
    source: str
    bytes: int = 0


class ExemplarCache:
    """The exemplars used last, up to ``mebibytes`` of them (and at least one batch).

    Those of one size that one window alone has are encoded in batches, always the same ones; one that windows
    share is encoded by itself. So what becomes of each, to the last bit, depends on the plan alone.

    encode: photos of one size to encoded ones; None where the device's memory does not suffice for them.
    read: reads a photo that is in no window, as one that was dropped and is needed again.
    """

    def __init__(
        self, encode: Encode, read: Callable[[str], Prepared], batch_size: int = 1, mebibytes: int = 512
    ) -> None:
        self._encode, self._read, self._batch_size = encode, read, batch_size
        self._limit, self._bytes = mebibytes * 2**20, 0
        self._kept: OrderedDict[str, Exemplar | Unreadable] = OrderedDict()
        self._scheduled: set[str] = set()
        self._photos: dict[str, Prepared] = {}
        self._groups: dict[str, Sequence[str]] = {}

    def missing(self, window: Window) -> list[str]:
        """The photos to read for a window: those that are not kept, and not read for one before it."""
        photos = dict.fromkeys(task.photo for task in window.tasks)
        found = [photo for photo in photos if photo not in self._kept and photo not in self._scheduled]
        self._scheduled.update(found)
        return found

    def turn_to(self, read: ReadWindow) -> None:
        """The photos of this window are the ones asked for from now on."""
        self._scheduled.difference_update(read.photos)
        self._photos = read.photos
        sizes: dict[tuple[int, ...], list[str]] = {}
        for photo in dict.fromkeys(task.photo for task in read.window.tasks):
            planes = read.photos[photo].planes if photo in read.photos else None
            if planes is not None and photo not in read.window.shared:
                sizes.setdefault(planes.shape, []).append(photo)
        cuts = (group for alike in sizes.values() for group in cut(alike, self._batch_size))
        self._groups = {photo: group for group in cuts for photo in group}

    def get(self, photo: str) -> Exemplar:
        """The exemplar of this path, encoded with its group if it is not yet. Raises DataError where it cannot be."""
        if photo not in self._kept:
            self._add(self._groups.get(photo, [photo]), photo)
        found = self._kept[photo]
        if isinstance(found, Unreadable):
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
                assert read.planes is not None
                self._keep(photo, Exemplar(code, read.planes, read.source))
        elif len(group) > 1:
            self._add([wanted], wanted)
        else:
            cause = prepared[0].cause or f"{wanted}: {no_memory(prepared[0])}"
            self._keep(wanted, Unreadable(cause, prepared[0].source))
        self._trim(len(group))

    def _prepared(self, photo: str) -> Prepared:
        if photo not in self._photos:
            self._photos[photo] = self._read(photo)
        return self._photos[photo]

    def _keep(self, photo: str, found: Exemplar | Unreadable) -> None:
        self._kept[photo] = found
        self._bytes += found.bytes

    def _trim(self, newest: int) -> None:
        while len(self._kept) > newest and (self._bytes > self._limit or len(self._kept) > MOST_KEPT):
            self._bytes -= self._kept.popitem(last=False)[1].bytes


def cut(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Parts of ``size``, the last as it comes."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def no_memory(condition: Prepared) -> str:
    """The cause of a condition or photo that is too large for the device alone."""
    assert condition.planes is not None
    height, width = [side for side in condition.planes.shape if side % 32 == 0][-2:]
    return f"the device's memory does not suffice for {width} x {height} pixels"
