"""Geometry of photos and conditions; the only module that imports albumentations.

Resizing is fixed arithmetic (mcltool.data.resize); what is random (crop, mirror, affine) is an albumentations
Compose that is seeded anew for each sample, so that a sample's geometry is a function of its seed and of
nothing before.

Points are x, y in pixels with whole numbers at pixel centres: the centre of the first pixel is (0, 0) and a
picture W wide goes from -0.5 to W - 0.5. Mirroring also exchanges what a condition's ``mirror`` pairs: the
left hand of a mirrored person looks like a right one.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mcltool.config import DataConfig
from mcltool.data.contract import Condition
from mcltool.data.resize import Size, resize_condition, resize_photo

Photo = NDArray[np.uint8]
"""(H, W, 3) RGB."""

# The augmented copy: enough that a position has to be found by what it shows, not by where it is, and little
# enough that most of the picture stays in view. Each is drawn evenly between the two values.
ROTATION = (-20.0, 20.0)
"""Degrees."""
SCALE = (0.8, 1.25)
TRANSLATION = (-0.1, 0.1)
"""Shares of width and of height, drawn apart."""
SHEAR = (-8.0, 8.0)
"""Degrees along x and along y, drawn apart."""

ASPECT_TOLERANCE = 1.05
"""Photo and condition can be of one picture where their aspects differ by at most this factor (rounding)."""


def load_size(config: DataConfig) -> Size:
    """What pictures are made to cover before the crop; a pack holds them at this size."""
    height, width = (round(config.load_scale * side) for side in config.size)
    return height, width


def read_short_side(config: DataConfig) -> int:
    """Short side in pixels below which a plugin must not shrink what it reads, whatever its aspect."""
    return max(load_size(config))


def same_aspect(photo: tuple[int, int], condition: tuple[int, int]) -> bool:
    """Whether two sizes (height, width) can be of one picture at two resolutions."""
    stretch = (condition[0] * photo[1]) / (condition[1] * photo[0])
    return 1 / ASPECT_TOLERANCE <= stretch <= ASPECT_TOLERANCE


def cover(photo: Photo, condition: Condition, size: Size) -> tuple[Photo, Condition]:
    """Bring both to one size that covers ``size`` (height, width) and keeps the photo's aspect.

    What covers it exactly already is returned itself.
    """
    height, width = photo.shape[:2]
    ratio = max(size[0] / height, size[1] / width)
    common = max(size[0], round(height * ratio)), max(size[1], round(width * ratio))
    return resize_photo(photo, common), resize_condition(condition, common)


def training_geometry(
    photo: Photo, condition: Condition, config: DataConfig, seed: int
) -> tuple[Photo, Condition]:
    """Resize to cover ``load_scale * size``, crop to ``size`` at random, mirror half of the time if ``flip``.

    photo: (h, w, 3) uint8. condition: of the same picture (see ``same_aspect``), at any resolution. Both are
    returned at config.size (height, width), moved alike; points may lie outside, absent ones stay NaN. The
    given arrays are not changed, but may be what is returned.
    """
    photo, condition = cover(photo, condition, load_size(config))
    crop = config.size if condition.size != config.size else None
    if crop is None and not config.flip:
        return photo, condition
    return _apply(_crop_and_flip(crop, config.flip), photo, condition, seed)


def evaluation_geometry(photo: Photo, condition: Condition, size: tuple[int, int]) -> tuple[Photo, Condition]:
    """Resize to cover ``size`` (height, width) and crop the centre; otherwise as ``training_geometry``."""
    photo, condition = cover(photo, condition, size)
    if condition.size == size:
        return photo, condition
    return _apply(_centre_crop(size), photo, condition, 0)


def pseudo_exemplar(photo: Photo, seed: int, flip: bool = False) -> Photo:
    """A geometrically augmented copy of ``photo`` (H, W, 3), the same size; its border is reflected.

    flip: mirror half of the time as well.
    """
    return _apply(_affine(flip), photo, Condition(photo.shape[:2]), seed)[0]


def pseudo_view(photo: Photo, condition: Condition, seed: int, flip: bool = False) -> tuple[Photo, Condition]:
    """``pseudo_exemplar`` with the condition (at the photo's size) taking the same way.

    Points are not reflected: each goes where it belongs, outside the picture too.
    """
    mirror = condition.mirror if condition.points is None else ()  # it is of the points where there are any
    raster = replace(condition, points=None, mirror=mirror)
    photo, moved = _apply(_affine(flip, smooth=condition.smooth), photo, raster, seed)
    if condition.points is not None:
        # albumentations makes further points out of reflected borders: points go through a twin of the
        # transform that differs in the border alone.
        alone = replace(condition, raster=None)
        blank = np.zeros(condition.size, np.uint8)
        _, twin = _apply(_affine(flip, reflect=False), blank, alone, seed)
        moved = replace(moved, points=twin.points, mirror=twin.mirror)
    return photo, moved


def _apply(transform: Any, photo: Photo, condition: Condition, seed: int) -> tuple[Photo, Condition]:
    """One seeded call; what the condition lacks is left out of it."""
    transform.set_random_seed(seed)
    given: dict[str, Any] = {"image": photo}
    if condition.raster is not None:
        given["mask"] = condition.raster
    if condition.points is not None:
        given["keypoints"] = condition.points
    moved = transform(**given)
    image = moved["image"]
    size, raster, points = image.shape[:2], moved.get("mask"), moved.get("keypoints")
    condition = replace(condition, size=size, raster=raster, points=points)
    mirrored = any(name == "HorizontalFlip" for name, _ in moved["applied_transforms"])
    return image, _exchange_sides(condition) if mirrored else condition


def _exchange_sides(condition: Condition) -> Condition:
    """Let the pairs of ``condition.mirror`` change places."""
    if not condition.mirror:
        return condition
    one, other = (list(side) for side in zip(*condition.mirror, strict=True))
    points, raster = condition.points, condition.raster
    if points is not None:
        points = points.copy()
        points[one + other] = points[other + one]
    elif raster is not None:
        order = np.arange(256 if raster.ndim == 2 else raster.shape[2], dtype=np.uint8)
        order[one + other] = order[other + one]
        raster = order[raster] if raster.ndim == 2 else np.ascontiguousarray(raster[..., order])
    return replace(condition, points=points, raster=raster)


@cache
def _albumentations() -> Any:
    """The library, imported on first use (it takes seconds) and kept from going online for its version."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    import albumentations

    return albumentations


def _compose(steps: list[Any]) -> Any:
    A = _albumentations()
    keep_outside = A.KeypointParams(format="xy", remove_invisible=False)
    return A.Compose(steps, keypoint_params=keep_outside, save_applied_params=True)


# Building a Compose takes longer than many calls of it: one a process and setting.


@cache
def _crop_and_flip(crop: tuple[int, int] | None, flip: bool) -> Any:
    A = _albumentations()
    steps = [A.RandomCrop(*crop)] if crop else []
    return _compose([*steps, A.HorizontalFlip(p=0.5)] if flip else steps)


@cache
def _centre_crop(size: tuple[int, int]) -> Any:
    return _compose([_albumentations().CenterCrop(*size)])


@cache
def _affine(flip: bool, reflect: bool = True, smooth: bool = False) -> Any:
    A = _albumentations()
    affine = A.Affine(
        rotate=ROTATION,
        scale=SCALE,
        keep_ratio=True,
        translate_percent=TRANSLATION,
        shear=SHEAR,
        mask_interpolation=cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST,
        border_mode=cv2.BORDER_REFLECT_101 if reflect else cv2.BORDER_CONSTANT,
        p=1.0,
    )
    return _compose([affine, A.HorizontalFlip(p=0.5)] if flip else [affine])
