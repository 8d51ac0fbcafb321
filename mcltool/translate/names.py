"""Names by the million: compared as numbers, looked up, refused where no file can have them; and those of outputs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mcltool.core.errors import UsageError

if TYPE_CHECKING:
    from mcltool.translate.plan import Pairs

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


def stem(name: str) -> str:
    """A file's name without its suffix."""
    head, dot, _ = name.rpartition(".")
    return head if dot and not head.endswith("/") and head else name


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


class OutputNames:
    """The output of each task: ID.png, with the whole input name (a.jpg.png) where two would collide, and
    ID--EXEMPLAR.png where a condition has several outputs.

    ids, inputs: of the conditions, without and with suffix. exemplars: names with suffix. suffix: with its dot. extras:
    pictures that are saved beside each output, as ID.KIND.png. Raises UsageError where names still collide.
    """

    def __init__(
        self,
        ids: Sequence[str],
        inputs: Sequence[str],
        exemplars: Sequence[str],
        pairs: Pairs,
        suffix: str,
        extras: Sequence[str] = (),
    ) -> None:
        self._ids, self._inputs, self._exemplars, self._pairs = ids, inputs, exemplars, pairs
        self._suffix, self._kinds = suffix, ("", *extras)
        self._whole = np.zeros(len(inputs), bool)
        self._whole_exemplar = np.zeros(0, bool)
        self._several = len(pairs.conditions) > len(inputs)
        if self._several:
            self._whole_exemplar = repeated(hashes((stem(name) for name in exemplars), len(exemplars)))
        self._separate()

    def __getitem__(self, task: int) -> str:
        return self.of(task, "")

    def of(self, task: int, kind: str) -> str:
        """The name of the task's extra picture ``kind``; "" for its output."""
        condition = self._pairs.conditions[task]
        base: str = self._inputs[condition] if self._whole[condition] else self._ids[condition]
        if self._several:
            exemplar = self._pairs.exemplars[task]
            name = self._exemplars[exemplar]
            name = name if self._whole_exemplar[exemplar] else stem(name)
            base = f"{base}--{name.replace('/', '--')}"
        return f"{base}.{kind}{self._suffix}" if kind else base + self._suffix

    def _all(self) -> Iterator[str]:
        tasks = range(len(self._pairs.conditions))
        return (self.of(task, kind) for kind in self._kinds for task in tasks)

    def _separate(self) -> None:
        """Take the whole name for all whose output collides, until none does."""
        conditions, kinds = self._pairs.conditions, len(self._kinds)
        while True:
            twice = repeated(hashes(self._all(), kinds * len(conditions)))
            owners = np.unique(np.tile(conditions, kinds)[twice])
            if self._whole[owners].all():
                break
            self._whole[owners] = True
        if twice.any():
            name = next(name for name, is_twice in zip(self._all(), twice, strict=True) if is_twice)
            raise UsageError(f"{name}: would be the output of two inputs; rename one of them")
