"""What tests of training share: a run on shapes that takes seconds, and a look at what it made."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mcltool.core.config import Config, resolve
from mcltool.data.batch import Batch
from mcltool.data.dataset import TrainingData
from mcltool.data.loader import SampleStream, training_loader
from mcltool.plugin import registry as plugins
from mcltool.train.distributed import ALONE, Ranks
from mcltool.train.job import TrainingJob
from mcltool.train.loop import fit
from mcltool.train.recorder import Progress
from mcltool.train.trainer import Trainer

SMALL: dict[str, Any] = {
    "data.size": (32, 32),
    "data.workers": 0,
    "train.batch_size": 2,
    "train.max_steps": 6,
    "train.precision": "fp32",
    "train.validation_samples": 2,
    "train.checkpoint_every": 2,
    "train.log_every": 1,
    "train.generator_start": 0.0,
    "train.gan_start": 0.0,
    "model.encoder_widths": (8, 8, 16, 16),
    "model.feature_channels": 16,
    "model.scm_channels": 8,
    "model.generator_widths": (8, 8, 16),
    "model.spade_hidden": 8,
    "model.discriminator_widths": (8, 16),
}
"""Networks of some ten thousand parameters; all of them train from the first step."""


def small_config(**changes: Any) -> Config:
    """Settings by address, "__" for the dot."""
    return resolve(
        "shapes", "tiny", SMALL, {name.replace("__", "."): value for name, value in changes.items()}
    )


def small_job(
    run: Path, resume: bool = False, max_minutes: float | None = None, **changes: Any
) -> TrainingJob:
    shapes = plugins.load("shapes")
    return TrainingJob(
        shapes, small_config(**changes), None, run, device="cpu", resume=resume, max_minutes=max_minutes
    )


def small_trainer(ranks: Ranks = ALONE, precision: Any = "fp32", **changes: Any) -> Trainer:
    config = small_config(**changes)
    total = config.train.max_steps or 1
    return Trainer(config, plugins.load("shapes").spec, torch.device("cpu"), precision, total, ranks=ranks)


def batches(config: Config, ranks: Ranks = ALONE) -> list[Batch]:
    """The batches of the first step of ``config``, for one rank."""
    shapes = plugins.load("shapes")
    data = TrainingData(shapes, shapes.index(None, "train"), config.data, config.train.seed)
    stream = SampleStream(0, 1, ranks.rank, ranks.world, config.train.batch_size, config.train.accumulate)
    return list(training_loader(data, stream, 0, "cpu"))


class Killed(BaseException):
    """Ends a run as a kill would: nothing more is written."""


def fit_until(job: TrainingJob, ends: Callable[[Progress], bool]) -> list[Progress]:
    """Train, and leave as a kill would behind the first step of which ``ends`` is true; the steps so far."""
    seen: list[Progress] = []

    def show(progress: Progress) -> None:
        seen.append(progress)
        if ends(progress):
            raise Killed

    with suppress(Killed):
        fit(job, show)
    return seen


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Whether two state dicts are bit-identical."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
