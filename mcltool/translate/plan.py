"""What a directory job will do: which conditions, with which exemplar, to which output. Reads names only.

Of a million inputs only the names are kept, as plain strings, and two numbers a task; everything else is made on
demand. Imports no torch, which alone takes half a gigabyte.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcltool.core.errors import UsageError
from mcltool.plugin.contract import IMAGE_SUFFIXES, ConditionFiles, DatasetPlugin, walk_names
from mcltool.translate.exemplars import Exemplar

RESERVED = ".mcltool"
"""The folder in OUT where jobs keep what is not finished."""

Indices = NDArray[np.int32]


class Mixture(NamedTuple):
    """Exemplars that act together on one condition. label: as the manifest writes them."""

    label: str
    exemplars: tuple[Exemplar, ...]


class Pairs(NamedTuple):
    """For each task the index of its condition and of its exemplar, in the order of the conditions.

    mixtures: by condition, where several exemplars act together; the task then has the first of them.
    """

    conditions: Indices
    exemplars: Indices
    mixtures: Mapping[int, Mixture] = {}


@dataclass(frozen=True)
class Task:
    """One condition to translate.

    number: its place in the plan. input, exemplar, output: relative to CONDITIONS, EXEMPLARS and OUT, with "/"
    between folders; of several exemplars their label. files, part: as in ConditionFiles. exemplars: one, or those
    that act together. wanted: False for a task that only fills the batch it was in before, so that the others' bytes
    stay as they were. alone: encode each exemplar by itself, because tasks of other windows may use it too.
    """

    number: int
    input: str
    exemplar: str
    output: str
    files: tuple[str, ...]
    part: str
    exemplars: tuple[Exemplar, ...]
    wanted: bool = True
    alone: bool = False

    @property
    def photos(self) -> tuple[str, ...]:
        return tuple(os.fspath(exemplar.path) for exemplar in self.exemplars)


class Conditions:
    """The conditions of a folder, or those of one file. inputs: their names, unique: the file's own where a condition
    is one file named after its id, else the id. ids: names without suffix. are_pictures: each is a picture file.

    Raises UsageError where the folder is missing or has none.
    """

    def __init__(self, plugin: DatasetPlugin, place: Path) -> None:
        self.folder = folder = place.parent if place.is_file() else place
        self.inputs: list[str] = []
        self._special: dict[int, ConditionFiles] = {}
        self.ids = _Ids(self.inputs, self._special)
        self._prefix = os.path.join(folder, "") if os.fspath(folder) != "." else ""
        self.are_pictures = type(plugin).conditions is DatasetPlugin.conditions
        if self.are_pictures:  # a file each: a million Paths take 10 s more
            self.inputs.extend(
                walk_names(folder, IMAGE_SUFFIXES, every=True) if place is folder else [place.name]
            )
        else:
            for found in plugin.conditions(folder):
                if place is folder or place in found.files:
                    self._add(found)
        if not self.inputs:
            raise UsageError(f"{place}: no conditions of {plugin.name} in it")
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
            raise UsageError(
                f"{place}: no photos in it that can be read ({', '.join(sorted(IMAGE_SUFFIXES))})"
            )

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
        order = np.lexsort((pairs.conditions, pairs.exemplars))
        self.conditions, self.exemplars = conditions, exemplars
        self.pairs = Pairs(pairs.conditions[order], pairs.exemplars[order], pairs.mixtures)
        self.names = OutputNames(
            conditions.ids, conditions.inputs, exemplars.names, self.pairs, suffix, extras
        )
        self.extras = tuple(extras)

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
        return condition, self.exemplars.names[exemplar], (Exemplar(self.exemplars.path(exemplar)),)

    def window(self, start: int, size: int, left: NDArray[np.bool_]) -> list[Task]:
        """The ``size`` tasks from ``start`` on; left: which tasks of the plan are wanted."""
        stop, chosen, mixed = min(start + size, len(self)), self.pairs.exemplars, bool(self.pairs.mixtures)
        neighbours = {int(chosen[n]) for n in (start - 1, stop) if 0 <= n < len(self)}
        return [
            replace(self[n], wanted=bool(left[n]), alone=mixed or int(chosen[n]) in neighbours)
            for n in range(start, stop)
        ]

    def in_order(self) -> Iterator[int]:
        """The tasks' numbers in the order of the conditions."""
        yield from np.lexsort((self.pairs.exemplars, self.pairs.conditions)).tolist()

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Input and exemplar of every task, in the order of the conditions; where exemplars act together, also weight,
        region and classes of each."""
        for number in self.in_order():
            condition, label, exemplars = self.of(number)
            if not self.pairs.mixtures:
                yield self.conditions.inputs[condition], label
                continue
            for one in exemplars:
                name = os.path.relpath(one.path, self.exemplars.folder).replace(os.sep, "/")
                region = os.fspath(one.region) if one.region else ""
                yield (
                    self.conditions.inputs[condition],
                    name,
                    f"{one.weight:g}",
                    region,
                    ";".join(one.classes),
                )


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


# --- names ---


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
        pairs: Pairs,
        suffix: str,
        extras: Sequence[str] = (),
    ) -> None:
        self._ids, self._inputs, self._exemplars = ids, inputs, exemplars
        self._conditions, self._chosen, _ = pairs
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
