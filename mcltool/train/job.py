"""What is to be trained: the job, and all that is made and checked before the first step."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from mcltool.core.config import Config
from mcltool.core.device import pick_device, pick_precision
from mcltool.core.errors import UsageError
from mcltool.core.lookup import find_weights
from mcltool.core.pretrained import CAFFE_VGG, NETWORKS, load_scales, load_vgg
from mcltool.data.dataset import EvaluationData, TrainingData
from mcltool.data.exemplars import open_data
from mcltool.model.vgg import VGGFeatures, layer_scales, random_vgg
from mcltool.plugin.contract import DatasetPlugin
from mcltool.train.distributed import Ranks, own_device
from mcltool.train.finetune import start_from
from mcltool.train.loggers import check_loggers
from mcltool.train.memory import Estimate, estimate, fitted
from mcltool.train.run_folder import RunFolder
from mcltool.train.trainer import Trainer

log = logging.getLogger(__name__)

Choice = Literal["vgg", "caffe", "random", "none"]

_WAYS_OUT = {
    "vgg": "get them with 'mcltool weights get vgg19', or choose --perceptual random or --perceptual none",
    "caffe": "'mcltool weights convert' a vgg19_conv.pth with them, or choose --perceptual vgg",
}


@dataclass(frozen=True)
class TrainingJob:
    """What to train, on what, and where to put it.

    root: of the data set. out: for the weights, default RUN/weights.safetensors. device: as --device.
    resume: go on from the run's newest whole checkpoint. max_minutes: save and end after these.
    pairs: a list of exemplars (mcltool.data.pairs). fit_memory: compute the batch in as many parts as the memory needs.
    """

    plugin: DatasetPlugin
    config: Config
    root: Path | None
    run: Path
    out: Path | None = None
    device: str | None = None
    resume: bool = False
    max_minutes: float | None = None
    pairs: Path | None = None
    fit_memory: bool = False

    @property
    def weights(self) -> Path:
        return self.out or RunFolder(self.run).weights


def dry(
    plugin: DatasetPlugin, config: Config, device: str | None, fit_memory: bool = False
) -> tuple[Config, Estimate]:
    """What ``fit`` would run, resolved, and what it would need."""
    target = pick_device(own_device(device))
    precision = pick_precision(config.train.precision, target)
    perceptual = perceptual_choice(config)
    train = replace(config.train, precision=precision, perceptual=perceptual)
    config = replace(config, train=train)
    if fit_memory:
        phi = None if perceptual == "none" else random_vgg()
        config = fitted(config, plugin.spec, target, precision, phi)[0]
    return config, estimate(config, plugin.spec, precision, perceptual)


def prepare(
    job: TrainingJob, device: torch.device, ranks: Ranks, resume: bool
) -> tuple[Trainer, TrainingData, EvaluationData]:
    """Everything that can be wrong with what was asked for is found here, before anything is written."""
    check_loggers(job.config.train.loggers)
    precision = pick_precision(job.config.train.precision, device)
    data, held_out = open_data(job.plugin, job.root, job.config.data, job.config.train.seed, job.pairs)
    phi, perceptual = perceptual_network(job.config)
    train = replace(job.config.train, precision=precision, perceptual=perceptual)
    config = replace(job.config, train=train)
    if job.fit_memory:
        config, line = fitted(config, job.plugin.spec, device, precision, phi, ranks.world)
        if ranks.main:
            log.info(line)
    total, start = total_steps(config, len(data)), None
    if train.start_from and not (resume and any(RunFolder(job.run).checkpoints.glob("step-*"))):
        start = start_from(find_weights(train.start_from), config, job.plugin.spec)
        if ranks.main:
            log.info(start.summary)
    trainer = Trainer(
        config, job.plugin.spec, device, precision, total, phi, ranks, start.tensors if start else None
    )
    return trainer, data, held_out


def check_places(folder: RunFolder, weights: Path, resume: bool) -> None:
    """Say now, not after hours of training, that something cannot be written."""
    if folder.holds_a_run() and not resume:
        raise UsageError(f"{folder.path}: holds a run already; give another --run, or go on with --resume")
    if weights.is_dir():
        raise UsageError(f"{weights}: expected a file for the weights, found a folder")
    for place in (folder.path, weights.parent):
        existing = next(path for path in (place, *place.parents) if path.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK):
            raise UsageError(f"{place}: cannot be written: {existing} is not a writable directory")


def total_steps(config: Config, samples: int) -> int:
    """Steps of a run: as many as are asked for, else as the epochs make."""
    train = config.train
    return train.max_steps or max(1, train.epochs * samples // train.batch_size)


def perceptual_choice(config: Config) -> Choice:
    """The network that ``train.perceptual`` means for this configuration."""
    choice = config.train.perceptual
    if choice == "auto":
        choice = "none" if config.preset in ("tiny", "small") else "vgg"
    return choice if config.loss.perc or config.loss.feat or config.loss.ctx else "none"


def perceptual_network(config: Config) -> tuple[VGGFeatures | None, Choice]:
    """The network for ``train.perceptual``, in the units that loss weights are in, and which one it is.

    Raises UsageError where its weights, or their feature scales, are missing.
    """
    choice = perceptual_choice(config)
    if choice == "none":
        return None, choice
    if choice == "random":
        network = random_vgg()
        return network.in_published_units(layer_scales(network)), choice
    kind = CAFFE_VGG if choice == "caffe" else NETWORKS["vgg19"]
    if not kind.path.exists():
        name = kind.title.removesuffix(" weights").removeprefix("torchvision's ")
        raise UsageError(
            f"{kind.path}: the {name} weights of the perceptual loss are missing; {_WAYS_OUT[choice]}"
        )
    network = load_vgg(kind.path)
    # Caffe's features have the published units as they are.
    return network if choice == "caffe" else network.in_published_units(load_scales(kind.path)), choice
