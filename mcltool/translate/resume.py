"""What a job takes from the manifests of earlier ones: which tasks are done, and the lines to keep.

Of every task only its state and the place of its newest line are kept. Imports no torch.
"""

from __future__ import annotations

import json
import os
import stat as modes
from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from mcltool.core import files
from mcltool.translate.exemplars import files_of_regions
from mcltool.translate.manifest import Entry, as_skipped, manifests, read_line, read_lines, stamp
from mcltool.translate.names import hashes
from mcltool.translate.plan import Plan

PENDING, DONE, FAILED = range(3)
"""States of a task: to be made; made by an earlier job; failed there, and nothing has changed since."""
_LINES = 4096


class Ledger:
    """The states of a plan's tasks in an output folder.

    path: this job's manifest. mine: whether each task is this job's. weights, settings: as in Entry. states: one of
    PENDING, DONE, FAILED a task. made: where the job writes down the place of each task's line in its manifest, -1 at
    first.
    """

    def __init__(
        self, plan: Plan, out: Path, path: Path, mine: NDArray[np.bool_], weights: str, settings: str
    ) -> None:
        self.plan, self.path, self.mine = plan, path, mine
        self.states = np.full(len(plan), PENDING, np.uint8)
        self.made = np.full(len(plan), -1, np.int64)
        self._out, self._made_by = os.fspath(out), (weights, settings)
        self._files = [path, *(other for other in manifests(out) if other != path)]
        self._file = np.zeros(len(plan), np.uint8)
        self._place = np.full(len(plan), -1, np.int64)
        self._others = [array("q") for _ in self._files]
        self._photo_stamp = lru_cache(1024)(lambda photo: stamp([photo]))
        self._lines_here, self._unmarked = 0, False
        if any(path.exists() for path in self._files):
            self._look_back()

    @property
    def left(self) -> NDArray[np.bool_]:
        """Whether each task is still to be made, by this job."""
        return np.asarray(self.mine & (self.states == PENDING))

    def forget(self, *states: int) -> None:
        """Make again what is in one of ``states``."""
        self.states[np.isin(self.states, states) & self.mine] = PENDING

    def failed_before(self) -> Iterator[Entry]:
        """The lines of the tasks that are FAILED."""
        with ExitStack() as stack:
            sources = self._open(stack)
            for number in np.flatnonzero((self.states == FAILED) & self.mine):
                source = sources[self._file[number]]
                assert source
                yield Entry(**json.loads(read_line(source, int(self._place[number]))))

    def write(self, scratch: Path, absorb: bool) -> None:
        """Rewrite this job's manifest with one line an input, in the order of the conditions.

        absorb: this job does the whole plan, so that lines of the shards and of other jobs, as far as their outputs are
        still there, go in it too, and the shards' manifests are removed.
        """
        new = self.made >= 0
        self._file[new], self._place[new] = 0, self.made[new]
        known = self.mine & (self._place >= 0)
        kept = int(known.sum()) + (len(self._others[0]) if absorb else 0)
        untidy = new.any() or self._file[known].any() or self._unmarked
        if not (untidy or kept != self._lines_here or (absorb and len(self._files) > 1)):
            return
        skipped = (self.states == DONE) & ~new
        with ExitStack() as stack:
            sources = self._open(stack)
            temporary = stack.enter_context(files.replacing(self.path, scratch))
            target = stack.enter_context(files.create(temporary))
            for number in self.plan.in_order():
                source = sources[self._file[number]]
                if known[number] and source:
                    line = read_line(source, int(self._place[number]))
                    target.write(as_skipped(line) if skipped[number] else line)
            for source, places in zip(sources, self._others if absorb else (), strict=False):
                for place in places:
                    assert source
                    target.write(read_line(source, place))
        if absorb:
            for path in self._files[1:]:
                path.unlink(missing_ok=True)

    def _open(self, stack: ExitStack) -> list[IO[bytes] | None]:
        return [stack.enter_context(path.open("rb")) if path.exists() else None for path in self._files]

    def _look_back(self) -> None:
        """Read all manifests, the newest line of each task counting."""
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
                        if not index.concerns(entry) and os.path.isfile(f"{self._out}/{entry.output}"):
                            self._others[file].append(place)
                    elif file == self._file[number] or finished[number] <= entry.finished:  # clocks jump
                        finished[number] = entry.finished
                        self._file[number], self._place[number] = file, place
                        if self.mine[number]:
                            self.states[number] = self._judge(entry, number, condition, exemplar)
                            self._unmarked |= entry.status == "ok"

    def _judge(self, entry: Entry, number: int, condition: int, exemplar: int) -> int:
        mixture = self.plan.pairs.mixtures.get(condition)
        label = mixture.label if mixture else self.plan.exemplars.names[exemplar]
        made_by = (entry.weights, entry.settings, entry.exemplar, entry.output)
        if made_by != (*self._made_by, label, self.plan.names[number]):
            return PENDING
        inputs, _ = self.plan.conditions.files(condition)
        of_photos = self._photo_stamp(self.plan.exemplars.path(exemplar))
        if mixture:
            inputs = (*inputs, *files_of_regions(mixture.exemplars))
            of_photos = ",".join(self._photo_stamp(os.fspath(one.path)) for one in mixture.exemplars)
        if entry.source != f"{stamp(inputs)} {of_photos}":
            return PENDING
        if entry.status == "failed":
            return FAILED
        return DONE if _is_there(f"{self._out}/{entry.output}") else PENDING


def _is_there(path: str) -> bool:
    """Whether there is such a file. A power cut may leave the name of one and nothing in it."""
    try:
        status = os.stat(path)
    except OSError:
        return False
    return modes.S_ISREG(status.st_mode) and status.st_size > 0


class _Index:
    """Finds the task of a line: by its input, and its exemplar where conditions have several outputs."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._several = plan, len(plan) > len(plan.conditions)
        inputs, photos = plan.conditions.inputs, plan.exemplars.names
        pairs = zip(*(indices.tolist() for indices in plan.pairs[:2]), strict=True)
        keys = hashes((self._key(inputs[c], photos[e]) for c, e in pairs), len(plan))
        self._order = np.argsort(keys)
        self._keys = keys[self._order]

    def find(self, entries: list[Entry]) -> NDArray[np.int64]:
        """The number of each entry's task; -1 where the plan has none."""
        keys = hashes((self._key(entry.input, entry.exemplar) for entry in entries), len(entries))
        place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where(self._keys[place] == keys, self._order[place], -1)

    def concerns(self, entry: Entry) -> bool:
        """Whether an entry that is no task's has the output of one."""
        key = hash(entry.output)
        place = int(np.searchsorted(self._outputs, key))
        return bool(place < len(self._outputs) and self._outputs[place] == key)

    def _key(self, name: str, photo: str) -> str:
        return f"{name}\0{photo}" if self._several else name

    @cached_property
    def _outputs(self) -> NDArray[np.int64]:
        count = len(self._plan)
        return np.sort(hashes((self._plan.names[number] for number in range(count)), count))
