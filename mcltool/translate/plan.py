"""What a directory job will do: which conditions, with which exemplar, to which output. Reads names only.

Of a million inputs only the names are kept, as plain strings, and two numbers a task. All else is made when
it is asked for. Imports no torch, which alone takes half a gigabyte.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mcltool.core.errors import UsageError
from mcltool.plugin.contract import IMAGE_SUFFIXES, ConditionFiles, DatasetPlugin, walk_names
from mcltool.translate.names import OutputNames, check_id, check_names, stem
from mcltool.translate.pairing import Pairs


@dataclass(frozen=True)
class Task:
    """One condition to translate.

    number: its place in the plan. input: relative to CONDITIONS. exemplar: relative to EXEMPLARS. output:
    relative to OUT. All three with "/" between folders. files, part: as in ConditionFiles. photo: the
    exemplar's path.
    """

    number: int
    input: str
    exemplar: str
    output: str
    files: tuple[str, ...]
    part: str
    photo: str


class Conditions:
    """The conditions of a folder. inputs: their names, unique: the file's own where a condition is one file
    named after its id, else the id. ids: names without suffix.

    Raises UsageError where the folder is missing or has none.
    """

    def __init__(self, plugin: DatasetPlugin, folder: Path) -> None:
        self.folder = folder
        self.inputs: list[str] = []
        self._special: dict[int, ConditionFiles] = {}
        self.ids = _Ids(self.inputs, self._special)
        self._prefix = os.path.join(folder, "") if os.fspath(folder) != "." else ""
        if type(plugin).conditions is DatasetPlugin.conditions:  # a file each: a million Paths take 10 s more
            self.inputs.extend(walk_names(folder, IMAGE_SUFFIXES, every=True))
        else:
            for found in plugin.conditions(folder):
                self._add(found)
        if not self.inputs:
            raise UsageError(f"{folder}: no conditions of {plugin.name} in it")
        check_names(self.inputs)

    def __len__(self) -> int:
        return len(self.inputs)

    def files(self, index: int) -> tuple[tuple[str, ...], str]:
        """The paths of a condition's files, and which part of them it is."""
        if index in self._special:
            special = self._special[index]
            return tuple(map(os.fspath, special.files)), special.part
        return (self._prefix + self.inputs[index],), ""

    def _add(self, found: ConditionFiles) -> None:
        if len(found.files) == 1 and not found.part:
            path = os.fspath(found.files[0])
            name = path[len(self._prefix) :]
            if path.startswith(self._prefix) and stem(name) == found.id:
                self.inputs.append(name)
                return
        check_id(found.id)
        self._special[len(self.inputs)] = found
        self.inputs.append(found.id)


class _Ids(Sequence[str]):
    """Ids of the conditions, made from their names."""

    def __init__(self, inputs: list[str], special: dict[int, ConditionFiles]) -> None:
        self._inputs, self._special = inputs, special

    def __len__(self) -> int:
        return len(self._inputs)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        name = self._inputs[index]
        return name if index in self._special else stem(name)


class Exemplars:
    """The photos of a folder, or one photo. names: relative to the folder, sorted.

    Raises UsageError where there are none.
    """

    def __init__(self, place: Path) -> None:
        if place.is_file():
            self.folder, self.names = place.parent, [place.name]
            return
        self.folder, self.names = place, list(walk_names(place, IMAGE_SUFFIXES))
        if not self.names:
            raise UsageError(f"{place}: no photos in it ({', '.join(sorted(IMAGE_SUFFIXES))})")

    def path(self, index: int) -> str:
        return os.path.join(self.folder, self.names[index])


class Plan(Sequence[Task]):
    """The tasks of a job, those of one exemplar together, else in the order of the conditions.

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
        order = np.lexsort((pairs[0], pairs[1]))
        self.conditions, self.exemplars = conditions, exemplars
        self.pairs: Pairs = (pairs[0][order], pairs[1][order])
        self.names = OutputNames(
            conditions.ids, conditions.inputs, exemplars.names, self.pairs, suffix, extras
        )
        self.extras = tuple(extras)

    def __len__(self) -> int:
        return len(self.pairs[0])

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        condition, exemplar = (int(indices[index]) for indices in self.pairs)
        files, part = self.conditions.files(condition)
        return Task(
            index, self.conditions.inputs[condition], self.exemplars.names[exemplar], self.names[index],
            files, part, self.exemplars.path(exemplar),
        )  # fmt: skip

    def in_order(self) -> Iterator[int]:
        """The tasks' numbers in the order of the conditions."""
        yield from np.lexsort((self.pairs[1], self.pairs[0])).tolist()

    def rows(self) -> Iterator[tuple[str, str]]:
        """Input and exemplar of every task, in the order of the conditions."""
        for number in self.in_order():
            condition, exemplar = self.pairs[0][number], self.pairs[1][number]
            yield self.conditions.inputs[condition], self.exemplars.names[exemplar]


def check_places(conditions: Path, exemplars: Path, out: Path) -> None:
    """Raises UsageError where OUT is no folder or lies where its files would become inputs."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: expected a folder to write to, found a file")
    for name, source in {"CONDITIONS": conditions, "EXEMPLARS": exemplars}.items():
        if out.resolve().is_relative_to(source.resolve()):
            raise UsageError(f"{out}: OUT must not lie in {name} ({source}), its files would become inputs")


def check_outputs(plan: Plan, out: Path) -> None:
    """Raises UsageError where an output would fall among inputs that lie below OUT."""
    for name, folder in {"conditions": plan.conditions.folder, "exemplars": plan.exemplars.folder}.items():
        if not folder.resolve().is_relative_to(out.resolve()):
            continue
        inner = folder.resolve().relative_to(out.resolve()).as_posix()
        prefix = "" if inner == "." else f"{inner}/"
        for number in range(len(plan)):
            if plan.names[number].startswith(prefix):
                raise UsageError(
                    f"{out / plan.names[number]}: an output would fall among the {name}; choose another OUT"
                )
