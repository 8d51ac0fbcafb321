"""Names of a job's outputs: they mirror the inputs' and never collide. Made when asked for, not kept."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from mcltool.core.errors import UsageError

RESERVED = ".mcltool"
"""The folder in OUT where jobs keep what is not finished."""


def hashes(names: Iterable[str], count: int) -> NDArray[np.int64]:
    """A 64-bit number for each of ``count`` names: 8 bytes a name where a set would take 100.

    That two of a million names share one by chance happens once in forty million jobs.
    """
    return np.fromiter(map(hash, names), np.int64, count)


def repeated(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of ``values`` are there more than once."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray(counts[inverse] > 1)


def stem(name: str) -> str:
    """A file's name without its suffix."""
    head, dot, _ = name.rpartition(".")
    return head if dot and not head.endswith("/") and head else name


def check_id(name: str) -> None:
    """Raises UsageError for an id, which a plugin may have from inside a file, that no file can be named after."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        raise UsageError(f"{name!r}: not a name that a file can have") from None
    parts = name.split("/")
    if (
        "\0" in name
        or "" in parts
        or "." in parts
        or ".." in parts
        or parts[0] == RESERVED
        or _is_split(name)
    ):
        raise UsageError(f"{name!r}: not a name below CONDITIONS")


def _is_split(name: str) -> bool:
    """Whether this system takes a name for a path in another way: a drive, or other separators."""
    path = PurePath(name)
    return bool(path.drive or path.root) or len(path.parts) != name.count("/") + 1


def check_names(names: Sequence[str]) -> None:
    """Raises UsageError for names that are not all different, or that would leave a folder."""
    twice = repeated(hashes(names, len(names)))
    if twice.any():
        raise UsageError(f"{names[int(twice.argmax())]}: the plugin gives several conditions this name")
    for name in names:
        if ".." in name or name.startswith("/"):
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise UsageError(f"{name}: not a name below CONDITIONS")


class OutputNames:
    """The output of each task: ID.png, the whole input name with it (a.jpg.png) where two would collide, and
    ID--EXEMPLAR.png where a condition has several exemplars.

    ids, inputs: of the conditions, without and with suffix. exemplars: names with suffix.
    pairs: for each task the index of its condition and of its exemplar. suffix: with dot.
    extras: kinds of pictures that are saved beside each output, as ID.KIND.png.
    Raises UsageError where names collide all the same.
    """

    def __init__(
        self,
        ids: Sequence[str],
        inputs: Sequence[str],
        exemplars: Sequence[str],
        pairs: tuple[NDArray[np.int32], NDArray[np.int32]],
        suffix: str,
        extras: Sequence[str] = (),
    ) -> None:
        self._ids, self._inputs, self._exemplars = ids, inputs, exemplars
        self._conditions, self._chosen = pairs
        self._suffix, self._extras = suffix, tuple(extras)
        self._whole = np.zeros(len(inputs), bool)
        self._several = len(self._conditions) > len(inputs)
        used = hashes((stem(name) for name in exemplars), len(exemplars)) if self._several else None
        self._whole_exemplar = repeated(used) if used is not None else np.zeros(0, bool)
        self._separate()

    def __getitem__(self, task: int) -> str:
        return self._base(task) + self._suffix

    def extra(self, task: int, kind: str) -> str:
        return f"{self._base(task)}.{kind}{self._suffix}"

    def _base(self, task: int) -> str:
        condition = self._conditions[task]
        base: str = self._inputs[condition] if self._whole[condition] else self._ids[condition]
        if not self._several:
            return base
        exemplar = self._chosen[task]
        name = self._exemplars[exemplar]
        name = name if self._whole_exemplar[exemplar] else stem(name)
        return f"{base}--{name.replace('/', '--')}"

    def _all(self) -> Iterator[str]:
        """The outputs, then the extras of each kind."""
        tasks = range(len(self._conditions))
        yield from (self[task] for task in tasks)
        for kind in self._extras:
            yield from (self.extra(task, kind) for task in tasks)

    def _separate(self) -> None:
        """Take the whole name for all whose output collides, until none does."""
        kinds = 1 + len(self._extras)
        while True:
            twice = repeated(hashes(self._all(), kinds * len(self._conditions)))
            owners = np.unique(np.tile(self._conditions, kinds)[twice])
            if self._whole[owners].all():
                break
            self._whole[owners] = True
        if twice.any():
            name = next(name for name, is_twice in zip(self._all(), twice, strict=True) if is_twice)
            raise UsageError(f"{name}: would be the output of two inputs; rename one of them")
