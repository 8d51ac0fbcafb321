"""Lists of exemplars by name: text lines ``key,exemplar,exemplar,...``, the best exemplar first.

CoCosNet's lists are such lines, with photos' file names for names; mcltool pair writes samples' ids.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from mcltool.data.contract import IMAGE_SUFFIXES, Sample
from mcltool.errors import UsageError
from mcltool.files import MIB, read_limited, write_text

MOST_BYTES = 512 * MIB

Pairs = Mapping[str, Sequence[str]]
"""Names of exemplars by the name of the photo that they are for."""


def read_pairs(path: Path) -> Pairs:
    """The lists of a file. Raises UsageError where it cannot be read or is something else."""
    try:
        text = read_limited(path, MOST_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: expected lines of text like key,exemplar,exemplar,...") from None
    found: dict[str, list[str]] = {}
    try:
        rows = list(csv.reader(text.splitlines()))
    except csv.Error as error:
        raise UsageError(f"{path}: expected lines of text like key,exemplar,... ({error})") from None
    for number, row in enumerate(rows, 1):
        names = [name.strip() for name in row if name.strip()]
        if len(names) == 1:
            raise UsageError(
                f"{path}: line {number}: expected key,exemplar,..., found {names[0][:80]!r} alone"
            )
        if names:
            found[names[0]] = names[1:]
    if not found:
        raise UsageError(f"{path}: no lines; expected key,exemplar,exemplar,...")
    return found


def write_pairs(path: Path, pairs: Pairs) -> None:
    """Write lists as ``read_pairs`` reads them, atomically; empty ones are left out."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([name, *exemplars] for name, exemplars in pairs.items() if exemplars)
    write_text(path, text.getvalue())


def named_pairs(
    samples: Mapping[str, Sequence[Sample]], tables: Mapping[str, NDArray[np.int32]]
) -> dict[str, list[str]]:
    """Lists of ids from tables of numbers (n, K), -1 for none, by split.

    Raises UsageError where an id is in two splits: one list cannot tell them apart.
    """
    found: dict[str, list[str]] = {}
    for split, table in tables.items():
        ids = [sample.id for sample in samples[split]]
        for name, row in zip(ids, table.tolist(), strict=True):
            if name in found:
                raise UsageError(f"{name}: a sample of several splits; give --split, and a file for each")
            found[name] = [ids[number] for number in row if number >= 0]
    return found


def match_pairs(pairs: Pairs, samples: Sequence[Sample], candidates: Sequence[Sample]) -> list[list[int]]:
    """For each of ``samples`` the indices in ``candidates`` of its exemplars, in the list's order.

    A name is a sample's id, or its photo's path or file name, where one sample alone has it. What names no
    candidate, or the sample itself, is left out.
    """
    keys, names = _Names(samples), _Names(candidates)
    found: list[list[int]] = [[] for _ in samples]
    for key, exemplars in pairs.items():
        index = keys.find(key)
        if index is not None:
            numbers = (names.find(exemplar) for exemplar in exemplars)
            found[index] = [n for n in numbers if n is not None and candidates[n] != samples[index]]
    return found


class _Names:
    """Samples by what lists may call them."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._by_id = {sample.id: index for index, sample in reversed(list(enumerate(samples)))}
        self._by_end: dict[str, int | None] = {}
        for index, sample in enumerate(samples):
            ends = {PurePosixPath(sample.id).name, sample.photo.stem if sample.photo else ""}
            for end in ends:
                self._by_end[end] = None if end in self._by_end else index

    def find(self, name: str) -> int | None:
        path = PurePosixPath(name.replace("\\", "/"))
        if path.suffix.lower() in IMAGE_SUFFIXES:
            path = path.with_suffix("")
        for cut in range(len(path.parts)):  # img/WOMEN/... and WOMEN/... are one: a folder above says nothing
            index = self._by_id.get("/".join(path.parts[cut:]))
            if index is not None:
                return index
        return self._by_end.get(path.name)
