"""Estimates the parameters and memory of a run without running it, and fits its batch into memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mcltool.core.config import Config
from mcltool.core.device import Precision, autocast, free_memory, is_out_of_memory
from mcltool.core.errors import UsageError
from mcltool.data.batch import random_batch
from mcltool.model.blocks import divide_by_spectral_norms
from mcltool.model.build import make_discriminator, make_network, recompute_blocks
from mcltool.model.vgg import VGGFeatures, random_vgg
from mcltool.plugin.contract import ConditionSpec
from mcltool.train.objective import AdversarialObjective, FeatureObjective, GeneratorObjective
from mcltool.train.trainer import Trainer

FLOAT = 4
"""Bytes of a stored number: weights, gradients and moments are float32 in every precision."""
MARGIN = 1.4
"""Ratio of what a step takes to what ``estimate`` counts: up to a third more was seen, for temporaries."""
USABLE = 0.9
"""Share of the free memory that may be taken."""
GIB = 2**30


@dataclass(frozen=True)
class Estimate:
    """parameters: by network. memory: bytes by what they are for, in one process."""

    parameters: dict[str, int]
    memory: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.memory.values())


def estimate(
    config: Config, spec: ConditionSpec, precision: Precision, perceptual: str, world: int = 1
) -> Estimate:
    """Count the memory that a step keeps, on tensors with a shape but no content: nothing is computed or allocated.

    Temporaries of layers are not counted: on the machines seen they add up to a third.
    """
    train = config.train
    size = train.batch_size // (train.accumulate * world)
    with FakeTensorMode(), torch.random.fork_rng(devices=[]):
        net = make_network(config.model, spec.channels, config.data.size)
        divide_by_spectral_norms(net)
        discriminator = make_discriminator(config.model, spec.channels)
        parameters = {
            "encoders and correspondence": _count(net) - _count(net.generator),
            "generator": _count(net.generator),
            "discriminator": _count(discriminator),
        }
        phi = None if perceptual == "none" else random_vgg()
        if train.recompute:
            recompute_blocks(net)
        x = random_batch(size, config.data.size, spec)
        with autocast(torch.device("cpu"), precision):
            with _kept(net) as of_net:
                _, image = GeneratorObjective(net, config.loss, spec)(x, 0)
            image = image.detach().requires_grad_()
            with _kept(discriminator) as of_discriminator:
                AdversarialObjective(discriminator, config.loss)(x, image)
            with _kept(phi) as of_phi:
                if phi:
                    FeatureObjective(phi, config.loss)(x, image)
        # The image's judges come one after the other.
        activations = sum(of_net.values()) + max(sum(of_discriminator.values()), sum(of_phi.values()))
    trained = sum(parameters.values())
    memory = {
        "weights": FLOAT * trained,
        "gradients": FLOAT * trained,
        "moments of Adam": 2 * FLOAT * trained,
        "averaged weights": FLOAT * _count(net),
        "feature network": FLOAT * _count(phi) if phi else 0,
        "activations": activations,
    }
    return Estimate(parameters, {name: size for name, size in memory.items() if size})


@contextmanager
def _kept(module: nn.Module | None) -> Iterator[dict[int, int]]:
    """Bytes of each storage that autograd keeps for the backward pass, by the storage's identity; without the
    parameters of ``module``."""
    found: dict[int, int] = {}
    own = {_storage(p) for p in module.parameters()} if module else set()
    alive: list[Any] = []

    def pack(tensor: Tensor) -> Tensor:
        alive.append(tensor)  # an identity is only unique while its owner lives
        if _storage(tensor) not in own:
            found[_storage(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield found


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def fitted(
    config: Config,
    spec: ConditionSpec,
    device: torch.device,
    precision: Precision,
    phi: VGGFeatures | None,
    world: int = 1,
) -> tuple[Config, str]:
    """``config`` with train.accumulate and train.recompute as the memory needs them, and a line that says so.

    The fewest parts that fit, and only where single samples do not, parts whose blocks are computed again. On a CPU by
    an estimate of a step's memory; on a GPU steps are tried. Raises UsageError where nothing fits.
    """
    free = free_memory(device)
    if free is None:
        return (
            config,
            f"batch {config.train.batch_size}: left as it is, since the free memory is unknown here",
        )
    train, each, needed = config.train, config.train.batch_size // world, 0.0
    for recompute in sorted({train.recompute, True}):
        for parts in (n for n in range(1, each + 1) if each % n == 0):
            candidate = replace(config, train=replace(train, accumulate=parts, recompute=recompute))
            needed = (
                MARGIN * estimate(candidate, spec, precision, "none" if phi is None else "vgg", world).total
            )
            fits = needed <= USABLE * free
            if device.type == "cuda" and needed <= MARGIN * free:  # what is estimated is a lower bound
                fits = _try_step(candidate, spec, device, precision, phi, world)
            if fits:
                how = "at once" if parts == 1 else f"in {parts} parts of {each // parts}"
                again = ", blocks computed again in the backward pass" if recompute else ""
                takes = f"takes about {needed / GIB:.1f} of {free / GIB:.1f} GiB free"
                return candidate, f"batch {each} {how}{again}: {takes}"
    raise UsageError(
        f"--batch-size auto: even one sample at a time takes about {needed / GIB:.1f} GiB, and {free / GIB:.1f} are "
        "free; lower --size, or choose a smaller --preset"
    )


def _try_step(
    config: Config,
    spec: ConditionSpec,
    device: torch.device,
    precision: Precision,
    phi: VGGFeatures | None,
    world: int,
) -> bool:
    """Whether a step of all networks, on random samples, fits."""
    train = replace(
        config.train, generator_start=0.0, gan_start=0.0, compile=False, start_from="", freeze=False
    )
    try:
        trainer = Trainer(replace(config, train=train), spec, device, precision, 1, phi)
        batch = random_batch(train.batch_size // (world * train.accumulate), config.data.size, spec)
        trainer.step(*[batch] * train.accumulate)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        trainer = None  # type: ignore[assignment]
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return True
