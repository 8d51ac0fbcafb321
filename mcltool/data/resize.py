"""Resizing of photos and conditions, one for training and for translate-dir. Fixed arithmetic, no chance.

Sizes are (height, width) in pixels. Every kind of resizing here samples at pixel centres, so that photo,
raster and points stay on one another: the centre of the first pixel is (0, 0), a picture W wide goes from
-0.5 to W - 0.5.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mcltool.data.contract import Condition

Size = tuple[int, int]
"""Height, width in pixels."""


def resize_photo(photo: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """``photo`` (H, W) or (H, W, C) at ``size``: averaged where no side grows, else interpolated linearly.

    A photo that has the size already is returned itself.
    """
    shrinks = size[0] <= photo.shape[0] and size[1] <= photo.shape[1]
    return _resize(photo, size, cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def resize_labels(labels: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
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


def _resize(image: NDArray[np.uint8], size: Size, interpolation: int) -> NDArray[np.uint8]:
    if image.shape[:2] == size:
        return image
    resized: NDArray[Any] = cv2.resize(image, size[::-1], interpolation=interpolation)
    return np.asarray(resized, np.uint8).reshape(*size, *image.shape[2:])  # OpenCV drops a single channel
