"""Lists of exemplars: lines ``key,exemplar,exemplar,...``, the best exemplar first; and what the names in them mean.
Every command reads them here.

CoCosNet's lists are such lines, with photos' file names for names; ``mcltool pair`` writes samples' ids,
``translate-dir`` rows of condition,exemplar.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mcltool.core.errors import UsageError
from mcltool.core.files import MIB, read_limited, write_text
from mcltool.plugin.contract import IMAGE_SUFFIXES, Sample

MOST_BYTES = 512 * MIB
EXPECTED = "expected lines of text like key,exemplar,exemplar,..."
KEYS, EXEMPLARS = ("condition", "key", "to"), ("exemplar", "exemplars", "from")
"""What a header may call the two columns; from,to is the header of PATN's lists."""

Pairs = Mapping[str, Sequence[str]]
"""Names of exemplars by the name of the photo that they are for."""


@dataclass(frozen=True)
class Row:
    """A line of a list, as it is written. exemplars: best first. more: further columns, by the header's names."""

    line: int
    key: str
    exemplars: tuple[str, ...]
    more: Mapping[str, str] = field(default_factory=dict)


def read_rows(path: Path) -> list[Row]:
    """The rows of a list, in its order; a key may come again.

    Separated by commas, else tabs, semicolons or spaces, whichever the first line has; UTF-8 or UTF-16, with or
    without a byte order mark, a header (see KEYS) or a last line's end. Raises UsageError where the file cannot be
    read or a line is something else.
    """
    text = _read_text(path)
    first, _, rest = text.partition("\n")
    hint = re.fullmatch(r"sep=(.)\r?", first)  # Excel's
    reader = csv.reader(
        io.StringIO(rest if hint else text, newline=""), delimiter=hint[1] if hint else _delimiter(text)
    )
    header: list[str] = []
    rows: list[Row] = []
    try:
        for cells in reader:
            names = [cell for cell in cells if cell.strip()]
            if not names:
                continue
            line = reader.line_num + bool(hint)
            words = [cell.strip().lower() for cell in cells]
            if words == header or (not rows and _is_header(words)):
                header = words
            elif header:
                rows.append(_by_header(path, line, header, cells))
            else:
                rows.append(_row(path, line, names[0], names[1:]))
    except csv.Error as error:
        raise UsageError(f"{path}: {EXPECTED} ({error})") from None
    if not rows:
        raise UsageError(f"{path}: no lines; {EXPECTED}")
    return rows


def read_pairs(path: Path) -> Pairs:
    """The lists of a file by key; those of a repeated key are one. Raises UsageError as ``read_rows``."""
    found: dict[str, dict[str, None]] = {}
    for row in read_rows(path):
        if row.more:
            raise UsageError(f"{path}: a list for training has no column {next(iter(row.more))}")
        found.setdefault(row.key, {}).update(dict.fromkeys(row.exemplars))
    return {key: list(names) for key, names in found.items()}


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


def _read_text(path: Path) -> str:
    """Bytes that are no UTF-8 are kept as Python keeps those of file names."""
    try:
        data = read_limited(path, MOST_BYTES)
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # Excel's "Unicode text"
            return data.decode("utf-16")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: {EXPECTED}") from None
    text = data.decode("utf-8-sig", "surrogateescape")
    if "\0" in text:
        raise UsageError(f"{path}: {EXPECTED}")
    return text if "\n" in text else text.replace("\r", "\n")


def _delimiter(text: str) -> str:
    """Of the first line; in quotes there is none."""
    first = next(iter(re.sub(r'"[^"]*"', "", text[: 1 << 16]).strip().splitlines()), "")
    return next((mark for mark in ",\t;" if mark in first), " " if " " in first else ",")


def _is_header(words: Sequence[str]) -> bool:
    return any(word in KEYS for word in words) and any(word in EXEMPLARS for word in words)


def _by_header(path: Path, line: int, header: Sequence[str], cells: Sequence[str]) -> Row:
    if len(cells) < len(header):
        raise UsageError(f"{path}, line {line}: expected {','.join(header)}, found {','.join(cells)!r}")
    named = dict(zip(header, cells, strict=False))
    key = next(named.pop(word) for word in KEYS if word in named)
    exemplar = next(named.pop(word) for word in EXEMPLARS if word in named)
    more = [cell for cell in cells[len(header) :] if cell.strip()]
    named.pop("", None)
    return _row(path, line, key, [exemplar, *more], named)


def _row(
    path: Path, line: int, key: str, exemplars: Sequence[str], more: Mapping[str, str] | None = None
) -> Row:
    if not key.strip() or not exemplars or not exemplars[0].strip():
        raise UsageError(f"{path}, line {line}: expected key,exemplar,..., found {key.strip()[:80]!r} alone")
    return Row(line, key, tuple(exemplars), more or {})


# --- the names in lists ---


class Names:
    """Finds what the names in a list mean. called: one or more sequences of names of the same things.

    It matches whole names, with or without an image's suffix and with any folders before it; failing that, the ends of
    names, as a bare file name does.
    """

    def __init__(self, *called: Sequence[str]) -> None:
        self.called = called

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Names:
        """Samples go by their ids, or by the paths of their photos without suffix."""
        # One pass: making samples may take long.
        named = [(s.id, s.photo.with_suffix("").as_posix() if s.photo else s.id) for s in samples]
        return cls([name for name, _ in named], [photo for _, photo in named])

    def __add__(self, more: Names) -> Names:
        return Names(*([*own, *theirs] for own, theirs in zip(self.called, more.called, strict=True)))

    @cached_property
    def _whole(self) -> _Index:
        return _Index((name, n) for names in self.called for n, name in enumerate(names))

    @cached_property
    def _by_end(self) -> _Index:
        return _Index((name.rpartition("/")[2], n) for names in self.called for n, name in enumerate(names))

    def find(self, name: str) -> tuple[int, ...]:
        """Numbers of the things that ``name`` may mean: one, none or several."""
        if found := self._whole.get(name):
            return found
        name = name.strip().replace("\\", "/").removeprefix("./")
        bare, dot, suffix = name.rpartition(".")
        forms = (name, bare) if dot + suffix.lower() in IMAGE_SUFFIXES else (name,)
        for cut in range(name.count("/") + 1):
            for form in forms:
                if found := self._whole.get(form.split("/", cut)[-1]):
                    return found
        ends = {n for form in forms for n in self._by_end.get(form.rpartition("/")[2]) if self._ends(n, form)}
        return tuple(sorted(ends))

    def _ends(self, number: int, form: str) -> bool:
        return any(f"/{names[number]}".endswith(f"/{form}") for names in self.called)


class _Index:
    """Numbers by name: a dict of whole numbers, as most names have one; what few have several is apart."""

    def __init__(self, pairs: Iterable[tuple[str, int]]) -> None:
        self._first: dict[str, int] = {}
        self._several: dict[str, set[int]] = {}
        for name, number in pairs:
            first = self._first.setdefault(name, number)
            if first != number:
                self._several.setdefault(name, {first}).add(number)

    def get(self, name: str) -> tuple[int, ...]:
        if name in self._several:
            return tuple(sorted(self._several[name]))
        return (self._first[name],) if name in self._first else ()


def match_names(pairs: Pairs, samples: Names, candidates: Names) -> tuple[list[list[int | None]], set[str]]:
    """For each of ``samples`` the numbers in ``candidates`` of its exemplars, in the list's order, without itself; None
    for a name of no candidate or of several. Also returns the names that are ambiguous."""
    distinct = {name for exemplars in pairs.values() for name in exemplars}  # a photo is the exemplar of many
    meant = {name: candidates.find(name) for name in distinct}
    numbers = {name: found[0] if len(found) == 1 else None for name, found in meant.items()}
    unclear = {name for name, found in meant.items() if len(found) > 1}
    places = {named: n for n, named in enumerate(zip(*candidates.called, strict=True))}
    matched: list[list[int | None]] = [[] for _ in samples.called[0]]
    for key, exemplars in pairs.items():
        index = samples.find(key)
        if len(index) > 1:
            unclear.add(key)
        elif index:
            own = places.get(tuple(names[index[0]] for names in samples.called), -1)
            matched[index[0]] += [n for name in exemplars if (n := numbers[name]) != own]
    return matched, unclear
