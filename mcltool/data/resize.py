"""Sizes of photos and conditions: resizing, which is fixed arithmetic, and which sizes belong together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mcltool.core.config import DataConfig
from mcltool.plugin.contract import Condition

Size = tuple[int, int]
"""Height, width in pixels."""
Photo = NDArray[np.uint8]
"""(H, W, 3) RGB."""

AT_ONCE = 4
"""Channels; OpenCV averages no more of them in one go."""

ASPECT_TOLERANCE = 0.01
"""Share by which the aspects of a photo and its condition may differ: rounding. DeepFashion's photos of 1101 x 750
have poses on a canvas of 256 x 176, which is 0.93% apart."""


def resize_photo(photo: NDArray[Any], size: Size) -> NDArray[Any]:
    """``photo`` (H, W) or (H, W, C) at ``size``: averaged where no side grows, else interpolated linearly.

    A photo that has the size already is returned itself.
    """
    shrinks = size[0] <= photo.shape[0] and size[1] <= photo.shape[1]
    return _resize(photo, size, cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def resize_labels(labels: NDArray[Any], size: Size) -> NDArray[Any]:
    """``labels`` (H, W) or (H, W, C) at ``size`` by nearest neighbour: no value appears that was not there.

    Labels that have the size already are returned themselves.
    """
    # The exact kind samples at pixel centres, as the photo's interpolation does; plain nearest does not.
    return _resize(labels, size, cv2.INTER_NEAREST_EXACT)


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


def _resize(image: NDArray[Any], size: Size, interpolation: int) -> NDArray[Any]:
    if image.shape[:2] == size:
        return image
    if image.ndim == 3 and image.shape[2] > AT_ONCE:
        starts = range(0, image.shape[2], AT_ONCE)
        some = [_resize(image[..., start : start + AT_ONCE], size, interpolation) for start in starts]
        return np.concatenate(some, 2)
    resized: NDArray[Any] = cv2.resize(image, size[::-1], interpolation=interpolation)
    return resized.reshape(*size, *image.shape[2:])  # OpenCV drops a single channel


def load_size(config: DataConfig) -> Size:
    """What pictures are made to cover before the crop; a pack holds them at this size."""
    height, width = (round(config.load_scale * side) for side in config.size)
    return height, width


def read_short_side(config: DataConfig) -> int:
    """Short side in pixels below which a plugin must not shrink what it reads, whatever its aspect."""
    return max(load_size(config))


def same_aspect(photo: tuple[int, int], condition: tuple[int, int]) -> bool:
    """Whether two sizes (height, width) can be of one picture at two resolutions: but for ASPECT_TOLERANCE, or for one
    pixel of the smaller, where that is more."""
    across, down = photo[0] * condition[1], photo[1] * condition[0]
    return abs(across - down) <= max(ASPECT_TOLERANCE * max(across, down), *photo, *condition)


def cover(photo: Photo, condition: Condition, size: Size) -> tuple[Photo, Condition]:
    """Bring both to one size that covers ``size`` (height, width) and keeps the photo's aspect.

    What covers it exactly already is returned itself.
    """
    height, width = photo.shape[:2]
    ratio = max(size[0] / height, size[1] / width)
    common = max(size[0], round(height * ratio)), max(size[1], round(width * ratio))
    return resize_photo(photo, common), resize_condition(condition, common)
