"""A training run: data, trainer, what is logged and drawn on the way, and the weights at the end."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mcltool.config import Config
from mcltool.data.contract import DatasetPlugin
from mcltool.data.dataset import SampleStream, training_loader
from mcltool.data.source import open_data
from mcltool.device import pick_device, pick_precision
from mcltool.errors import UsageError
from mcltool.files import write_text
from mcltool.pictures import save_png
from mcltool.train.features import perceptual_network
from mcltool.train.samples import FixedPairs
from mcltool.train.trainer import StepResult, Trainer
from mcltool.weights import WeightsHeader, save_weights

SAMPLE_ROWS = 6


@dataclass(frozen=True)
class Progress:
    """Where a run is after a step. sample: the sample grid written at this step, if any."""

    result: StepResult
    total: int
    batch_size: int
    images_per_second: float
    sample: Path | None


Show = Callable[[Iterator[Progress]], None]
"""Consumes a run's progress and shows it."""


def fit(
    plugin: DatasetPlugin,
    config: Config,
    root: Path | None,
    run: Path,
    out: Path | None = None,
    device: str | None = None,
    show: Show | None = None,
) -> Path:
    """Train and return the path of the weights (``out``, default RUN/weights.safetensors).

    Raises UsageError for a run folder that holds another run, missing perceptual weights or bad data.
    """
    steps = iterate(plugin, config, root, run, out or run / "weights.safetensors", device)
    if show is None:
        for _ in steps:
            pass
    else:
        show(steps)
    return out or run / "weights.safetensors"


def iterate(
    plugin: DatasetPlugin, config: Config, root: Path | None, run: Path, out: Path, device: str | None
) -> Iterator[Progress]:
    """Train step by step; the weights are written when the iterator ends."""
    _check_places(run, out)
    target = pick_device(device)
    precision = pick_precision(config.train.precision, target)
    data, held_out = open_data(plugin, root, config.data, config.train.seed)
    pairs = FixedPairs(held_out, SAMPLE_ROWS)
    phi, perceptual = perceptual_network(config)
    config = replace(config, train=replace(config.train, precision=precision, perceptual=perceptual))
    total = config.train.max_steps or max(1, config.train.epochs * len(data) // config.train.batch_size)
    trainer = Trainer(config, plugin.spec, target, precision, total, phi)

    run.mkdir(parents=True, exist_ok=True)
    write_text(run / "config.json", config.to_json())
    stream = SampleStream(0, total, 0, 1, config.train.batch_size)
    batches = training_loader(data, stream, config.data.workers, target.type)
    clock = _Clock(config.train.batch_size)
    with (run / "metrics.jsonl").open("a") as metrics:
        for batch in batches:
            result = trainer.step(batch)
            rate = clock.tick()
            if result.step % config.train.log_every == 0 or result.step in (1, total):
                speed = {"lr": result.lr, "images_per_second": round(rate, 2)}
                row = {"step": result.step, **result.losses, **speed}
                metrics.write(json.dumps(row) + "\n")
                metrics.flush()
            sample = None
            if result.step % config.train.sample_every == 0 or result.step == total:
                sample = run / "samples" / f"step-{result.step:06d}.png"
                save_png(sample, pairs.picture(trainer.average, target, precision))
            yield Progress(result, total, config.train.batch_size, rate, sample)
    header = WeightsHeader(config, plugin.spec, plugin.version, total)
    save_weights(out, trainer.average.state_dict(), header)


def _check_places(run: Path, out: Path) -> None:
    """Say now, not after hours of training, that something cannot be written."""
    if (run / "metrics.jsonl").exists():
        raise UsageError(f"{run}: holds a run already; give another --run")
    if out.is_dir():
        raise UsageError(f"{out}: expected a file for the weights, found a folder")
    for folder in (run, out.parent):
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK):
            raise UsageError(f"{folder}: cannot be made or written: {existing} is no folder one can write to")


class _Clock:
    """Images a second over the last half minute or so."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size, self.times = batch_size, [time.monotonic()]

    def tick(self) -> float:
        self.times = [*self.times[-49:], time.monotonic()]
        return self.batch_size * (len(self.times) - 1) / max(1e-9, self.times[-1] - self.times[0])
