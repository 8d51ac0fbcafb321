"""OUT/manifest.jsonl: one line per input with its result. A shard has manifest-I-of-N.jsonl.

While a job runs, lines are appended, so that a killed job loses nothing it has written; at the end the manifest is
rewritten in one step. Manifests may have a million lines: they are read as streams.
"""

from __future__ import annotations

import errno
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, NamedTuple, Self

from mcltool.core import files
from mcltool.core.errors import UsageError

Status = Literal["ok", "skipped", "failed"]
STATUSES = ("ok", "skipped", "failed")
NAME = "manifest.jsonl"
PATTERN = "manifest*.jsonl"
MAX_LINE = 1 << 18
"""Bytes; names and causes are a few hundred."""
_TYPES = {(*(str,) * 5, int, *(str,) * 3, number) for number in (int, float)}
"""Of an entry's fields."""
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # a link would have us write to what it leads to
_BINARY = getattr(os, "O_BINARY", 0)  # Windows: no translation of line ends
_OK, _SKIPPED = b'"status": "ok"', b'"status": "skipped"'


class Entry(NamedTuple):
    """The line of one input.

    input, exemplar, output: relative to CONDITIONS, EXEMPLARS and OUT; exemplars that act together are joined by " + ",
    each as ``Exemplar.label`` writes it. status: ok, skipped (made by an earlier run) or failed; cause: why it failed.
    milliseconds: to read, translate and write; of a skipped one, when it was made. weights: SHA-256 of the weights
    file. settings: digest of what else decides the result. source: sizes and times of the files of condition (with
    regions) and exemplars, see ``stamp``. finished: when, in seconds since 1970; the newest of two lines of one input
    counts.
    """

    input: str
    exemplar: str
    output: str
    status: Status
    cause: str
    milliseconds: int
    weights: str
    settings: str
    source: str
    finished: float

    def line(self) -> bytes:
        return json.dumps(self._asdict()).encode() + b"\n"


def stamp(paths: Iterable[str | os.PathLike[str]]) -> str:
    """Sizes and modification times of files, "SIZE@NANOSECONDS" each; edited files are translated again."""
    found = []
    for path in paths:
        try:
            status = os.stat(path)
            found.append(f"{status.st_size}@{status.st_mtime_ns}")
        except OSError:
            found.append("missing")
    return ",".join(found)


class Journal:
    """A manifest that lines are appended to: ``with Journal(path) as journal``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Self:
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _NO_LINK | _BINARY, 0o666)
        self._end = os.fstat(self._file).st_size
        if self._end and not _ends_with_newline(self.path):  # a killed job has left half a line
            self._end += os.write(self._file, b"\n")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        os.close(self._file)

    def add(self, entry: Entry) -> int:
        """Append a line, hand it to the operating system, and return where it begins.

        Raises OSError if it does not fit on the disk, after removing what was written of it.
        """
        line, start = entry.line(), self._end
        try:
            while line:  # once, unless the disk is about to be full
                written = files.append(self._file, line)
                if not written:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                line = line[written:]
        except OSError as error:
            os.ftruncate(self._file, start)
            raise OSError(error.errno, error.strerror, str(self.path)) from None
        self._end = os.fstat(self._file).st_size
        return start


def read_lines(path: Path) -> Iterator[tuple[int, Entry]]:
    """Place and entry of every line of a manifest; incomplete and foreign lines are left out."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        place, decode, whole = 0, json.JSONDecoder().decode, True
        while line := file.readline(MAX_LINE):
            entry = _entry(line, decode) if whole else None
            if entry:
                yield place, entry
            place, whole = place + len(line), line.endswith(b"\n")


def _entry(line: bytes, decode: Callable[[str], Any]) -> Entry | None:
    """The entry in a line; None if it is not one of ours."""
    try:
        entry = Entry(**decode(line.decode()))
    except (ValueError, TypeError, RecursionError):
        return None
    is_sound = tuple(map(type, entry)) in _TYPES and entry.status in STATUSES
    return entry if is_sound and max(abs(entry.milliseconds), abs(entry.finished)) < 1 << 53 else None


def read_line(source: IO[bytes], place: int) -> bytes:
    """The line at ``place`` of an open manifest."""
    source.seek(place)
    return source.readline()


@contextmanager
def opened(paths: Sequence[Path]) -> Iterator[list[IO[bytes]]]:
    """Manifests for ``read_line``; a missing one reads as empty."""
    with ExitStack() as stack:
        yield [stack.enter_context(path.open("rb") if path.exists() else BytesIO()) for path in paths]


def rewrite(
    path: Path, scratch: Path, sources: Sequence[Path], lines: Iterable[tuple[int, int, bool]]
) -> None:
    """Write the manifest ``path`` from lines of ``sources``, in one step.

    lines: for each the number of its source, its place there, and whether this run skipped its output.
    scratch: a folder for the temporary file.
    """
    with (
        opened(sources) as read,
        files.replacing(path, scratch) as temporary,
        files.create(temporary) as target,
    ):
        for source, place, skipped in lines:
            line = read_line(read[source], place)
            target.write(
                line.replace(_OK, _SKIPPED, 1) if skipped else line
            )  # in names, quotes have backslashes


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


# --- all manifests of a folder ---


def manifests(out: Path) -> list[Path]:
    """The manifests in an output folder, of all shards, sorted by name."""
    return sorted(out.glob(PATTERN))


def some_manifests(out: Path) -> list[Path]:
    """As ``manifests``. Raises UsageError where there are none."""
    if paths := manifests(out):
        return paths
    raise UsageError(f"{out}: no {PATTERN} in it")


def merge(out: Path, scratch: Path) -> int:
    """Join the manifests of all shards into manifest.jsonl, the newest line of each output; returns how many lines.

    scratch: a folder for the temporary file. Raises UsageError where there is no manifest.
    """
    paths = some_manifests(out)
    newest: dict[str, tuple[str, float, int, int]] = {}
    for number, path in enumerate(paths):
        for place, entry in read_lines(path):
            known = newest.get(entry.output)
            if known is None or known[2] == number or known[1] <= entry.finished:  # clocks jump
                newest[entry.output] = entry.input, entry.finished, number, place
    lines = ((number, place, False) for _, _, number, place in sorted(newest.values()))
    rewrite(out / NAME, scratch, paths, lines)
    for path in paths:
        if path.name != NAME:
            path.unlink()
    return len(newest)


def summary(out: Path) -> dict[str, Any]:
    """Counts and causes over all manifests in a folder, as plain JSON values. Raises UsageError without any."""
    paths = some_manifests(out)
    statuses, causes, weights = Counter[str](), Counter[str](), Counter[str]()
    milliseconds = 0
    for _, entry in (line for path in paths for line in read_lines(path)):
        statuses[entry.status] += 1
        weights[entry.weights] += 1
        milliseconds += entry.milliseconds
        if entry.status == "failed":
            causes[_kind(entry)] += 1
    return {
        "out": os.fspath(out),
        "manifests": [path.name for path in paths],
        **{status: statuses[status] for status in STATUSES},
        "seconds_of_work": round(milliseconds / 1000, 3),
        "weights": dict(weights),
        "causes": dict(causes.most_common(20)),
    }


def _kind(entry: Entry) -> str:
    """A cause without its path, so that equal causes are counted together."""
    for name in (entry.input, entry.exemplar, entry.output):
        head, found, tail = entry.cause.partition(f"{name}: ")
        if found and " " not in head:
            return tail
    return entry.cause
