"""Lists of exemplars for translate-dir (``--pair FILE``): read into pairs, and written."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from io import TextIOWrapper
from pathlib import Path

import numpy as np

from mcltool.core import files
from mcltool.core.errors import UsageError
from mcltool.core.files import replacing
from mcltool.data.pairs import Names, Row, read_rows
from mcltool.plugin.contract import ConditionSpec
from mcltool.translate.exemplars import Exemplar, check, parse_classes, parse_weight
from mcltool.translate.plan import Mixture, Pairs, stem

HEADER = ("condition", "exemplar")
COLUMNS = ("weight", "region", "classes")
"""What else a list may say of a pair: see Exemplar."""


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
    one condition act together; else each row is an output. Raises UsageError for what cannot be.
    """
    if not path.exists():
        raise UsageError(f"--pair {path}: no such file")
    conditions = Names(inputs, ids)
    photos = Names(names, [stem(name) for name in names])
    rows: dict[tuple[int, int], Row] = {}
    for row in read_rows(path):
        _check_columns(path, row)
        condition = _named(path, row.line, row.key, conditions, inputs, "CONDITIONS")
        pair = condition, _named(path, row.line, row.exemplars[0], photos, names, "EXEMPLARS")
        if row.more and pair in rows:
            raise UsageError(
                f"{path}, line {row.line}: {row.exemplars[0]!r} comes twice for {row.key!r}; join its regions in one"
            )
        rows[pair] = row
    found = np.array(sorted(rows), np.int32).reshape(-1, 2)
    missing = np.setdiff1d(np.arange(len(ids)), found[:, 0])
    if missing.size:
        raise UsageError(
            f"{path}: {missing.size} of {len(ids)} conditions lack a row, such as {ids[int(missing[0])]}"
        )
    if spec is None or not (regions or any(row.more for row in rows.values())):
        return Pairs(found[:, 0].copy(), found[:, 1].copy())
    groups: dict[int, dict[str, Exemplar]] = {}
    for (condition, photo), row in rows.items():
        drawn = regions / ids[condition] / f"{stem(names[photo])}.png" if regions else None
        exemplar = _exemplar(path, row, folder / names[photo], drawn)
        groups.setdefault(condition, {})[names[photo]] = exemplar
    if regions and not any(one.region for group in groups.values() for one in group.values()):
        raise UsageError(f"--regions {regions}: has no CONDITION/EXEMPLAR.png of a pair in {path}")
    return _together(path, groups, inputs, names, spec)


def _together(
    path: Path,
    groups: Mapping[int, Mapping[str, Exemplar]],
    inputs: Sequence[str],
    names: Sequence[str],
    spec: ConditionSpec,
) -> Pairs:
    """One task a condition, of the exemplars that act together on it."""
    mixtures = {}
    for condition, group in groups.items():
        check(list(group.values()), spec, f"{path}: {inputs[condition]}")
        if len(group) > 1:
            label = " + ".join(exemplar.label(name) for name, exemplar in group.items())
            mixtures[condition] = Mixture(label, tuple(group.values()))
    numbers = {name: number for number, name in enumerate(names)}
    first = {condition: numbers[next(iter(groups[condition]))] for condition in sorted(groups)}
    return Pairs(np.array([*first], np.int32), np.array([*first.values()], np.int32), mixtures)


def write_pairs(path: Path, pairs: Iterable[tuple[str, ...]], scratch: Path | None = None) -> None:
    """Write rows that ``--pair FILE.csv`` reads: condition, exemplar and perhaps the COLUMNS; scratch as in
    ``replacing``."""
    with (
        replacing(path, scratch) as temporary,
        TextIOWrapper(files.create(temporary), "utf-8", "surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file)
        for number, row in enumerate(pairs):
            if not number:
                writer.writerow([*HEADER, *COLUMNS][: len(row)])
            writer.writerow(row)


def _check_columns(path: Path, row: Row) -> None:
    for column in row.more:
        if column not in COLUMNS:
            known = ", ".join(COLUMNS)
            raise UsageError(f"{path}, line {row.line}: unknown column {column}; expected some of {known}")


def _exemplar(path: Path, row: Row, photo: Path, drawn: Path | None) -> Exemplar:
    """drawn: where --regions would have the region."""
    weight, region = row.more.get("weight", "").strip(), row.more.get("region", "").strip()
    where = f"{path}, line {row.line}"
    number = parse_weight(weight, where) if weight else 1.0
    if not region and drawn is not None and drawn.is_file():
        region = str(drawn)
    return Exemplar(str(photo), number, region or None, parse_classes(row.more.get("classes", "")))


def _named(path: Path, line: int, name: str, known: Names, names: Sequence[str], where: str) -> int:
    found = known.find(name)
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(names[number] for number in found[:3])
        raise UsageError(
            f"{path}, line {line}: {name!r} may be several of {where} ({several}); give its path"
        )
    encoding = "" if name.isprintable() else "; the list must be UTF-8"
    raise UsageError(f"{path}, line {line}: {name!r} is not in {where}{encoding}")
