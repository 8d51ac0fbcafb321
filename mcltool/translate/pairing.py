"""Which exemplar each condition gets, as far as names or a list (``--pair FILE``) decide it."""

from __future__ import annotations

import csv
import logging
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import TextIOWrapper
from os.path import splitext
from pathlib import Path

import numpy as np

from mcltool.core import files
from mcltool.core.errors import UsageError
from mcltool.data.exemplars import Names
from mcltool.data.pairs import Row, read_rows
from mcltool.plugin.contract import ConditionSpec
from mcltool.translate.exemplars import Exemplar, check, parse_classes, parse_weight
from mcltool.translate.names import Lookup
from mcltool.translate.plan import Indices, Pairs, Plan

log = logging.getLogger("mcltool.translate")

PAIRINGS = ("auto", "stem", "one", "cycle", "random", "all", "nearest")
HEADER = ("condition", "exemplar")
COLUMNS = ("weight", "region", "classes")
"""What else a list may say of a pair: see Exemplar."""


def pair_by_names(
    ids: Sequence[str], inputs: Sequence[str], exemplars: Sequence[str], pair: str, seed: int = 0
) -> Pairs:
    """The pairs of a job, with exemplar -1 for conditions that are left to the features of both (nearest).

    ids, inputs: of the conditions, without and with suffix. exemplars: names relative to their folder.
    pair: "stem" takes the exemplar of the same relative path without suffix, else the only one of the same base name;
    "one" the only exemplar; "cycle" all in turn, in natural order (2 before 10); "random" one drawn from the seed and
    the condition's name; "all" every one; "nearest" none; "auto" the only exemplar there is, else as "stem". Raises
    UsageError for what cannot be done.
    """
    count = len(ids)
    if pair == "all":
        conditions = np.repeat(np.arange(count, dtype=np.int32), len(exemplars))
        return Pairs(conditions, np.tile(np.arange(len(exemplars), dtype=np.int32), count))
    if pair == "one" and len(exemplars) > 1:
        raise UsageError(f"--pair one: expected a single exemplar, found {len(exemplars)}")
    if pair == "one" or (pair == "auto" and len(exemplars) == 1):
        chosen = np.zeros(count, np.int32)
    elif pair == "nearest":
        chosen = np.full(count, -1, np.int32)
    elif pair in ("stem", "auto"):
        chosen = _match_stems(ids, exemplars)
        missing = np.flatnonzero(chosen < 0)
        if missing.size and pair == "stem":
            some = f"{missing.size} of {count} conditions have no exemplar of their name"
            raise UsageError(f"--pair stem: {some}, such as {ids[int(missing[0])]}")
    elif pair == "cycle":
        chosen = np.zeros(count, np.int32)
        chosen[_natural_order(inputs)] = np.resize(_natural_order(exemplars), count)
    elif pair == "random":
        chosen = np.fromiter((_drawn(name, seed, len(exemplars)) for name in ids), np.int32, count)
    else:
        ways = ", ".join(PAIRINGS)
        raise UsageError(f"--pair {pair}: must be one of {ways}, or a list (CSV or text) that is there")
    return Pairs(np.arange(count, dtype=np.int32), chosen)


def _natural_order(names: Sequence[str]) -> Indices:
    """The numbers of ``names`` sorted as people count: 2 before 10."""
    keys = [re.sub(r"\d+", lambda digits: digits[0].zfill(20), name) for name in names]
    return np.array(sorted(range(len(names)), key=keys.__getitem__), np.int32)


def _drawn(name: str, seed: int, count: int) -> int:
    """Depends on the condition's own name alone: new conditions leave the others' exemplars as they were."""
    return zlib.crc32(f"{seed}:{name}".encode(errors="surrogateescape")) % count


def _match_stems(ids: Sequence[str], exemplars: Sequence[str]) -> Indices:
    """The index of each condition's exemplar; -1 where there is none or a choice."""
    stems = [splitext(name)[0] for name in exemplars]
    by_path, several = Lookup(stems, len(stems)).find(ids, len(ids))
    bare = (name.rpartition("/")[2] for name in stems)
    by_name, _ = Lookup(bare, len(stems)).find((name.rpartition("/")[2] for name in ids), len(ids))
    return np.where((by_path >= 0) | several, by_path, by_name).astype(np.int32)


# --- lists ---


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


def rows_of(plan: Plan) -> Iterator[tuple[str, ...]]:
    """Input and exemplar of every task, in the order of the conditions; with mixtures a row for each exemplar, with
    its weight, region and classes."""
    for number in plan.in_order():
        task = plan[number]
        if not plan.pairs.mixtures:
            yield task.input, task.exemplar
            continue
        for one in task.exemplars:
            region = os.fspath(one.region) if one.region else ""
            yield task.input, plan.exemplars.name(one), f"{one.weight:g}", region, ";".join(one.classes)


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
