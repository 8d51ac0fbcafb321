"""Random inputs that look like real ones to a network: regions of one class, smooth photos. They need no data set."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mcltool.core.pixels import Size, to_bytes, to_unit
from mcltool.data.batch import Batch
from mcltool.plugin.contract import ConditionSpec

CELL = 32
"""Pixels a side of a region."""


def random_conditions(count: int, size: Size, spec: ConditionSpec, seed: int = 0) -> Tensor:
    """(count, H, W) uint8 labels, or (count, K, H, W) float32 in [0, 1]."""
    draw = torch.Generator().manual_seed(seed)
    cells = _cells(size)
    if spec.kind == "labels":
        labels = torch.randint(spec.channels, (count, *cells), generator=draw, dtype=torch.uint8)
        return labels.repeat_interleave(CELL, 1).repeat_interleave(CELL, 2)[:, : size[0], : size[1]]
    planes = torch.rand(count, spec.channels, *cells, generator=draw)
    return F.interpolate(planes, size, mode="bilinear", align_corners=False)


def random_photos(count: int, size: Size, seed: int = 0) -> Tensor:
    """(count, 3, H, W) uint8."""
    draw = torch.Generator().manual_seed(seed)
    coarse = 2 * torch.rand(count, 3, *_cells(size), generator=draw) - 1
    fine = 0.1 * torch.randn(count, 3, *size, generator=draw)
    return to_bytes(F.interpolate(coarse, size, mode="bilinear", align_corners=False) + fine)


def _cells(size: Size) -> Size:
    return -(-size[0] // CELL), -(-size[1] // CELL)


def random_batch(count: int, size: Size, spec: ConditionSpec) -> Batch:
    """A batch of ``count`` samples, whose photo is the right answer."""
    conditions = [random_conditions(count, size, spec, seed) for seed in (0, 1)]
    Y, Z, P = (to_unit(random_photos(count, size, seed)) for seed in (0, 1, 2))
    return Batch(conditions[0], Y, Z, P, conditions[1], torch.ones(count, dtype=torch.bool))


def pictures(photos: Tensor) -> list[NDArray[Any]]:
    """Each of ``random_photos`` as (H, W, 3) uint8."""
    return list(np.ascontiguousarray(photos.permute(0, 2, 3, 1).numpy()))
