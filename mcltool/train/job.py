"""The training job, and everything that is made and checked before its first step."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from mcltool.core.config import Config
from mcltool.core.device import Precision, pick_device, pick_precision
from mcltool.core.errors import UsageError
from mcltool.core.lookup import find_weights
from mcltool.core.pretrained import CAFFE_VGG, NETWORKS, load_scales, load_vgg
from mcltool.data.dataset import EvaluationData, TrainingData, open_data
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
    """The configuration that ``fit`` would run, and an estimate of what it would need."""
    target = pick_device(own_device(device))
    config, precision, perceptual = _resolved(config, target)
    if fit_memory:
        phi = None if perceptual == "none" else random_vgg()
        config = fitted(config, plugin.spec, target, precision, phi)[0]
    return config, estimate(config, plugin.spec, precision, perceptual)


def prepare(
    job: TrainingJob, device: torch.device, ranks: Ranks, resume: bool
) -> tuple[Trainer, TrainingData, EvaluationData]:
    """The trainer and its data. What can be wrong with the request is found here, before anything is written."""
    check_loggers(job.config.train.loggers)
    data, held_out = open_data(job.plugin, job.root, job.config.data, job.config.train.seed, job.pairs)
    config, precision, perceptual = _resolved(job.config, device)
    phi = perceptual_network(perceptual)
    if job.fit_memory:
        config, line = fitted(config, job.plugin.spec, device, precision, phi, ranks.world)
        log.info(line)
    train, start = config.train, None
    total = train.max_steps or max(1, train.epochs * len(data) // train.batch_size)
    if train.start_from and not (resume and any(RunFolder(job.run).checkpoints.glob("step-*"))):
        start, line = start_from(find_weights(train.start_from), config, job.plugin.spec)
        log.info(line)
    return Trainer(config, job.plugin.spec, device, precision, total, phi, ranks, start), data, held_out


def _resolved(config: Config, device: torch.device) -> tuple[Config, Precision, Choice]:
    """``config`` with the precision and the perceptual network that "auto" means here, and which they are."""
    precision, perceptual = pick_precision(config.train.precision, device), perceptual_choice(config)
    train = replace(config.train, precision=precision, perceptual=perceptual)
    return replace(config, train=train), precision, perceptual


def check_places(folder: RunFolder, weights: Path, resume: bool) -> None:
    """Raise UsageError now, not after hours of training, where something cannot be written."""
    if folder.holds_a_run() and not resume:
        raise UsageError(f"{folder.path}: holds a run already; give another --run, or go on with --resume")
    if weights.is_dir():
        raise UsageError(f"{weights}: expected a file for the weights, found a folder")
    for place in (folder.path, weights.parent):
        existing = next(path for path in (place, *place.parents) if path.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK):
            raise UsageError(f"{place}: cannot be written: {existing} is not a writable directory")


def perceptual_choice(config: Config) -> Choice:
    """The network that ``train.perceptual`` means for this configuration."""
    choice = config.train.perceptual
    if choice == "auto":
        choice = "none" if config.preset in ("tiny", "small") else "vgg"
    return choice if config.loss.perc or config.loss.feat or config.loss.ctx else "none"


def perceptual_network(choice: Choice) -> VGGFeatures | None:
    """The network of the perceptual losses, in the units that loss weights are in.

    Raises UsageError where its weights, or their feature scales, are missing.
    """
    if choice == "none":
        return None
    if choice == "random":
        network = random_vgg()
        return network.in_published_units(layer_scales(network))
    kind = CAFFE_VGG if choice == "caffe" else NETWORKS["vgg19"]
    if not kind.path.exists():
        name = kind.title.removesuffix(" weights").removeprefix("torchvision's ")
        raise UsageError(
            f"{kind.path}: the {name} weights of the perceptual loss are missing; {_WAYS_OUT[choice]}"
        )
    network = load_vgg(kind.path)
    # Caffe's features have the published units as they are.
    return network if choice == "caffe" else network.in_published_units(load_scales(kind.path))
