"""What is to be done: the conditions below a folder, each with its exemplar and output, and the settings.

``pipeline.run`` does it. Only names are looked at here, and torch is not imported before the model is needed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mcltool.core.files import digest
from mcltool.plugin.contract import DatasetPlugin
from mcltool.translate.images import check_format
from mcltool.translate.manifest import Journal, Status
from mcltool.translate.opening import plugin_of
from mcltool.translate.pairing import Pairs, pair_by_names, write_pairs
from mcltool.translate.plan import Conditions, Exemplars, Plan, check_outputs, check_places
from mcltool.translate.resume import DONE, FAILED, TODO, Ledger
from mcltool.translate.settings import Settings, read_job, write_job
from mcltool.translate.workspace import Shard, claimed, settling

if TYPE_CHECKING:
    from mcltool.translate.translator import Translator

WINDOW_BATCHES = 4
"""Batches a window: enough that mixed sizes fill them, few enough that little waits in memory."""


@dataclass(frozen=True)
class Result:
    """What became of one input. output: the file, there unless failed. total: inputs of this job."""

    input: str
    exemplar: str
    output: Path
    status: Status
    cause: str
    milliseconds: int
    total: int


@dataclass(frozen=True)
class Options:
    """How a job is done, which changes nothing in its outputs but what is made.

    overwrite: make all anew. retry_failed: also try again what failed before and has not changed.
    shard: which part of the plan; device, workers: where to compute, and how many reader processes (None: as
    many as suit). pair_out: a CSV file for the pairs. cache_mebibytes: memory for encoded exemplars.
    """

    overwrite: bool = False
    retry_failed: bool = False
    shard: Shard = field(default_factory=Shard)
    device: str | None = None
    workers: int | None = None
    pair_out: Path | None = None
    cache_mebibytes: int = 512


@dataclass
class Report:
    """What a job says of itself besides its results; filled in while it runs. device: "" where nothing was left.

    batches: how many were made; halved: how often one did not fit into the device's memory. waited_...: seconds
    that the device waited for inputs, and for outputs to be saved.
    """

    device: str = ""
    workers: int = 0
    batches: int = 0
    halved: int = 0
    waited_reading: float = 0.0
    waited_writing: float = 0.0


@dataclass(frozen=True, eq=False)
class Opened:
    """A job whose output folder is claimed. left: whether each task of the plan is still to be made, by this job.

    scratch: a folder for temporary files.
    """

    ledger: Ledger
    journal: Journal
    scratch: Path

    @property
    def left(self) -> NDArray[np.bool_]:
        return np.asarray(self.ledger.mine & (self.ledger.states == TODO))

    @property
    def total(self) -> int:
        return int(self.ledger.mine.sum())

    def left_alone(self) -> Iterator[Result]:
        """What earlier jobs have made, and what failed there and has not changed."""
        ledger, total = self.ledger, self.total
        for number in np.flatnonzero((ledger.states == DONE) & ledger.mine):
            task = ledger.plan[int(number)]
            yield Result(task.input, task.exemplar, ledger.out / task.output, "skipped", "", 0, total)
        for _, entry in ledger.failed_before():
            path = ledger.out / entry.output
            yield Result(entry.input, entry.exemplar, path, "failed", entry.cause, entry.milliseconds, total)


class Job:
    """A directory job. All checks are made here, and nothing is written.

    pair, seed: as in ``pair_by_names``. Raises UsageError where the request cannot be carried out.
    """

    def __init__(
        self,
        conditions: Path,
        exemplars: Path,
        out: Path,
        weights: Path,
        pair: str = "auto",
        seed: int = 0,
        settings: Settings | None = None,
        options: Options | None = None,
    ) -> None:
        self.out, self.weights = out, weights
        self.settings, self.options = settings or Settings(), options or Options()
        check_format(self.settings)
        self.plugin: DatasetPlugin = plugin_of(weights)
        if self.settings.canvas:
            self.plugin.canvas = self.settings.canvas
        check_places(conditions, exemplars, out)
        self.digest = digest(weights)
        self.conditions, self.exemplars = Conditions(self.plugin, conditions), Exemplars(exemplars)
        self.pair, self.seed = pair, seed
        self.report = Report()
        self._translator: Translator | None = None
        pairs = pair_by_names(self.conditions.ids, self.conditions.inputs, self.exemplars.names, pair, seed)
        self.plan = self._plan(pairs) if pairs else None
        earlier = read_job(out, self.digest)
        if earlier:
            self.settings = self.settings.completed(earlier)
        if not self.settings.is_complete:
            self.translator  # noqa: B018 (a device or precision that is not there is said now)

    @property
    def translator(self) -> Translator:
        """The model, loaded when it is first needed: a job that has nothing left to do needs none."""
        if self._translator is None:
            from mcltool.translate.translator import Translator

            wanted = self.settings.precision
            device = self.options.device or _gpu_of_rank()
            self._translator = Translator(self.weights, self.plugin, wanted, device)
        return self._translator

    @contextmanager
    def opened(self) -> Iterator[Opened]:
        """Claim the output folder and look at what is done there. At the end its manifest is put in order.

        Raises UsageError where another job is writing to it, OSError where nothing can be written.
        """
        with claimed(self.out, self.options.shard) as scratch:
            self._settle(scratch)
            ledger = self._ledger()
            try:
                with Journal(ledger.path) as journal:
                    yield Opened(ledger, journal, scratch)
            finally:
                ledger.write(scratch, absorb=self.options.shard.is_whole)

    def states(self) -> Ledger:
        """What is done of the plan already; for --dry-run, nothing is written."""
        self._choose_pairs(None)
        return self._ledger()

    def _settle(self, scratch: Path) -> None:
        """Resolve what is open, once for all shards, and keep it in job.json."""
        with settling(self.out):
            earlier = read_job(self.out, self.digest)
            if earlier:
                self.settings = self.settings.completed(earlier)
            if not self.settings.is_complete:
                self.settings = self._resolved()
            self._choose_pairs(scratch)
            if self.settings != earlier:
                about = {
                    "weights_file": str(self.weights), "plugin": self.plugin.name, "pair": self.pair,
                    "seed": self.seed,
                }  # fmt: skip
                write_job(self.out, self.digest, self.settings, about, scratch)

    def _resolved(self) -> Settings:
        translator = self.translator
        size = self.settings.size
        side = size if isinstance(size, int) else translator.short_side
        batch = self.settings.batch_size or translator.fitting_batch_size(side)
        return replace(self.settings, precision=translator.precision, batch_size=batch)

    def _choose_pairs(self, scratch: Path | None) -> None:
        if self.plan is None:
            from mcltool.translate.nearest import nearest_pairs

            self.plan = self._plan(nearest_pairs(self, scratch))
        if self.options.pair_out and self.options.shard.index == 0:
            write_pairs(self.options.pair_out, self.plan.rows())

    def _plan(self, pairs: Pairs) -> Plan:
        plan = Plan(self.conditions, self.exemplars, pairs, self.settings.suffix, self.settings.save)
        check_outputs(plan, self.out)
        return plan

    @property
    def window(self) -> int:
        """Tasks a window: what is put in batches together, and what shards take in turn."""
        return WINDOW_BATCHES * max(1, self.settings.batch_size)

    def _ledger(self) -> Ledger:
        assert self.plan is not None
        shard = self.options.shard
        mine = shard.mine(len(self.plan), self.window)
        path = self.out / shard.manifest
        ledger = Ledger(self.plan, self.out, path, mine, self.digest, self.settings.digest())
        if self.options.overwrite:
            ledger.forget((DONE, FAILED))
        elif self.options.retry_failed:
            ledger.forget((FAILED,))
        return ledger


def _gpu_of_rank() -> str | None:
    """Under torchrun each rank of a machine has a GPU of its own."""
    import torch

    count = torch.cuda.device_count()
    return f"cuda:{int(os.environ['LOCAL_RANK']) % count}" if count and "LOCAL_RANK" in os.environ else None
