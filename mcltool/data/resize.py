"""Sizes of photos and conditions: resizing, which is fixed arithmetic, and which sizes belong together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mcltool.core.config import DataConfig
from mcltool.core.pixels import Photo, Size, resize_labels, resize_photo
from mcltool.plugin.contract import Condition


def resize_condition(condition: Condition, size: Size) -> Condition:
    """``condition`` on a canvas of ``size``: a smooth raster like a photo, others like labels, points scaled.

    Absent points (NaN) stay absent. The given condition is not changed; one of this size is returned itself.
    """
    if condition.size == size:
        return condition
    raster, points = condition.raster, condition.points
    if raster is not None:
        raster = resize_photo(raster, size) if condition.smooth else resize_labels(raster, size)
    if points is not None:
        scale = np.array([size[1] / condition.size[1], size[0] / condition.size[0]], np.float32)
        points = (points + np.float32(0.5)) * scale - np.float32(0.5)
    return replace(condition, size=size, raster=raster, points=points)


def load_size(config: DataConfig) -> Size:
    """What pictures are made to cover before the crop; a pack holds them at this size."""
    height, width = (round(config.load_scale * side) for side in config.size)
    return height, width


def read_short_side(config: DataConfig) -> int:
    """Short side in pixels below which a plugin must not shrink what it reads, whatever its aspect."""
    return max(load_size(config))


def cover(photo: Photo, condition: Condition, size: Size) -> tuple[Photo, Condition]:
    """Bring both to one size that covers ``size`` (height, width) and keeps the photo's aspect.

    What covers it exactly already is returned itself.
    """
    height, width = photo.shape[:2]
    ratio = max(size[0] / height, size[1] / width)
    common = max(size[0], round(height * ratio)), max(size[1], round(width * ratio))
    return resize_photo(photo, common), resize_condition(condition, common)
