"""An output folder: what earlier jobs have done in it, and who may write to it.

Locks and temporary files are in OUT/.mcltool while jobs run. A job removes its own at its end, and what killed jobs
have left. Imports no torch.
"""

from __future__ import annotations

import json
import os
import shutil
import stat as modes
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mcltool.core.errors import UsageError
from mcltool.core.locks import is_locked, locked
from mcltool.core.patience import limited
from mcltool.translate.manifest import Entry, manifests, opened, read_line, read_lines, rewrite, stamp
from mcltool.translate.names import RESERVED, Lookup
from mcltool.translate.plan import Plan
from mcltool.translate.settings import Shard

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
        self._file = np.zeros(len(plan), np.int32)
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
        with opened(self._files) as sources:
            for number in np.flatnonzero((self.states == FAILED) & self.mine):
                yield Entry(**json.loads(read_line(sources[self._file[number]], int(self._place[number]))))

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
        order = self.plan.in_order()
        order = order[known[order]]
        lines = zip(self._file[order], self._place[order], skipped[order], strict=True)
        others = ((file, place, False) for file, places in enumerate(self._others) for place in places)
        rewrite(self.path, scratch, self._files, chain(lines, others if absorb else ()))
        if absorb:
            for path in self._files[1:]:
                path.unlink(missing_ok=True)

    def _look_back(self) -> None:
        """Read all manifests, the newest line of each task counting."""
        plan, several = self.plan, len(self.plan) > len(self.plan.conditions)

        def key(name: str, photo: str) -> str:
            return f"{name}\0{photo}" if several else name

        inputs, photos = plan.conditions.inputs, plan.exemplars.names
        pairs = zip(*(indices.tolist() for indices in plan.pairs[:2]), strict=True)
        tasks = Lookup((key(inputs[condition], photos[photo]) for condition, photo in pairs), len(plan))
        outputs = cache(lambda: Lookup(map(plan.names.of, range(len(plan))), len(plan)))
        finished = np.full(len(plan), -np.inf)
        for file, path in enumerate(self._files):
            reader = read_lines(path)
            while lines := list(islice(reader, _LINES)):
                self._lines_here += len(lines) * (file == 0)
                numbers, _ = tasks.find((key(entry.input, entry.exemplar) for _, entry in lines), len(lines))
                for (place, entry), number in zip(lines, numbers.tolist(), strict=True):
                    if number >= 0:
                        if file == self._file[number] or finished[number] <= entry.finished:  # clocks jump
                            finished[number] = entry.finished
                            self._file[number], self._place[number] = file, place
                            if self.mine[number]:
                                self.states[number] = self._judge(entry, number)
                                self._unmarked |= entry.status == "ok"
                    elif not outputs().has(entry.output) and os.path.isfile(f"{self._out}/{entry.output}"):
                        self._others[file].append(place)  # of another job, and still there

    def _judge(self, entry: Entry, number: int) -> int:
        task = self.plan[number]
        made_by = (entry.weights, entry.settings, entry.exemplar, entry.output)
        if made_by != (*self._made_by, task.exemplar, task.output):
            return PENDING
        photos = ",".join(self._photo_stamp(os.fspath(one.path)) for one in task.exemplars)
        if entry.source != f"{stamp(task.sources())} {photos}":
            return PENDING
        if entry.status == "failed":
            return FAILED
        return DONE if self._has(entry.output) else PENDING

    def _has(self, output: str) -> bool:
        """Whether OUT has this file. A power cut may leave an empty one."""
        try:
            status = os.stat(f"{self._out}/{output}")
        except OSError:
            return False
        return modes.S_ISREG(status.st_mode) and status.st_size > 0


# --- who may write ---


@contextmanager
def claimed(out: Path, shard: Shard) -> Iterator[Path]:
    """Claim a shard of an output folder; yields a folder for temporary files, which is gone afterwards.

    Raises UsageError where another process works on the same shard, or on shards of another count.
    """
    home = out / RESERVED
    if home.is_symlink():
        raise UsageError(f"{home}: expected a folder, found a link")
    try:
        with locked(home / f"{shard.name}.lock", f"{out}: another job is writing to it"):
            _check_alone(out, home, shard)
            _sweep(home)
            scratch = home / shard.name
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(mode=0o700)
            try:
                yield scratch
            finally:
                with limited(f"{scratch}: removing it"):
                    shutil.rmtree(scratch, ignore_errors=True)
    finally:
        with suppress(OSError):  # other shards are at work
            home.rmdir()


@contextmanager
def settling(out: Path) -> Iterator[None]:
    """Held by the shard that settles what all shards share, while the others wait."""
    with locked(out / RESERVED / "settings.lock", "", wait=True):
        yield


def _check_alone(out: Path, home: Path, shard: Shard) -> None:
    """Raises UsageError if shards of another count are running: their tasks would overlap with these."""
    for other in sorted(home.glob("*.lock")):
        if other.name != "settings.lock" and _count(other.stem) != shard.count and is_locked(other):
            raise UsageError(f"{out}: another job is writing to it (shard {other.stem})")


def _sweep(home: Path) -> None:
    """Remove what killed shards have left."""
    for path in list(home.iterdir()):
        name = path.stem if path.suffix == ".lock" else path.name
        if not is_locked(home / f"{name}.lock"):
            with suppress(UsageError), locked(home / f"{name}.lock", ""):  # which removes the lock file too
                shutil.rmtree(home / name, ignore_errors=True)


def _count(name: str) -> int:
    return int(name.rpartition("-")[2]) if "-of-" in name else 1
