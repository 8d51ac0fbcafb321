"""--batch-size auto: a step's batch stays what it is, and is computed in as many parts as the memory asks for."""

from __future__ import annotations

from dataclasses import replace

import torch

from mcltool.core.config import Config
from mcltool.core.device import Precision, free_memory, is_out_of_memory
from mcltool.core.errors import UsageError
from mcltool.data.batch import random_batch
from mcltool.model.vgg import VGGFeatures
from mcltool.plugin.contract import ConditionSpec
from mcltool.train.estimate import estimate
from mcltool.train.trainer import Trainer

MARGIN = 1.4
"""What a step takes to what ``estimate`` counts: a third more was seen, for what layers take for a moment."""
USABLE = 0.9
"""Share of the free memory that may be taken."""
GIB = 2**30


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
                return candidate, _line(candidate, needed, free, each)
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


def _line(config: Config, needed: float, free: int, each: int) -> str:
    train = config.train
    how = "at once" if train.accumulate == 1 else f"in {train.accumulate} parts of {each // train.accumulate}"
    again = ", blocks computed again in the backward pass" if train.recompute else ""
    return f"batch {each} {how}{again}: takes about {needed / GIB:.1f} of {free / GIB:.1f} GiB free"
