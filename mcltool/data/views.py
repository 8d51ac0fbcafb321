"""Views: a photo with its condition, read and checked. No torch here: what only reads starts faster without."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcltool.core.errors import DataError
from mcltool.core.images import photo_orientation
from mcltool.core.patience import limited
from mcltool.core.pixels import Photo, Size, same_aspect
from mcltool.plugin.contract import Condition, DatasetPlugin, Sample, rendered

View = tuple[Photo, Condition]
"""A photo and its condition, moved alike."""


def read_view(plugin: DatasetPlugin, sample: Sample, short_side: int) -> View:
    """A sample's photo and condition as its plugin reads them (see DatasetPlugin.photo).

    Raises DataError for what cannot be read, and where the two are not of one picture.
    """
    with limited(f"{plugin.name}: reading sample {sample.id}"):
        photo, condition = plugin.photo(sample, short_side), plugin.condition(sample, short_side)
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8:
        raise DataError(f"{plugin.name}: photo() gave {photo.shape} {photo.dtype}, expected (H, W, 3) uint8")
    if cause := mismatch(plugin, sample, photo.shape[:2], condition.size):
        raise DataError(cause)
    return photo, condition


def mismatch(plugin: DatasetPlugin, sample: Sample, photo: Size, condition: Size) -> str:
    """Why a photo and a condition of these sizes cannot be of one picture; "" where they can."""
    if same_aspect(photo, condition):
        return ""
    (high, wide), (height, width) = photo, condition
    cause = (
        f"{sample.photo or sample.id}: the photo is {wide} x {high} pixels and its condition {width} x {height}: "
        "expected the same picture, but their aspects differ"
    )
    turned = (
        plugin.follow_exif is not False and same_aspect((wide, high), condition) and orientation(sample) > 4
    )
    return (
        f"{cause}; the photo's EXIF orientation turns it, --no-exif takes it as it is stored"
        if turned
        else cause
    )


def orientation(sample: Sample) -> int:
    """The EXIF orientation of a sample's photo; 1, upright, where nothing is said."""
    try:
        return photo_orientation(sample.photo) if sample.photo else 1
    except DataError:
        return 1


def device_input(plugin: DatasetPlugin, condition: Condition) -> NDArray[Any]:
    """What goes to the device of a condition: its points (K, 2) float32 where the plugin draws them there (see
    DatasetPlugin.draw_points), else its planes: (H, W) uint8 labels, or (C, H, W) float32 in [0, 1].

    Raises DataError where that is not what the plugin's spec and the contract say.
    """
    if plugin.draw_points is None:
        planes = rendered(plugin, condition)
        return planes if planes.ndim == 2 else planes.transpose(2, 0, 1)
    points = condition.points
    if points is None or condition.raster is not None or points.ndim != 2 or points.shape[1] != 2:
        raise DataError(f"{plugin.name}: draw_points() needs conditions of points alone, (K, 2) float32")
    return points.astype(np.float32, copy=False)
