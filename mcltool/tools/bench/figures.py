"""Seconds, operations and memory of translating and of a training step, with random weights and inputs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from mcltool.core.config import Config
from mcltool.core.device import Precision, autocast
from mcltool.core.weights import WeightsHeader, save_weights
from mcltool.data.batch import condition_planes, to_unit
from mcltool.model import network
from mcltool.model.build import make_network
from mcltool.model.network import MCLNet
from mcltool.model.published import PublishedNet
from mcltool.model.vgg import random_vgg
from mcltool.plugin.contract import DatasetPlugin
from mcltool.tools.bench.inputs import Size, pictures, random_batch, random_conditions, random_photos
from mcltool.tools.bench.machine import Machine, Times, repeated
from mcltool.tools.bench.memory import peak, reset_peak
from mcltool.tools.bench.parts import OTHER, Count, Counter, Function, Parts, watching
from mcltool.train import objective
from mcltool.train.loop import perceptual_choice
from mcltool.train.trainer import Trainer
from mcltool.translate.translator import Translator

BACKWARD, OPTIMISER = "backward", "optimiser"


@dataclass(frozen=True)
class Part:
    """name: of the part. operations, bytes, floor: as ``Count``. seconds: typical ones."""

    name: str
    operations: int
    bytes: int
    floor: float
    seconds: float


@dataclass(frozen=True)
class Translation:
    """Seconds of a batch, with exemplars that all differ, and with one exemplar that was encoded before.

    parts: of the former. memory: the most bytes taken (see ``peak``), before: what was taken when it began.
    """

    batch: int
    precision: Precision
    different: Times
    repeating: Times
    parts: list[Part]
    memory: int
    before: int


@dataclass(frozen=True)
class Training:
    """Seconds and memory of a training step: everything but loading data. memory, before: as in Translation."""

    batch: int
    precision: Precision
    recompute: bool
    step: Times
    parts: list[Part]
    memory: int
    before: int


@dataclass(frozen=True)
class Subject:
    """What is measured: a model of ``config``, for the conditions of ``plugin``, on ``device``."""

    config: Config
    plugin: DatasetPlugin
    device: torch.device
    precision: Precision

    @property
    def size(self) -> Size:
        return self.config.data.size


def translation(subject: Subject, batch: int, machine: Machine, seconds: float = 5.0) -> Translation:
    """Measure ``translate-dir``'s own way from prepared conditions and photos to pictures in memory.

    seconds: that each of the two figures is repeated for.
    """
    with random_weights(subject) as file:
        before = reset_peak(subject.device)
        translator = Translator(file, subject.plugin, subject.precision, str(subject.device))
    conditions = list(random_conditions(batch, subject.size, subject.plugin.spec).numpy())
    photos = pictures(random_photos(batch, subject.size))

    def different() -> None:
        translator.translate(conditions, translator.encode(photos)).wait()

    same = translator.encode(photos[:1]) * batch
    parts = Parts(subject.device)
    watch = watching(parts, _modules(translator.model), [("warp", (network, "attention_warp"))])
    times, typical = _measured(different, parts, watch, machine, seconds)
    alike = repeated(lambda: translator.translate(conditions, same).wait(), subject.device, seconds, 2)
    return Translation(
        batch, subject.precision, times, Times.of(alike), typical, peak(subject.device), before
    )


def training(subject: Subject, machine: Machine, seconds: float = 5.0) -> Training:
    """Measure steps of ``fit`` in which all networks take part, on batches of the configuration's size."""
    config, spec, device = subject.config, subject.plugin.spec, subject.device
    before = reset_peak(device)
    phi = None if perceptual_choice(config) == "none" else random_vgg()
    trainer = Trainer(config, spec, device, subject.precision, 10**6, phi)
    data = random_batch(config.train.batch_size, config.data.size, spec)
    parts = Parts(device, whole=(BACKWARD, OPTIMISER))
    modules = [
        *_modules(trainer.net),
        *(("losses", m) for name, m in vars(trainer).items() if name.startswith("objective") and m),
        ("discriminator", trainer.discriminator),
        *([("VGG-19", phi)] if phi else []),
    ]
    functions: list[tuple[str, Function]] = [
        *(("warp", (place, "attention_warp")) for place in (network, objective)),
        (BACKWARD, (torch.autograd, "backward")),
    ]
    for optimiser in (trainer.optimiser, trainer.optimiser_d):
        functions += [(OPTIMISER, (optimiser, name)) for name in ("clear", "gradient_norm", "descend")]
    watch = watching(parts, modules, functions)
    times, typical = _measured(lambda: trainer.step(data), parts, watch, machine, seconds)
    return Training(
        config.train.batch_size,
        subject.precision,
        config.train.recompute,
        times,
        typical,
        peak(device),
        before,
    )


def difference(subject: Subject) -> dict[str, float]:
    """How far images of ``subject.precision`` are from those of fp32: on the scale from -1 to 1."""
    spec, device = subject.plugin.spec, subject.device
    net = _network(subject).to(device).eval()
    X = condition_planes(random_conditions(1, subject.size, spec).to(device), spec)
    Z = to_unit(random_photos(1, subject.size).to(device))
    with torch.inference_mode():
        exact = net(X, Z).image
        with autocast(device, subject.precision):
            made = net(X, Z).image
    gap = (made.float() - exact).abs()
    return {"max": gap.max().item(), "mean": gap.mean().item(), "deviation": exact.std().item()}


def _measured(
    run: Callable[[], object],
    parts: Parts,
    watch: AbstractContextManager[None],
    machine: Machine,
    seconds: float,
) -> tuple[Times, list[Part]]:
    """Count one run, which warms up too, then time others."""
    with watch:
        with Counter(parts, machine) as counter:
            run()
        parts.seconds()
        taken: list[dict[str, float]] = []

        def timed() -> None:
            run()
            taken.append(parts.seconds())

        times = repeated(timed, parts.device, seconds, 2)
    return Times.of(times), _parts(counter.found, taken)


def _parts(counts: Mapping[str, Count], taken: Sequence[Mapping[str, float]]) -> list[Part]:
    """In the order in which they were at work; what begins and ends a step, and what is in no part, last."""
    order = sorted(taken[0], key=lambda name: (name == OTHER, name == OPTIMISER))
    found = []
    for name in order:
        count = counts.get(name, Count())
        typical = Times.of([seconds[name] for seconds in taken]).median
        found.append(Part(name, count.operations, count.bytes, count.floor, typical))
    return found


def _modules(net: MCLNet) -> list[tuple[str, nn.Module]]:
    return [
        ("condition encoder", net.encode_condition),
        ("photo encoder", net.encode_photo),
        *([("shared tail", net.tail)] if isinstance(net, PublishedNet) else []),
        ("self-correlation map", net.correspondence),
        ("generator", net.generator),
    ]


def _network(subject: Subject) -> MCLNet:
    torch.manual_seed(0)
    return make_network(subject.config.model, subject.plugin.spec.channels, subject.size)


@contextmanager
def random_weights(subject: Subject) -> Iterator[Path]:
    """A weights file to read as any other."""
    header = WeightsHeader(subject.config, subject.plugin.spec, str(subject.plugin.version), step=0)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "random.safetensors")
        save_weights(file, _network(subject).state_dict(), header)
        yield file
