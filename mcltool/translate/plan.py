"""What a directory job will do: which condition, with which exemplars, to which output. Decided from names alone.

Of a million inputs only the names and two numbers a task are kept; everything else is made on demand. Imports no torch,
which alone takes half a gigabyte.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcltool.core.errors import UsageError
from mcltool.core.files import IMAGE_SUFFIXES, walk_names
from mcltool.plugin.contract import ConditionFiles, DatasetPlugin
from mcltool.translate.exemplars import Exemplar
from mcltool.translate.names import check_distinct, check_id, hashes, repeated
from mcltool.translate.task import Task

Indices = NDArray[np.int32]


class Mixture(NamedTuple):
    """Exemplars that act together on one condition. label: as the manifest writes them."""

    label: str
    exemplars: tuple[Exemplar, ...]


class Pairs(NamedTuple):
    """The indices of each task's condition and exemplar, in the order of the conditions.

    An exemplar of -1 is still to be chosen. mixtures: by condition, where several exemplars act together; the task then
    has the first of them.
    """

    conditions: Indices
    exemplars: Indices
    mixtures: Mapping[int, Mixture] = {}


class Conditions(Sequence[str]):
    """The ids of the conditions in a folder, or in one file.

    inputs: their names, all different: the file's own where a condition is one file named after its id, else the id.
    are_pictures: each is a picture file. Raises UsageError where the folder is missing or has none.
    """

    def __init__(self, plugin: DatasetPlugin, place: Path) -> None:
        self.folder = folder = place.parent if place.is_file() else place
        self.inputs: list[str] = []
        self._special: dict[int, ConditionFiles] = {}
        self._prefix = os.path.join(folder, "") if os.fspath(folder) != "." else ""
        self.are_pictures = type(plugin).conditions is DatasetPlugin.conditions
        if self.are_pictures:  # names only: a million Paths take 10 s more
            names = walk_names(folder, IMAGE_SUFFIXES, every=True) if place is folder else [place.name]
            self.inputs.extend(names)
        else:
            for found in plugin.conditions(folder):
                if place is folder or place in found.files:
                    self._add(found)
        if not self.inputs:
            raise UsageError(f"{place}: no conditions of {plugin.name} in it")
        check_distinct(self.inputs)

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self.inputs[index] if index in self._special else stem(self.inputs[index])

    def files(self, index: int) -> tuple[tuple[str, ...], str]:
        """The paths of a condition's files, and which part of them it is."""
        if index in self._special:
            special = self._special[index]
            return tuple(map(os.fspath, special.files)), special.part
        return (self._prefix + self.inputs[index],), ""

    def _add(self, found: ConditionFiles) -> None:
        check_id(found.id)
        if len(found.files) == 1 and not found.part:
            path = os.fspath(found.files[0])
            name = path[len(self._prefix) :]
            if path.startswith(self._prefix) and stem(name) == found.id:
                self.inputs.append(name)
                return
        self._special[len(self.inputs)] = found
        self.inputs.append(found.id)


class Exemplars:
    """The photos in a folder, or one photo. names: relative to the folder, sorted.

    Raises UsageError where there are none.
    """

    def __init__(self, place: Path) -> None:
        if place.is_file():
            self.folder, self.names = place.parent, [place.name]
            return
        self.folder, self.names = place, list(walk_names(place, IMAGE_SUFFIXES))
        if not self.names:
            suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
            raise UsageError(f"{place}: no photos in it that can be read ({suffixes})")

    def path(self, index: int) -> str:
        return os.path.join(self.folder, self.names[index])


class Plan(Sequence[Task]):
    """The tasks of a job: those of one exemplar together, else in the order of the conditions.

    A function of the names in both folders and of the pairs. Raises UsageError where outputs would collide.
    """

    def __init__(
        self,
        conditions: Conditions,
        exemplars: Exemplars,
        pairs: Pairs,
        suffix: str = ".png",
        extras: Sequence[str] = (),
    ) -> None:
        order = np.lexsort((pairs.conditions, pairs.exemplars))
        self.conditions, self.exemplars = conditions, exemplars
        self.pairs = Pairs(pairs.conditions[order], pairs.exemplars[order], pairs.mixtures)
        self.names = OutputNames(conditions, conditions.inputs, exemplars.names, self.pairs, suffix, extras)
        self._exemplar = lru_cache(1024)(lambda index: (Exemplar(exemplars.path(index)),))

    def __len__(self) -> int:
        return len(self.pairs.conditions)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        condition, label, exemplars = self.of(index)
        files, part = self.conditions.files(condition)
        return Task(
            index, self.conditions.inputs[condition], label, self.names[index], files, part, exemplars
        )

    def of(self, number: int) -> tuple[int, str, tuple[Exemplar, ...]]:
        """The condition of a task, and its exemplars with their label."""
        condition, exemplar = int(self.pairs.conditions[number]), int(self.pairs.exemplars[number])
        if condition in self.pairs.mixtures:
            return condition, *self.pairs.mixtures[condition]
        return condition, self.exemplars.names[exemplar], self._exemplar(exemplar)

    def window(self, start: int, size: int, left: NDArray[np.bool_]) -> list[Task]:
        """The ``size`` tasks from ``start`` on. left: which tasks of the plan are wanted."""
        stop, chosen, mixed = min(start + size, len(self)), self.pairs.exemplars, bool(self.pairs.mixtures)
        neighbours = {int(chosen[n]) for n in (start - 1, stop) if 0 <= n < len(self)}
        return [
            replace(self[n], wanted=bool(left[n]), alone=mixed or int(chosen[n]) in neighbours)
            for n in range(start, stop)
        ]

    def in_order(self) -> NDArray[np.intp]:
        """The tasks' numbers in the order of the conditions."""
        return np.lexsort((self.pairs.exemplars, self.pairs.conditions))


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


def stem(name: str) -> str:
    """A file's name without its suffix."""
    head, dot, _ = name.rpartition(".")
    return head if dot and not head.endswith("/") and head else name
