"""Who may write to an output folder: shards of a job, their locks, and the end of a job under torchrun.

Locks and temporary files are below OUT/.mcltool while jobs run, and gone after them. What a killed job has left
there is removed by the next.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mcltool.core.errors import UsageError
from mcltool.core.locks import is_locked, locked
from mcltool.core.patience import limited
from mcltool.translate.manifest import NAME, merge
from mcltool.translate.names import RESERVED

LONGEST_WAIT = timedelta(days=14)


@dataclass(frozen=True)
class Shard:
    """Part ``index`` (from 0) of ``count`` of a plan."""

    index: int = 0
    count: int = 1

    @property
    def is_whole(self) -> bool:
        return self.count == 1

    @property
    def name(self) -> str:
        return "all" if self.is_whole else f"{self.index + 1}-of-{self.count}"

    @property
    def manifest(self) -> str:
        return NAME if self.is_whole else f"manifest-{self.name}.jsonl"

    def mine(self, tasks: int, window: int) -> NDArray[np.bool_]:
        """Which tasks are this shard's: every ``count``-th window of ``window`` tasks, so that no batch is cut."""
        return np.asarray((np.arange(tasks) // window) % self.count == self.index)

    @staticmethod
    def parse(text: str) -> Shard:
        """ "2/8" is the second of eight. Raises UsageError."""
        found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if found and 1 <= int(found[1]) <= int(found[2]):
            return Shard(int(found[1]) - 1, int(found[2]))
        raise UsageError(f"--shard {text}: expected I/N with I from 1 to N, e.g. 1/8")

    @staticmethod
    def of_environment() -> Shard:
        """The shard of this process under torchrun (RANK of WORLD_SIZE); elsewhere the whole plan."""
        try:
            rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        except (KeyError, ValueError):
            return Shard()
        return Shard(rank, world) if 0 <= rank < world else Shard()


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
    """Held by the one shard that decides what all have in common; others wait for it."""
    with locked(out / RESERVED / "settings.lock", "", wait=True):
        yield


def _check_alone(out: Path, home: Path, shard: Shard) -> None:
    """Raises UsageError where shards of another count are at work: theirs and these would overlap."""
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


def settle_ranks(out: Path, shard: Shard, failed: int) -> int:
    """Under torchrun, wait for all ranks, join their manifests, and return how many inputs failed in all of them;
    elsewhere return ``failed``.

    torchrun ends all ranks as soon as one exits with an error, so that each waits for the last before it does.
    """
    if shard.is_whole or "TORCHELASTIC_RUN_ID" not in os.environ:
        return failed
    import torch
    from torch import distributed

    distributed.init_process_group("gloo", timeout=LONGEST_WAIT)
    try:
        total = torch.tensor(failed)
        distributed.all_reduce(total)
        if shard.index == 0:
            with claimed(out, Shard()) as scratch:
                merge(out, scratch)
        distributed.barrier()
        return int(total)
    finally:
        distributed.destroy_process_group()
