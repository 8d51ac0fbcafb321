"""Seconds, operations and memory of translating and of a training step, part by part, with random weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from parts import OTHER, Count, Counter, Parts, Roof, watching
from torch import nn

from mcltool.core.device import autocast
from mcltool.core.pixels import to_unit
from mcltool.data.batch import condition_planes, random_batch, random_conditions, random_photos
from mcltool.model.build import make_network
from mcltool.model.network import MCLNet
from mcltool.model.vgg import random_vgg
from mcltool.tools.bench.machine import Times, peak, repeated, reset_peak
from mcltool.tools.bench.run import Subject, translating
from mcltool.train.job import perceptual_choice
from mcltool.train.trainer import Trainer


@dataclass(frozen=True)
class Part:
    """name: of the part. operations, bytes, floor: as ``Count``. seconds: typical ones."""

    name: str
    operations: int
    bytes: int
    floor: float
    seconds: float


def translation(subject: Subject, roof: Roof, seconds: float = 5.0) -> dict[str, Any]:
    """Seconds of a batch with exemplars that all differ, part by part, and with one that was encoded before."""
    before = reset_peak(subject.device)
    translator, conditions, photos = translating(subject)

    def different() -> None:
        translator.translate(conditions, translator.encode(photos))()

    same = translator.encode(photos[:1]) * len(photos)
    times, parts = _measured(different, subject, _modules(translator.model), roof, seconds)
    alike = repeated(lambda: translator.translate(conditions, same)(), subject.device, seconds, 2)
    found = {
        "different": asdict(times),
        "repeating": asdict(Times.of(alike)),
        "parts": [asdict(p) for p in parts],
    }
    return found | _facts(subject, before)


def training(subject: Subject, roof: Roof, seconds: float = 5.0) -> dict[str, Any]:
    """Seconds of steps of ``fit`` in which all networks take part: everything but loading data."""
    config, spec, device = subject.config, subject.plugin.spec, subject.device
    before = reset_peak(device)
    phi = None if perceptual_choice(config) == "none" else random_vgg()
    trainer = Trainer(config, spec, device, subject.precision, 10**6, phi)
    data = random_batch(config.train.batch_size, config.data.size, spec)
    modules = [
        *_modules(trainer.net),
        ("discriminator", trainer.discriminator),
        *([("VGG-19", phi)] if phi else []),
    ]
    times, parts = _measured(lambda: trainer.step(data), subject, modules, roof, seconds)
    found = {"step": asdict(times), "parts": [asdict(p) for p in parts], "recompute": config.train.recompute}
    return found | _facts(subject, before)


def difference(subject: Subject) -> dict[str, float]:
    """How far images of ``subject.precision`` are from those of fp32: on the scale from -1 to 1."""
    spec, device = subject.plugin.spec, subject.device
    torch.manual_seed(0)
    net = make_network(subject.config.model, spec.channels, subject.size).to(device).eval()
    X = condition_planes(random_conditions(1, subject.size, spec).to(device), spec)
    Z = to_unit(random_photos(1, subject.size).to(device))
    with torch.inference_mode():
        exact = net(X, Z).image
        with autocast(device, subject.precision):
            made = net(X, Z).image
    gap = (made.float() - exact).abs()
    return {"max": gap.max().item(), "mean": gap.mean().item(), "deviation": exact.std().item()}


def _facts(subject: Subject, before: int) -> dict[str, Any]:
    facts = {"batch": subject.config.train.batch_size, "precision": subject.precision}
    return facts | {"memory": peak(subject.device), "before": before}


def _measured(
    run: Callable[[], object],
    subject: Subject,
    modules: Sequence[tuple[str, nn.Module]],
    roof: Roof,
    seconds: float,
) -> tuple[Times, list[Part]]:
    """Count one run, which warms up too, then time others."""
    parts = Parts(subject.device)
    with watching(parts, modules):
        with Counter(parts, roof) as counter:
            run()
        parts.seconds()
        taken: list[dict[str, float]] = []

        def timed() -> None:
            run()
            taken.append(parts.seconds())

        times = repeated(timed, parts.device, seconds, 2)
    return Times.of(times), _parts(counter.found, taken)


def _parts(counts: Mapping[str, Count], taken: Sequence[Mapping[str, float]]) -> list[Part]:
    """In the order in which they were at work; what is in no part, last."""
    found = []
    for name in sorted(taken[0], key=lambda name: name == OTHER):
        count = counts.get(name, Count())
        typical = Times.of([seconds[name] for seconds in taken]).median
        found.append(Part(name, count.operations, count.bytes, count.floor, typical))
    return found


def _modules(net: MCLNet) -> list[tuple[str, nn.Module]]:
    return [
        ("condition encoder", net.encode_condition),
        ("photo encoder", net.encode_photo),
        ("self-correlation map", net.correspondence),
        ("generator", net.generator),
    ]
