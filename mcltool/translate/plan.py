"""What a directory job will do: which condition, with which exemplars, to which output. Decided from names alone.

Of a million inputs only the names and two numbers a task are kept; all else is made on demand. Imports no torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from os.path import splitext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcltool.core.errors import UsageError
from mcltool.core.files import IMAGE_SUFFIXES, walk_names
from mcltool.core.pictures import Picture
from mcltool.core.pixels import Size
from mcltool.plugin.contract import ConditionFiles, DatasetPlugin
from mcltool.translate.exemplars import Exemplar, Weights
from mcltool.translate.names import Pairs, check_distinct, check_id, hashes, repeated

Pictures = Callable[[], dict[str, NDArray[Any]]]
"""What the network made: waits until it has arrived in this computer's memory, and gives it by kind: "image" and "warp"
(H, W, 3) uint8, "confidence" (H / 4, W / 4) float32 in [0, 1]."""


@dataclass(frozen=True, eq=False)
class Task:
    """One condition to translate; each stage hands on a copy with what it has found.

    From the plan: number, its place there. input, exemplar, output: relative to CONDITIONS, EXEMPLARS and OUT, with "/"
    between folders; several exemplars as their label. files, part: as in ConditionFiles. exemplars: one, or those that
    act together. wanted: False for a task that only completes a batch, so that the bytes of the others stay the same.
    alone: encode each exemplar by itself, because tasks of other windows may use it too.

    From the reader: source, stamps of the files before they were read. pixels: the condition at its network size,
    (H, W) uint8 labels or (C, H, W) float32 in [0, 1]. size: of the output. weights: of its exemplars, where there are
    several; uncovered: positions at which regions and classes left none, so that all serve.
    From the pipeline: photos, the exemplars, (H, W, 3) each. made: the condition's pictures. From any of them:
    milliseconds, spent so far. cause: why there is no picture.
    """

    number: int
    input: str
    exemplar: str
    output: str
    files: tuple[str, ...]
    part: str = ""
    exemplars: tuple[Exemplar, ...] = ()
    wanted: bool = True
    alone: bool = False
    source: str = ""
    pixels: NDArray[Any] | None = None
    size: Size = (0, 0)
    weights: Weights | None = None
    uncovered: int = 0
    photos: Sequence[Picture] = ()
    made: Pictures | None = None
    milliseconds: float = 0.0
    cause: str = ""

    def __str__(self) -> str:
        return self.files[0]

    def sources(self) -> list[str]:
        """The files that decide the condition: its own, and the regions where there are several exemplars."""
        several = self.exemplars if len(self.exemplars) > 1 else ()
        return [*self.files, *(os.fspath(one.region) for one in several if one.region)]


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
        return self.inputs[index] if index in self._special else splitext(self.inputs[index])[0]

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
            if path.startswith(self._prefix) and splitext(name)[0] == found.id:
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

    def name(self, exemplar: Exemplar) -> str:
        return os.path.relpath(exemplar.path, self.folder).replace(os.sep, "/")


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
        condition, photo = int(self.pairs.conditions[index]), int(self.pairs.exemplars[index])
        if exemplars := self.pairs.mixtures.get(condition, ()):
            label = " + ".join(one.label(self.exemplars.name(one)) for one in exemplars)
        else:
            label, exemplars = self.exemplars.names[photo], self._exemplar(photo)
        files, part = self.conditions.files(condition)
        output = self.names.of(index)
        return Task(index, self.conditions.inputs[condition], label, output, files, part, exemplars)

    def window(self, start: int, size: int, left: NDArray[np.bool_]) -> list[Task]:
        """The ``size`` tasks from ``start`` on. left: which tasks of the plan are wanted."""
        stop, chosen, mixed = min(start + size, len(self)), self.pairs.exemplars, bool(self.pairs.mixtures)
        neighbours = {int(chosen[n]) for n in (start - 1, stop) if 0 <= n < len(self)}
        return [
            replace(self[n], wanted=bool(left[n]), alone=mixed or int(chosen[n]) in neighbours)
            for n in range(start, stop)
        ]

    def rows(self) -> Iterator[tuple[str, ...]]:
        """What ``write_pairs`` takes: a row per task, or per exemplar where several act together."""
        for task in (self[number] for number in self.in_order()):
            if not self.pairs.mixtures:
                yield task.input, task.exemplar
                continue
            for one in task.exemplars:
                region = os.fspath(one.region) if one.region else ""
                yield task.input, self.exemplars.name(one), f"{one.weight:g}", region, ";".join(one.classes)

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
            self._whole_exemplar = repeated(hashes((splitext(name)[0] for name in exemplars), len(exemplars)))
        conditions, kinds = self._pairs.conditions, len(self._kinds)
        while True:  # all whose output collides take the whole name, until none does
            names = (self.of(task, kind) for kind in self._kinds for task in range(len(conditions)))
            twice = repeated(hashes(names, kinds * len(conditions)))
            owners = np.unique(np.tile(conditions, kinds)[twice])
            if self._whole[owners].all():
                break
            self._whole[owners] = True
        if twice.any():
            kind, task = divmod(int(twice.argmax()), len(conditions))
            name = self.of(task, self._kinds[kind])
            raise UsageError(f"{name}: would be the output of two inputs; rename one of them")

    def of(self, task: int, kind: str = "") -> str:
        """The name of a task's output, or of its extra picture ``kind``."""
        condition = self._pairs.conditions[task]
        base: str = self._inputs[condition] if self._whole[condition] else self._ids[condition]
        if self._several:
            exemplar = self._pairs.exemplars[task]
            name = self._exemplars[exemplar]
            name = name if self._whole_exemplar[exemplar] else splitext(name)[0]
            base = f"{base}--{name.replace('/', '--')}"
        return f"{base}.{kind}{self._suffix}" if kind else base + self._suffix
