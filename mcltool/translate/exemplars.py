"""Encoded exemplars, kept for as long as they are paired, within a bound of memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcltool.errors import DataError
from mcltool.model.network import EncodedExemplar
from mcltool.translate.prepare import Prepared

Encode = Callable[[Sequence[NDArray[np.uint8]]], list[EncodedExemplar]]


@dataclass(frozen=True, eq=False)
class Exemplar:
    """encoded: as the network takes it. pixels: (H, W, 3) uint8. source: stamp of its file."""

    encoded: EncodedExemplar
    pixels: NDArray[Any]
    source: str

    @property
    def bytes(self) -> int:
        return self.encoded.v.nbytes + self.encoded.values.nbytes + self.pixels.nbytes


class ExemplarCache:
    """The exemplars used last, up to ``mebibytes`` of them (and at least one).

    encode: ``Translator.encode``.
    """

    def __init__(self, encode: Encode, mebibytes: int = 512) -> None:
        self._encode, self._limit, self._bytes = encode, mebibytes * 2**20, 0
        self._kept: OrderedDict[str, Exemplar | Prepared] = OrderedDict()
        self.encoded = 0
        """How many exemplars have been encoded so far."""

    def __contains__(self, photo: str) -> bool:
        return photo in self._kept

    def get(self, photo: str) -> Exemplar | None:
        """The exemplar of this path, if it is kept. Raises DataError where it could not be read."""
        found = self._kept.get(photo)
        if isinstance(found, Prepared):
            raise DataError(found.cause)
        if found is not None:
            self._kept.move_to_end(photo)
        return found

    def add_unreadable(self, photo: str, prepared: Prepared) -> None:
        """Keep the cause, so that the file is not opened for each of its conditions."""
        self._kept[photo] = prepared
        self._trim()

    def add(self, photos: Sequence[str], prepared: Sequence[Prepared]) -> None:
        """Encode exemplars of one size together. What each becomes depends on which these are, in the last bits."""
        pixels = [read.planes for read in prepared if read.planes is not None]
        for photo, read, encoded in zip(photos, prepared, self._encode(pixels), strict=True):
            assert read.planes is not None
            exemplar = Exemplar(encoded, read.planes, read.source)
            self._kept[photo] = exemplar
            self._bytes += exemplar.bytes
        self.encoded += len(photos)
        self._trim(len(photos))

    def _trim(self, newest: int = 1) -> None:
        while len(self._kept) > newest and (self._bytes > self._limit or len(self._kept) > 100_000):
            _, oldest = self._kept.popitem(last=False)
            if isinstance(oldest, Exemplar):
                self._bytes -= oldest.bytes
