"""``mcltool bench``: how fast a model translates and trains here, within a number of seconds."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from mcltool.core.config import Config, resolve
from mcltool.core.device import Precision, explaining_memory, free_memory, pick_device, pick_precision
from mcltool.core.errors import UsageError
from mcltool.core.pixels import Size
from mcltool.core.weights import WeightsHeader, save_weights
from mcltool.data.batch import random_batch, random_conditions, random_photos
from mcltool.model.build import make_network
from mcltool.model.vgg import random_vgg
from mcltool.plugin import registry as plugins
from mcltool.plugin.contract import DatasetPlugin
from mcltool.tools.bench.machine import (
    Budget,
    Machine,
    Times,
    measure_machine,
    peak,
    repeated,
    reset_peak,
    synchronise,
)
from mcltool.train.job import perceptual_choice
from mcltool.train.memory import estimate
from mcltool.train.trainer import Trainer
from mcltool.translate.translator import Translator

log = logging.getLogger(__name__)
GIB = 2**30
STEP, REACHED = 9, 0.5
"""Images that are translated in the time of a training step, and the share of the matrix rate that a model reaches:
as seen in docs/benchmarks.md, to tell what fits the time before it is tried."""


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

    @property
    def name(self) -> str:
        return (
            f"{self.config.preset} at {'x'.join(map(str, self.size))}, batch {self.config.train.batch_size}"
        )


@dataclass(frozen=True)
class Figure:
    """A measured piece of work. operations: of products and convolutions, a multiplication and an addition being two.
    memory: the most bytes taken (see ``peak``). before: bytes taken when it began."""

    times: Times
    operations: int
    memory: int
    before: int


@dataclass(frozen=True)
class Report:
    """What was measured, of what. figures: "different" and "repeating", batches translated with exemplars that all
    differ and with one that was encoded before; "step", of training. skipped: what did not fit the time, and why."""

    preset: str
    plugin: str
    size: Size
    channels: int
    batch: int
    precision: Precision
    device: str
    torch: str
    machine: Machine
    figures: dict[str, Figure]
    skipped: dict[str, str]


def bench(subject: Subject, train: bool = True, seconds: float = 60.0) -> Report:
    """Measure this machine with random weights and inputs, for about ``seconds``; needs no data."""
    budget = Budget(seconds)
    log.info("measuring the machine's matrix rates")
    machine = measure_machine(subject.device, budget)
    if subject.precision not in machine.matrix:
        there = ", ".join(machine.matrix)
        raise UsageError(
            f"--precision {subject.precision}: this device does not compute in it; it has {there}"
        )
    config, figures, skipped = subject.config, dict[str, Figure](), dict[str, str]()
    expected = image_operations(subject) / machine.rate(subject.precision) / REACHED
    work = {name: WORK[name] for name in WORK if train or name != "step"}
    for number, (name, (title, prepare, images)) in enumerate(work.items()):
        took = 2 * images * (figures["different"].times.median if figures else expected)
        if not budget.fits(took):
            skipped[name] = f"some {took:.0f} s, and {budget.left:.0f} of --seconds are left"
        elif name == "step" and (wanting := _memory_wanting(subject)):
            skipped[name] = f"{wanting}; take a smaller --batch-size or --size"
        else:
            log.info("%s: %s, %s", title, subject.name, subject.precision)
            with explaining_memory(f"with {subject.name}", "take a smaller --batch-size or --size"):
                figures[name] = measured(prepare, subject, budget.left / (len(work) - number))
            continue
        log.info("%s: skipped, %s", title, skipped[name])
    return Report(
        config.preset, config.plugin, subject.size, subject.plugin.spec.channels, config.train.batch_size,
        subject.precision, str(subject.device), str(torch.__version__), machine, figures, skipped,
    )  # fmt: skip


def measured(prepare: Callable[[Subject], Callable[[], object]], subject: Subject, seconds: float) -> Figure:
    """Count the operations of a first run, which warms up too, then repeat it: about ``seconds`` in all."""
    start, before = time.monotonic(), reset_peak(subject.device)
    run = prepare(subject)
    with FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter:
        run()
        synchronise(subject.device)
    times = repeated(run, subject.device, seconds - (time.monotonic() - start), 1)
    return Figure(Times.of(times), counter.get_total_flops(), peak(subject.device), before)


def different(subject: Subject) -> Callable[[], object]:
    """``translate-dir``'s own way from prepared conditions and photos, all different, to pictures in memory."""
    translator, conditions, photos = translating(subject)
    return lambda: translator.translate(conditions, translator.encode(photos))()


def repeating(subject: Subject) -> Callable[[], object]:
    """The same with one exemplar, encoded before."""
    translator, conditions, photos = translating(subject)
    same = translator.encode(photos[:1]) * len(photos)
    return lambda: translator.translate(conditions, same)()


def training(subject: Subject) -> Callable[[], object]:
    """A step of ``fit`` in which all networks take part, without loading data."""
    config, spec = subject.config, subject.plugin.spec
    phi = None if perceptual_choice(config) == "none" else random_vgg()
    trainer = Trainer(config, spec, subject.device, subject.precision, 10**6, phi)
    data = random_batch(config.train.batch_size, config.data.size, spec)
    return lambda: trainer.step(data)


WORK = {
    "different": ("translating, exemplars all different", different, 1),
    "repeating": ("translating, one exemplar", repeating, 1),
    "step": ("a training step", training, STEP),
}
"""What is measured, by name: its title, what prepares it, and what it takes in images, roughly."""


def image_operations(subject: Subject) -> int:
    """Operations of translating a batch, counted on tensors without content: nothing is computed."""
    batch, channels = subject.config.train.batch_size, subject.plugin.spec.channels
    with FakeTensorMode(), torch.no_grad(), torch.random.fork_rng(devices=[]):
        net = make_network(subject.config.model, channels, subject.size)
        with FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter:
            net(torch.empty(batch, channels, *subject.size), torch.empty(batch, 3, *subject.size))
    return int(counter.get_total_flops())


def _cpu_attention(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(q, k, v))  # type: ignore[no-untyped-call]


def _cpu_attention_backward(gradient: Any, q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(gradient, q, k, v))  # type: ignore[no-untyped-call]


CPU_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _cpu_attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _cpu_attention_backward,
}
"""What torch's counter lacks."""


def translating(subject: Subject) -> tuple[Translator, list[Any], list[Any]]:
    """A translator with random weights, and a batch of random conditions and photos."""
    with random_weights(subject) as file:
        translator = Translator(file, subject.plugin, subject.precision, str(subject.device))
    batch = subject.config.train.batch_size
    conditions: Tensor = random_conditions(batch, subject.size, subject.plugin.spec)
    photos = random_photos(batch, subject.size).permute(0, 2, 3, 1).contiguous()
    return translator, list(conditions.numpy()), list(photos.numpy())


@contextmanager
def random_weights(subject: Subject) -> Iterator[Path]:
    """A weights file to read as any other."""
    torch.manual_seed(0)
    net = make_network(subject.config.model, subject.plugin.spec.channels, subject.size)
    header = WeightsHeader(subject.config, subject.plugin.spec, str(subject.plugin.version), step=0)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "random.safetensors")
        save_weights(file, net.state_dict(), header)
        yield file


def the_subject(
    preset: str | None,
    size: Size | None,
    device: str | None,
    precision: str,
    batch: int,
    plugin: str = "ade20k",
    recompute: bool = False,
) -> Subject:
    """A model to measure, all networks of which are trained from the first step. preset: None takes the plugin's.

    Raises UsageError where the preset, the size, the precision or the batch is not available here.
    """
    dataset = plugins.load(plugin)
    settings: dict[str, Any] = {"train.batch_size": batch, "train.recompute": recompute}
    settings |= {"train.generator_start": 0.0, "train.gan_start": 0.0}
    if size:
        settings["data.size"] = size
    config = resolve(plugin, preset or dataset.preset, dataset.defaults, settings)
    place = pick_device(device)
    return Subject(config, dataset, place, pick_precision(precision, place))


def _memory_wanting(subject: Subject) -> str:
    """What a training step lacks of memory, as far as that is known; "" where it fits."""
    there, config = free_memory(subject.device), subject.config
    needed = estimate(config, subject.plugin.spec, subject.precision, perceptual_choice(config)).total
    if there is None or needed <= there:
        return ""
    return f"at least {needed / GIB:.1f} GiB are needed, and {there / GIB:.1f} are free"
