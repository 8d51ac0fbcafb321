"""OUT/manifest.jsonl: one line an input, with what became of it; and what a job that is resumed takes from it.

A shard has manifest-I-of-N.jsonl. While a job runs the manifest is a journal that lines are appended to, so that
a job that is killed loses nothing it has written; at the end it is rewritten in one step. Manifests may have a
million lines: they are read as streams, and of every task only its state and the place of its newest line are
kept. Imports no torch.
"""

from __future__ import annotations

import errno
import json
import os
import stat as modes
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from mcltool.core import files
from mcltool.core.errors import UsageError
from mcltool.core.files import replacing
from mcltool.translate.exemplars import files_of_regions
from mcltool.translate.plan import Plan, hashes

Status = Literal["ok", "skipped", "failed"]
NAME = "manifest.jsonl"
PATTERN = "manifest*.jsonl"
MAX_LINE = 1 << 18
"""Bytes; names and causes are a few hundred."""
_TYPES = {(*(str,) * 5, int, *(str,) * 3, number) for number in (int, float)}
"""Of an entry's fields."""
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # a link would have us write to what it leads to
_BINARY = getattr(os, "O_BINARY", 0)  # Windows: no translation of line ends
_OK, _SKIPPED = b'"status": "ok"', b'"status": "skipped"'


class Result(NamedTuple):
    """What became of one input: the first fields of its Entry."""

    input: str
    exemplar: str
    output: str
    status: Status
    cause: str
    milliseconds: int


class Entry(NamedTuple):
    """The line of one input.

    input, exemplar, output: relative to CONDITIONS, EXEMPLARS and OUT; exemplars that act together are joined by
    " + ", each as ``Exemplar.label`` writes it.
    status: ok, skipped (made by an earlier run) or failed; cause: why it failed.
    milliseconds: to read, translate and write; of a skipped one, when it was made.
    weights: SHA-256 of the weights file. settings: digest of what else decides the result.
    source: sizes and times of the files of condition (with regions) and exemplars, see ``stamp``.
    finished: when, in seconds since 1970; the newest of two lines of one input counts.
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


def stamp(paths: Iterable[str]) -> str:
    """Size and time of change of files, "SIZE@NANOSECONDS" each: what is edited is translated again."""
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
        """Append a line and return where it begins; it is with the operating system when this returns.

        Raises OSError where it does not fit on the disk; what was written of it is taken back.
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
    """Place and entry of every line of a manifest or journal; what is cut off is left out."""
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
    """What a line says; None where it is not one of ours."""
    try:
        entry = Entry(**decode(line.decode()))
    except (ValueError, TypeError, RecursionError):
        return None
    is_sound = tuple(map(type, entry)) in _TYPES and entry.status in ("ok", "skipped", "failed")
    return entry if is_sound and max(abs(entry.milliseconds), abs(entry.finished)) < 1 << 53 else None


def read_manifest(path: Path) -> list[Entry]:
    """All entries of a manifest, in its order."""
    return [entry for _, entry in read_lines(path)]


def manifests(out: Path) -> list[Path]:
    """The manifests in an output folder, of all shards, sorted by name."""
    return sorted(out.glob(PATTERN))


def copy_line(source: IO[bytes], place: int, skipped: bool) -> bytes:
    """The line at ``place`` of an open manifest; skipped: marked as made by an earlier run."""
    source.seek(place)
    line = source.readline()
    return line.replace(_OK, _SKIPPED, 1) if skipped else line  # in a name, the quotes have backslashes


def merge(out: Path, scratch: Path) -> int:
    """Join the manifests of all shards in manifest.jsonl, the newest line an output; returns how many lines.

    scratch: a folder for the temporary file. Raises UsageError where there is none.
    """
    paths = manifests(out)
    if not paths:
        raise UsageError(f"{out}: no {PATTERN} in it")
    newest: dict[str, tuple[str, float, int, int]] = {}
    for number, path in enumerate(paths):
        for place, entry in read_lines(path):
            known = newest.get(entry.output)
            if known is None or known[2] == number or known[1] <= entry.finished:  # clocks jump
                newest[entry.output] = entry.input, entry.finished, number, place
    with ExitStack() as stack:
        sources = [stack.enter_context(path.open("rb")) for path in paths]
        temporary = stack.enter_context(replacing(out / NAME, scratch))
        target = stack.enter_context(files.create(temporary))
        for _, _, number, place in sorted(newest.values()):
            target.write(copy_line(sources[number], place, skipped=False))
    for path in paths:
        if path.name != NAME:
            path.unlink()
    return len(newest)


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


# --- resuming ---

TODO, DONE, FAILED = range(3)
"""States of a task: to be made; made by an earlier job; failed there, and nothing has changed since."""
_LINES = 4096


class Ledger:
    """The states of a plan's tasks in an output folder.

    path: this job's manifest. mine: whether each task is this job's. weights, settings: as in Entry.
    states: one of TODO, DONE, FAILED a task.
    """

    def __init__(
        self, plan: Plan, out: Path, path: Path, mine: NDArray[np.bool_], weights: str, settings: str
    ) -> None:
        self.plan, self.out, self.path, self.mine = plan, out, path, mine
        self.weights, self.settings = weights, settings
        self.states = np.full(len(plan), TODO, np.uint8)
        self._files = [path, *(other for other in manifests(out) if other != path)]
        self._file = np.zeros(len(plan), np.uint8)
        self._place = np.full(len(plan), -1, np.int64)
        self._made_now = np.zeros(len(plan), bool)
        self._others = [array("q") for _ in self._files]
        self._out = os.fspath(out)
        self._photo_stamp = lru_cache(1024)(lambda photo: stamp([photo]))
        self._look_back()

    @property
    def left(self) -> NDArray[np.bool_]:
        """Whether each task is still to be made, by this job."""
        return np.asarray(self.mine & (self.states == TODO))

    def record(self, number: int, place: int) -> None:
        """This job has written the task's line at ``place`` of its manifest."""
        self._file[number], self._place[number], self._made_now[number] = 0, place, True

    def forget(self, states: tuple[int, ...]) -> None:
        """Make again what is in one of ``states``."""
        self.states[np.isin(self.states, states) & self.mine] = TODO

    def entry(self, number: int) -> Entry | None:
        """The newest line of a task, if it has any."""
        if self._place[number] < 0:
            return None
        path = self._files[self._file[number]]
        with path.open("rb") as file:
            return Entry(**json.loads(copy_line(file, int(self._place[number]), skipped=False)))

    def failed_before(self) -> Iterator[tuple[int, Entry]]:
        """The tasks that are FAILED, with their lines."""
        for number in np.flatnonzero((self.states == FAILED) & self.mine):
            found = self.entry(int(number))
            if found:
                yield int(number), found

    def write(self, scratch: Path, absorb: bool) -> None:
        """Rewrite this job's manifest with one line an input, in the order of the conditions.

        absorb: this job does the whole plan, so that lines of the shards and of other jobs, as far as their
        outputs are still there, go in it too, and the shards' manifests are removed.
        """
        if not self._needs_writing(absorb):
            return
        with ExitStack() as stack:
            sources = [stack.enter_context(p.open("rb")) if p.exists() else None for p in self._files]
            temporary = stack.enter_context(replacing(self.path, scratch))
            target = stack.enter_context(files.create(temporary))
            for number in self.plan.in_order():
                source = sources[self._file[number]]
                if self.mine[number] and self._place[number] >= 0 and source:
                    skipped = bool(self.states[number] == DONE and not self._made_now[number])
                    target.write(copy_line(source, int(self._place[number]), skipped))
            for source, places in zip(sources, self._others if absorb else (), strict=False):
                for place in places:
                    assert source
                    target.write(copy_line(source, place, skipped=False))
        if absorb:
            for path in self._files[1:]:
                path.unlink(missing_ok=True)

    def _needs_writing(self, absorb: bool) -> bool:
        mine = self.mine & (self._place >= 0)
        kept = int(mine.sum()) + (len(self._others[0]) if absorb else 0)
        untidy = self._made_now.any() or (self._file[mine] != 0).any() or self._unmarked
        return bool(untidy or kept != self._lines_here or (absorb and len(self._files) > 1))

    def _look_back(self) -> None:
        """Read all manifests, the newest line of each task counting."""
        self._lines_here, self._unmarked = 0, False
        if not any(path.exists() for path in self._files):
            return
        index = _Index(self.plan)
        finished = np.full(len(self.plan), -np.inf)
        for file, path in enumerate(self._files):
            reader = read_lines(path)
            while lines := list(islice(reader, _LINES)):
                if file == 0:
                    self._lines_here += len(lines)
                numbers = index.find([entry for _, entry in lines])
                conditions, exemplars = (indices[numbers].tolist() for indices in self.plan.pairs[:2])
                for (place, entry), number, condition, exemplar in zip(
                    lines, numbers.tolist(), conditions, exemplars, strict=True
                ):
                    if number < 0:
                        if not index.concerns(entry) and (self.out / entry.output).is_file():
                            self._others[file].append(place)
                    elif file == self._file[number] or finished[number] <= entry.finished:  # clocks jump
                        finished[number] = entry.finished
                        self._file[number], self._place[number] = file, place
                        if self.mine[number]:
                            self.states[number] = self._judge(entry, number, condition, exemplar)
                            self._unmarked |= entry.status == "ok"

    def _judge(self, entry: Entry, number: int, condition: int, exemplar: int) -> int:
        made_by = (entry.weights, entry.settings, entry.exemplar, entry.output)
        mixture = self.plan.pairs.mixtures.get(condition)
        label = mixture.label if mixture else self.plan.exemplars.names[exemplar]
        if made_by != (self.weights, self.settings, label, self.plan.names[number]):
            return TODO
        inputs, _ = self.plan.conditions.files(condition)
        of_photos = self._photo_stamp(self.plan.exemplars.path(exemplar))
        if mixture:
            inputs = (*inputs, *files_of_regions(mixture.exemplars))
            of_photos = ",".join(self._photo_stamp(os.fspath(one.path)) for one in mixture.exemplars)
        if entry.source != f"{stamp(inputs)} {of_photos}":
            return TODO
        if entry.status == "failed":
            return FAILED
        return DONE if _is_there(f"{self._out}/{entry.output}") else TODO


def _is_there(path: str) -> bool:
    """Whether there is such a file. A power cut may leave the name of one and nothing in it."""
    try:
        status = os.stat(path)
    except OSError:
        return False
    return modes.S_ISREG(status.st_mode) and status.st_size > 0


class _Index:
    """Finds the task of a line: by its input, and its exemplar where conditions have several."""

    def __init__(self, plan: Plan) -> None:
        self._plan, count = plan, len(plan)
        self._several = count > len(plan.conditions)
        inputs = plan.conditions.inputs
        conditions, exemplars = plan.pairs.conditions.tolist(), plan.pairs.exemplars.tolist()
        if self._several:
            names = plan.exemplars.names
            keys = hashes(
                (f"{inputs[c]}\0{names[e]}" for c, e in zip(conditions, exemplars, strict=True)), count
            )
        else:
            keys = hashes((inputs[c] for c in conditions), count)
        self._order = np.argsort(keys)
        self._keys = keys[self._order]

    def find(self, entries: list[Entry]) -> NDArray[np.int64]:
        """The number of each entry's task; -1 where the plan has none."""
        if self._several:
            keys = np.array([hash(f"{entry.input}\0{entry.exemplar}") for entry in entries], np.int64)
        else:
            keys = np.array([hash(entry.input) for entry in entries], np.int64)
        place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where(self._keys[place] == keys, self._order[place], -1)

    def concerns(self, entry: Entry) -> bool:
        """Whether an entry that is no task's has the output of one."""
        key = hash(entry.output)
        place = int(np.searchsorted(self._outputs, key))
        return bool(place < len(self._outputs) and self._outputs[place] == key)

    @cached_property
    def _outputs(self) -> NDArray[np.int64]:
        count = len(self._plan)
        return np.sort(hashes((self._plan.names[number] for number in range(count)), count))
