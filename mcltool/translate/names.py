"""Names by the million: compared as numbers, looked up, and refused where no file can have them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from mcltool.core.errors import UsageError

RESERVED = ".mcltool"
"""The folder in OUT where jobs keep what is not finished."""


def hashes(names: Iterable[str], count: int) -> NDArray[np.int64]:
    """A 64-bit number for each of ``count`` names: 8 bytes where a set would take 100.

    Two of a million names share a number by chance once in forty million jobs.
    """
    return np.fromiter(map(hash, names), np.int64, count)


def repeated(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of ``values`` occur more than once."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray(counts[inverse] > 1)


class Lookup:
    """Finds the numbers of ``count`` names; in 16 bytes a name, see ``hashes``."""

    def __init__(self, names: Iterable[str], count: int) -> None:
        found = hashes(names, count)
        self._order = np.argsort(found)
        self._sorted = found[self._order]

    def find(self, names: Iterable[str], count: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """For each of ``names`` its number, -1 where none or several have this name; and whether several have it."""
        wanted = hashes(names, count)
        first = np.searchsorted(self._sorted, wanted, "left")
        times = np.searchsorted(self._sorted, wanted, "right") - first
        found = self._order[np.minimum(first, len(self._order) - 1)]
        return np.where(times == 1, found, -1), times > 1

    def has(self, name: str) -> bool:
        """Whether there is this name."""
        return bool(self.find([name], 1)[0][0] >= 0)


def check_distinct(names: Sequence[str]) -> None:
    """Raises UsageError where two conditions have one name."""
    twice = repeated(hashes(names, len(names)))
    if twice.any():
        raise UsageError(f"{names[int(twice.argmax())]}: the plugin gives several conditions this name")


def check_id(name: str) -> None:
    """Raises UsageError for an id, which a plugin may take from inside a file, that cannot be a file's name."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        raise UsageError(f"{name!r}: not a name that a file can have") from None
    parts, path = name.split("/"), PurePath(name)
    is_split = (
        path.drive or path.root or len(path.parts) != len(parts)
    )  # on Windows: a drive, other separators
    if "\0" in name or {"", ".", ".."} & {*parts} or parts[0] == RESERVED or is_split:
        raise UsageError(f"{name!r}: not a name below CONDITIONS")
