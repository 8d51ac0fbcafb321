"""OUT/manifest.jsonl: one line an input, with what became of it.

While a job runs it is a journal that lines are appended to, so that a job that is killed loses nothing it has
written; at the end it is rewritten in one step with one line an input, sorted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self

from mcltool.files import write_text

Status = Literal["ok", "skipped", "failed"]
NAME = "manifest.jsonl"


@dataclass(frozen=True)
class Entry:
    """What became of one input.

    input, exemplar, output: relative to CONDITIONS, EXEMPLARS and OUT.
    status: ok, skipped (made by an earlier run) or failed; cause: why it failed.
    milliseconds: to read, translate and write; of a skipped one, when it was made.
    weights: SHA-256 of the weights file. settings: digest of what else decides the result.
    source: digest of the sizes and times of condition and exemplar.
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

    def made_like(self, other: Entry) -> bool:
        """Whether both would give the same output file."""
        made = ("input", "exemplar", "output", "weights", "settings", "source")
        return all(getattr(self, name) == getattr(other, name) for name in made)


class Manifest:
    """The manifest of an output folder, open for a job: ``with Manifest(out) as manifest``.

    entries: by input, from earlier runs and this one.
    """

    def __init__(self, out: Path) -> None:
        self.path = out / NAME
        self.entries = {entry.input: entry for entry in read_manifest(self.path)}

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._journal: IO[str] = self.path.open("a")
        if self._journal.tell():
            self._journal.write("\n")  # a killed job may have left half a line
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        """Rewrite the journal with one line an input, also after an exception: what is done is done."""
        self._journal.close()
        lines = (_line(self.entries[name]) for name in sorted(self.entries))
        write_text(self.path, "".join(lines))

    def forget_missing(self, inputs: Iterable[str], outputs: Iterable[str]) -> None:
        """Drop lines of other jobs in this folder, except where their outputs are still there and theirs."""
        kept, taken = set(inputs), set(outputs)
        for name, entry in list(self.entries.items()):
            stale = entry.output in taken or not (self.path.parent / entry.output).is_file()
            if name not in kept and stale:
                del self.entries[name]

    def add(self, entry: Entry) -> None:
        """Record what became of an input; the line is with the operating system when this returns."""
        self.entries[entry.input] = entry
        if entry.status != "skipped":  # its line is there already
            self._journal.write(_line(entry))
            self._journal.flush()


def read_manifest(path: Path) -> list[Entry]:
    """The entries of a manifest or journal, in its order; lines that are cut off are left out."""
    entries: list[Entry] = []
    if not path.exists():
        return entries
    with path.open(errors="replace") as lines:
        for line in lines:
            try:
                entries.append(Entry(**json.loads(line)))
            except (ValueError, TypeError):
                continue
    return entries


def _line(entry: Entry) -> str:
    return json.dumps(asdict(entry)) + "\n"
