"""``mcltool bench``: check that the device can do what is asked, measure it, and gather the figures."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

from mcltool.core.config import Config, resolve
from mcltool.core.device import Precision, explaining_memory, pick_device, pick_precision
from mcltool.core.errors import UsageError
from mcltool.plugin import registry as plugins
from mcltool.plugin.contract import ConditionSpec
from mcltool.tools.bench.figures import Subject, Training, Translation, training, translation
from mcltool.tools.bench.inputs import Size
from mcltool.tools.bench.machine import Machine, measure_machine
from mcltool.tools.bench.memory import free
from mcltool.train.estimate import estimate
from mcltool.train.loop import perceptual_choice

log = logging.getLogger(__name__)
GIB = 2**30
SIDE_STEP = 32


@dataclass(frozen=True)
class Report:
    """What was measured, and of what. size: height and width in pixels. training: None where it was left out."""

    preset: str
    plugin: str
    size: Size
    channels: int
    device: str
    torch: str
    machine: Machine
    translation: Translation
    training: Training | None

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def bench(
    preset: str | None = None,
    size: Size | None = None,
    device: str | None = None,
    precision: str = "auto",
    batch: int = 1,
    plugin: str = "ade20k",
    train: bool = True,
    seconds: float = 5.0,
) -> Report:
    """Measure this machine with random weights and inputs; needs no data.

    preset: None takes the plugin's. size: None takes the preset's. seconds: that each figure is repeated for, though
    at least twice. Raises UsageError where the preset, the
    size, the precision or the batch is not to be had here, and says what is.
    """
    subject = the_subject(preset, size, device, precision, batch, plugin)
    config, spec = subject.config, subject.plugin.spec
    if train:
        check_memory(subject)
    log.info("measuring the machine")
    machine = measure_machine(subject.device)
    if subject.precision not in machine.matrix:
        raise UsageError(
            f"--precision {subject.precision}: not on this device; it has {', '.join(machine.matrix)}"
        )
    what = f"{config.preset} at {_text(subject.size)}, batch {batch}"
    with explaining_memory(f"with {what}", "take a smaller --size or --batch-size, or --no-training"):
        log.info("translating: %s, %s", what, subject.precision)
        translated = translation(subject, batch, machine, seconds)
        trained = None
        if train:
            log.info("training: %s, %s", what, subject.precision)
            trained = training(subject, machine, seconds)
    return Report(
        config.preset, config.plugin, subject.size, spec.channels, str(subject.device), str(torch.__version__),
        machine, translated, trained,
    )  # fmt: skip


def the_subject(
    preset: str | None,
    size: Size | None,
    device: str | None,
    precision: str,
    batch: int,
    plugin: str = "ade20k",
    recompute: bool = False,
) -> Subject:
    """A model to measure, all networks of which are trained from the first step. Raises UsageError."""
    dataset = plugins.load(plugin)
    for side in size or ():
        if side % SIDE_STEP or side < SIDE_STEP:
            below = max(SIDE_STEP, side // SIDE_STEP * SIDE_STEP)
            raise UsageError(
                f"--size {_text(size or ())}: sides are multiples of {SIDE_STEP}, as {below} or {below + SIDE_STEP}"
            )
    if batch < 1:
        raise UsageError(f"--batch-size {batch}: must be at least 1")
    settings: dict[str, Any] = {
        "train.batch_size": batch,
        "train.recompute": recompute,
        "train.generator_start": 0.0,
        "train.gan_start": 0.0,
    }
    if size:
        settings["data.size"] = size
    config = resolve(plugin, preset or dataset.preset, dataset.defaults, settings)
    place = pick_device(device)
    return Subject(config, dataset, place, pick_precision(precision, place))


def check_memory(subject: Subject) -> None:
    """Raise UsageError, saying what would fit, where a training step needs more memory than there is."""
    available = free(subject.device)
    needed = _needed(subject.config, subject.plugin.spec, subject.precision)
    if available is None or needed <= available:
        return
    ways = (
        option
        for option, smaller in _smaller(subject.config)
        if _needed(smaller, subject.plugin.spec, subject.precision) <= available
    )
    asked = f"{subject.config.preset} at {_text(subject.size)}, batch {subject.config.train.batch_size}"
    way_out = next(ways, "")
    raise UsageError(
        f"a training step of {asked} needs at least {needed / GIB:.1f} GiB, and {available / GIB:.1f} GiB are free; "
        f"this device can do {f'{way_out}, or ' if way_out else ''}--no-training"
    )


def _needed(config: Config, spec: ConditionSpec, precision: Precision) -> int:
    return estimate(config, spec, precision, perceptual_choice(config)).total


def _smaller(config: Config) -> Iterator[tuple[str, Config]]:
    """Smaller batches, then smaller sizes, with the options that ask for them."""
    batch, (height, width) = config.train.batch_size, config.data.size
    while batch > 1:
        batch //= 2
        yield f"--batch-size {batch}", config.changed({"train.batch_size": batch})
    while min(height, width) >= 2 * SIDE_STEP:
        height, width = (SIDE_STEP * (side // (2 * SIDE_STEP)) for side in (height, width))
        settings = {"train.batch_size": 1, "data.size": (height, width)}
        yield f"--batch-size 1 --size {_text((height, width))}", config.changed(settings)


def _text(size: Size | tuple[()]) -> str:
    return "x".join(map(str, size))
