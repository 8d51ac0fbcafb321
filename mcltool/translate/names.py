"""Millions of names: compared by hash, checked, and read from and written to lists of pairs (``--pair FILE``)."""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from io import TextIOWrapper
from os.path import splitext
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcltool.core import files
from mcltool.core.errors import UsageError
from mcltool.data.pairs import Names, Row, read_rows
from mcltool.plugin.contract import ConditionSpec
from mcltool.translate.exemplars import Exemplar, check, parse_classes, parse_weight

log = logging.getLogger("mcltool.translate")

RESERVED = ".mcltool"
"""The folder in OUT for locks and unfinished files."""
HEADER = ("condition", "exemplar")
COLUMNS = ("weight", "region", "classes")
"""Further columns of a list: see Exemplar."""
Indices = NDArray[np.int32]


def hashes(names: Iterable[str], count: int) -> NDArray[np.int64]:
    """A 64-bit number for each of ``count`` names: 8 bytes where a set would take 100.

    Two of a million names collide by chance in one of forty million jobs.
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
        """The number of each of ``names``, -1 for unknown and ambiguous ones; and which are ambiguous."""
        wanted = hashes(names, count)
        first = np.searchsorted(self._sorted, wanted, "left")
        times = np.searchsorted(self._sorted, wanted, "right") - first
        found = self._order[np.minimum(first, len(self._order) - 1)]
        return np.where(times == 1, found, -1), times > 1

    def has(self, name: str) -> bool:
        """Whether there is this name."""
        return bool(self.find([name], 1)[0][0] >= 0)


def check_distinct(names: Sequence[str]) -> None:
    """Raises UsageError if two conditions have the same name."""
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


# --- pairs, and lists of them ---


class Pairs(NamedTuple):
    """The indices of each task's condition and exemplar, in the order of the conditions.

    An exemplar of -1 is still to be chosen. mixtures: by condition, the exemplars that act together on it, where there
    are several; ``exemplars`` then has the first of them.
    """

    conditions: Indices
    exemplars: Indices
    mixtures: Mapping[int, tuple[Exemplar, ...]] = {}


def read_list(
    path: Path,
    ids: Sequence[str],
    inputs: Sequence[str],
    names: Sequence[str],
    folder: Path = Path(),
    spec: ConditionSpec | None = None,
    regions: Path | None = None,
) -> Pairs:
    """The pairs of a list (see mcltool.data.pairs); of a line of several exemplars the first, the best.

    ids, inputs: of the conditions, without and with suffix. names: of the exemplars below ``folder``. spec: of the
    conditions. With a column of COLUMNS, or with ``regions``, a folder of CONDITION/EXEMPLAR.png, the exemplars of
    one condition act together; else each row is an output. Rows of names that are not there and conditions without a
    row are left out, which is logged. Raises UsageError for what is wrong in it, and where no row is left.
    """
    rows = _rows(path, ids, inputs, names)
    found = np.array(sorted(rows), np.int32).reshape(-1, 2)
    missing = np.setdiff1d(np.arange(len(ids)), found[:, 0])
    if missing.size:
        some = f"{missing.size} of {len(ids)} conditions have no row and are left out"
        log.warning("%s: %s, such as %s", path, some, ids[int(missing[0])])
    if spec is None or not (regions or any(row.more for row in rows.values())):
        return Pairs(found[:, 0].copy(), found[:, 1].copy())
    groups: dict[int, dict[int, Exemplar]] = {}
    for (condition, photo), row in rows.items():
        drawn = regions / ids[condition] / f"{splitext(names[photo])[0]}.png" if regions else None
        exemplar = _exemplar(f"{path}, line {row.line}", row.more, folder / names[photo], drawn)
        groups.setdefault(condition, {})[photo] = exemplar
    if regions and not any(one.region for group in groups.values() for one in group.values()):
        raise UsageError(f"--regions {regions}: no CONDITION/EXEMPLAR.png in it belongs to a pair of {path}")
    mixtures = {}
    for condition, group in groups.items():
        check(list(group.values()), spec, f"{path}: {inputs[condition]}")
        if len(group) > 1:
            mixtures[condition] = tuple(group.values())
    first = [next(iter(groups[condition])) for condition in sorted(groups)]
    return Pairs(np.array(sorted(groups), np.int32), np.array(first, np.int32), mixtures)


def _rows(
    path: Path, ids: Sequence[str], inputs: Sequence[str], names: Sequence[str]
) -> dict[tuple[int, int], Row]:
    """The rows of a list by condition and exemplar; those of names that are not there are left out."""
    conditions, photos = Names(inputs, ids), Names(names, [splitext(name)[0] for name in names])
    rows: dict[tuple[int, int], Row] = {}
    lost: list[str] = []
    listed = read_rows(path)
    for row in listed:
        where = f"{path}, line {row.line}"
        if unknown := [column for column in row.more if column not in COLUMNS]:
            raise UsageError(f"{where}: unknown column {unknown[0]}; expected some of {', '.join(COLUMNS)}")
        try:
            condition = _named(row.key, conditions, inputs, "CONDITIONS", where)
            photo = _named(row.exemplars[0], photos, names, "EXEMPLARS", where)
        except LookupError as error:
            lost.append(str(error))
            continue
        if row.more and (condition, photo) in rows:
            twice = f"{row.exemplars[0]!r} comes twice for {row.key!r}"
            raise UsageError(f"{where}: {twice}; join its regions in one")
        rows[condition, photo] = row
    if not rows:
        raise UsageError(lost[0])
    if lost:
        log.warning("%s (%d of %d rows are left out)", lost[0], len(lost), len(listed))
    return rows


def _named(name: str, known: Names, names: Sequence[str], place: str, where: str) -> int:
    """The number that ``name`` means. Raises LookupError where it means none, UsageError where it may mean several."""
    found = known.find(name)
    if not found:
        encoding = "" if name.isprintable() else "; the list must be UTF-8"
        raise LookupError(f"{where}: {name!r} is not in {place}{encoding}")
    if len(found) > 1:
        several = ", ".join(names[number] for number in found[:3])
        raise UsageError(f"{where}: {name!r} may be several of {place} ({several}); give its path")
    return found[0]


def _exemplar(where: str, columns: Mapping[str, str], photo: Path, drawn: Path | None) -> Exemplar:
    """drawn: where --regions would have the region."""
    weight, region = columns.get("weight", "").strip(), columns.get("region", "").strip()
    number = parse_weight(weight, where) if weight else 1.0
    if not region and drawn is not None and drawn.is_file():
        region = str(drawn)
    return Exemplar(str(photo), number, region or None, parse_classes(columns.get("classes", "")))


def write_pairs(path: Path, pairs: Iterable[tuple[str, ...]], scratch: Path | None = None) -> None:
    """Write rows that ``--pair FILE.csv`` reads: condition, exemplar and perhaps the COLUMNS; scratch as in
    ``replacing``."""
    with (
        files.replacing(path, scratch) as temporary,
        TextIOWrapper(files.create(temporary), "utf-8", "surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file)
        for number, row in enumerate(pairs):
            if not number:
                writer.writerow([*HEADER, *COLUMNS][: len(row)])
            writer.writerow(row)
