"""Which exemplar each condition gets, decided from names alone. (``nearest.py`` decides from what is in them.)"""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterable, Sequence
from io import TextIOWrapper
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mcltool.core import files
from mcltool.core.errors import UsageError
from mcltool.core.files import replacing
from mcltool.data.pairs import Names, read_rows
from mcltool.translate.names import hashes, stem

PAIRINGS = ("auto", "stem", "one", "cycle", "random", "all", "nearest")
HEADER = ["condition", "exemplar"]

Indices = NDArray[np.int32]
Pairs = tuple[Indices, Indices]
"""For each task the index of its condition and of its exemplar, in the order of the conditions."""


def pair_by_names(
    ids: Sequence[str], inputs: Sequence[str], exemplars: Sequence[str], pair: str, seed: int = 0
) -> Pairs | None:
    """The pairs of a job; None where the exemplars have to be looked at (nearest).

    ids, inputs: of the conditions, without and with suffix. exemplars: names relative to their folder.
    pair: "stem" takes the exemplar of the same relative path without suffix, else the only one of the same
    base name; "one" the only exemplar; "cycle" all in turn; "random" one drawn from the seed and the
    condition's name; "all" every one; "nearest"; "auto" stem where every condition has one, else one, else
    nearest; anything else is a list of exemplars (mcltool.data.pairs). Raises UsageError where that cannot be.
    """
    count = len(ids)
    if pair == "nearest":
        return None
    if pair in ("stem", "auto"):
        matches = _match_stems(ids, exemplars)
        missing = np.flatnonzero(matches < 0)
        if not missing.size:
            return _each(matches)
        if pair == "stem":
            raise UsageError(f"--pair stem: {_lacking(ids, missing, 'an exemplar of their name')}")
        return _each(np.zeros(count)) if len(exemplars) == 1 else None
    if pair == "one":
        if len(exemplars) > 1:
            raise UsageError(f"--pair one: expected a single exemplar, found {len(exemplars)}")
        return _each(np.zeros(count))
    if pair == "cycle":
        return _each(np.arange(count) % len(exemplars))
    if pair == "random":
        return _each(np.fromiter((_drawn(name, seed, len(exemplars)) for name in ids), np.int32, count))
    if pair == "all":
        conditions = np.repeat(np.arange(count, dtype=np.int32), len(exemplars))
        return conditions, np.tile(np.arange(len(exemplars), dtype=np.int32), count)
    return _read_pairs(Path(pair), ids, inputs, exemplars)


def write_pairs(path: Path, pairs: Iterable[tuple[str, str]], scratch: Path | None = None) -> None:
    """Write condition,exemplar rows that ``--pair FILE.csv`` reads; scratch as in ``replacing``."""
    with (
        replacing(path, scratch) as temporary,
        TextIOWrapper(files.create(temporary), "utf-8", "surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(HEADER)
        writer.writerows(pairs)


def _each(chosen: NDArray[np.generic]) -> Pairs:
    """Every condition once."""
    return np.arange(len(chosen), dtype=np.int32), chosen.astype(np.int32)


def _lacking(ids: Sequence[str], missing: NDArray[np.intp], what: str) -> str:
    return f"{missing.size} of {len(ids)} conditions lack {what}, such as {ids[int(missing[0])]}"


def _drawn(name: str, seed: int, count: int) -> int:
    """Depends on the condition's own name alone: new conditions leave the others' exemplars as they were."""
    return zlib.crc32(f"{seed}:{name}".encode(errors="surrogateescape")) % count


def _match_stems(ids: Sequence[str], exemplars: Sequence[str]) -> Indices:
    """The index of each condition's exemplar; -1 where there is none or a choice."""
    by_path, several = _look_up(
        hashes((stem(name) for name in exemplars), len(exemplars)), hashes(ids, len(ids))
    )
    by_name, _ = _look_up(
        hashes((stem(name).rpartition("/")[2] for name in exemplars), len(exemplars)),
        hashes((name.rpartition("/")[2] for name in ids), len(ids)),
    )
    return np.where((by_path >= 0) | several, by_path, by_name)


def _look_up(names: NDArray[np.int64], wanted: NDArray[np.int64]) -> tuple[Indices, NDArray[np.bool_]]:
    """For each wanted the index of the only one among names, else -1; and whether there are several."""
    order = np.argsort(names)
    first = np.searchsorted(names, wanted, "left", sorter=order)
    count = np.searchsorted(names, wanted, "right", sorter=order) - first
    found = order[np.minimum(first, len(names) - 1)]
    return np.where(count == 1, found, -1).astype(np.int32), count > 1


def _read_pairs(path: Path, ids: Sequence[str], inputs: Sequence[str], exemplars: Sequence[str]) -> Pairs:
    """Of a line of several exemplars the first, the best."""
    if not path.exists():
        ways = ", ".join(PAIRINGS)
        raise UsageError(f"--pair {path}: must be one of {ways}, or a list (CSV or text) that is there")
    conditions = Names(inputs, ids)
    photos = Names(exemplars, [stem(name) for name in exemplars])
    pairs: dict[tuple[int, int], None] = {}
    for row in read_rows(path):
        if row.more:
            raise UsageError(f"{path}, line {row.line}: unknown column {next(iter(row.more))}")
        condition = _named(path, row.line, row.key, conditions, inputs, "CONDITIONS")
        pairs[condition, _named(path, row.line, row.exemplars[0], photos, exemplars, "EXEMPLARS")] = None
    found = np.array(sorted(pairs), np.int32).reshape(-1, 2)
    missing = np.setdiff1d(np.arange(len(ids)), found[:, 0])
    if missing.size:
        raise UsageError(f"{path}: {_lacking(ids, missing, 'a row')}")
    return found[:, 0].copy(), found[:, 1].copy()


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
