"""What earlier jobs have done of a plan, and the manifest at the end of this one.

Of every task are kept a number for its state and the place of its newest line, not the line itself. Imports
no torch.
"""

from __future__ import annotations

import json
import os
import stat as modes
from array import array
from collections.abc import Iterator
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mcltool.core import files
from mcltool.core.files import replacing
from mcltool.translate.manifest import Entry, copy_line, manifests, read_lines, stamp
from mcltool.translate.names import hashes
from mcltool.translate.plan import Plan

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
        self._photo_stamp = lru_cache(1024)(lambda exemplar: stamp([plan.exemplars.path(exemplar)]))
        self._look_back()

    def record(self, number: int, place: int) -> None:
        """This job has written the task's line at ``place`` of its manifest."""
        self._file[number], self._place[number], self._made_now[number] = 0, place, True

    def forget(self, states: tuple[int, ...]) -> None:
        """Make anew what is in one of ``states``."""
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
        sources = [path.open("rb") if path.exists() else None for path in self._files]
        try:
            with replacing(self.path, scratch) as temporary, files.create(temporary) as target:
                for number in self.plan.in_order():
                    source = sources[self._file[number]]
                    if self.mine[number] and self._place[number] >= 0 and source:
                        skipped = bool(self.states[number] == DONE and not self._made_now[number])
                        target.write(copy_line(source, int(self._place[number]), skipped))
                if absorb:
                    for source, places in zip(sources, self._others, strict=True):
                        for place in places:
                            target.write(copy_line(source, place, skipped=False))
        finally:
            for source in sources:
                if source:
                    source.close()
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
                conditions, exemplars = (indices[numbers].tolist() for indices in self.plan.pairs)
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
        names = self.plan.exemplars.names[exemplar], self.plan.names[number]
        if made_by != (self.weights, self.settings, *names):
            return TODO
        inputs, _ = self.plan.conditions.files(condition)
        if entry.source != f"{stamp(inputs)} {self._photo_stamp(exemplar)}":
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
        conditions, exemplars = (indices.tolist() for indices in plan.pairs)
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
