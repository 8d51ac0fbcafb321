"""From what was read to what the network sees, and from its output back to a picture."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcltool.data.batches import condition_planes, to_bytes, to_unit
from mcltool.data.contract import Condition, DatasetPlugin
from mcltool.data.resize import Size, resize_condition, resize_photo
from mcltool.errors import DataError

MULTIPLE = 32
"""Sides that the network takes are multiples of this."""
MAX_ASPECT = 8.0
"""Longer pictures are refused: memory grows with the long side, and they are rarely meant."""


def output_size(size: Size, short_side: int) -> Size:
    """``size`` scaled to the short side ``short_side``, the long side rounded to whole pixels.

    Raises DataError for a side of 0 or an aspect above MAX_ASPECT.
    """
    height, width = size
    if min(size) < 1 or max(size) > MAX_ASPECT * min(size):
        raise DataError(f"{width} x {height} pixels: expected at most {MAX_ASPECT:g} times as long as wide")
    long_side = round(short_side * max(size) / min(size))
    return (short_side, long_side) if height <= width else (long_side, short_side)


def network_size(size: Size, short_side: int) -> Size:
    """As ``output_size``, each side rounded to a multiple of 32: the aspect is kept within 16 pixels."""
    height, width = output_size(size, short_side)
    return _to_multiple(height), _to_multiple(width)


def prepare_condition(plugin: DatasetPlugin, condition: Condition, size: Size) -> Tensor:
    """Planes (1, K, H, W) float32 of ``condition`` at ``size``, K = plugin.spec.channels.

    Raises DataError where what the plugin renders does not fit its spec.
    """
    rendered = plugin.render(resize_condition(condition, size))
    spec = plugin.spec
    if spec.kind == "labels":
        if rendered.shape != size or int(rendered.max()) >= spec.channels:
            raise DataError(
                f"{plugin.name}: expected {size} labels below {spec.channels}, got {rendered.shape}"
            )
        planes = torch.tensor(rendered)
    else:
        if rendered.shape != (*size, spec.channels):
            raise DataError(
                f"{plugin.name}: expected {(*size, spec.channels)} channels, got {rendered.shape}"
            )
        planes = torch.tensor(rendered).permute(2, 0, 1)
    return condition_planes(planes[None], spec)


def prepare_photo(photo: NDArray[np.uint8], short_side: int) -> Tensor:
    """An exemplar (H, W, 3) uint8 as the network takes it: (1, 3, H', W') float32 in [-1, 1]."""
    height, width = photo.shape[:2]
    resized = resize_photo(photo, network_size((height, width), short_side))
    return to_unit(torch.tensor(resized).permute(2, 0, 1)[None])


def finish(image: Tensor, size: Size) -> NDArray[np.uint8]:
    """The network's output (1, 3, H, W) in [-1, 1] as (*size, 3) uint8."""
    picture = to_bytes(image[0]).permute(1, 2, 0).cpu().numpy()
    return resize_photo(np.ascontiguousarray(picture), size)


def _to_multiple(side: int) -> int:
    return max(1, round(side / MULTIPLE)) * MULTIPLE
