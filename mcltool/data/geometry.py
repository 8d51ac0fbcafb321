"""How photos and conditions are sized, cropped, turned and mirrored; the only module that imports albumentations.

What is random is drawn by albumentations' transforms, all of a sample from one random state, so that a sample's
geometry is a function of its seed and of nothing before. What was drawn is put together to one matrix, and each array
is moved once.

Points are x, y in pixels with whole numbers at pixel centres: the centre of the first pixel is (0, 0) and a
picture W wide goes from -0.5 to W - 0.5. Mirroring also exchanges what a condition's ``mirror`` pairs: the
left hand of a mirrored person looks like a right one.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mcltool.core.config import DataConfig
from mcltool.core.pixels import Photo, Size, resize_photo
from mcltool.plugin.contract import Condition

Matrix = NDArray[np.float64]
"""(3, 3): from x, y, 1 of a picture to x, y, 1 of what it becomes."""

# The augmented copy: enough that a position has to be found by what it shows, not by where it is, and little
# enough that most of the picture stays in view. Each is drawn evenly between the two values.
ROTATION = (-20.0, 20.0)
"""Degrees."""
SCALE = (0.8, 1.25)
TRANSLATION = (-0.1, 0.1)
"""Shares of width and of height, drawn apart."""
SHEAR = (-8.0, 8.0)
"""Degrees along x and along y, drawn apart."""


class RandomState:
    """The random numbers of one sample: each is a function of ``seed`` and of what was drawn before."""

    def __init__(self, seed: int | Sequence[int]) -> None:
        self.numpy = np.random.default_rng(seed)
        self.python = random.Random(int(self.numpy.integers(1 << 63)))  # albumentations asks for both kinds

    def flips(self, flip: bool) -> bool:
        """True half of the time where ``flip``; draws nothing where not."""
        return flip and self.python.random() < 0.5

    def parameters(self, transform: Any, size: Size) -> dict[str, Any]:
        """What ``transform``, of albumentations, does to a picture of ``size`` this time."""
        transform.set_random_state(self.numpy, self.python)
        return dict(transform.get_params_dependent_on_data({"shape": (*size, 3)}, {}))


def load_size(config: DataConfig) -> Size:
    """What pictures are made to cover before the crop; a pack holds them at this size."""
    height, width = (round(config.load_scale * side) for side in config.size)
    return height, width


def cover(photo: Photo, condition: Condition, size: Size) -> tuple[Photo, Condition]:
    """Bring both to one size that covers ``size`` (height, width) and keeps the photo's aspect.

    What covers it exactly already is returned itself.
    """
    height, width = photo.shape[:2]
    ratio = max(size[0] / height, size[1] / width)
    common = max(size[0], round(height * ratio)), max(size[1], round(width * ratio))
    return resize_photo(photo, common), condition.resized(common)


def training_geometry(
    photo: Photo, condition: Condition, config: DataConfig, state: RandomState, augment: bool = False
) -> tuple[Photo, Condition]:
    """Resize to cover ``load_scale * size``, crop to ``size`` at random, mirror half of the time if ``flip``.

    photo: (h, w, 3) uint8. condition: of the same picture (see ``same_aspect``), at any resolution. augment: turn,
    scale, shift and shear what was cropped (see ROTATION and the like); what comes in from outside the picture is
    reflected, but points are not: each goes where it belongs. Both are returned at config.size (height, width),
    moved alike; points may lie outside, absent ones stay NaN. The given arrays are not changed, but may be what
    is returned.
    """
    photo, condition = cover(photo, condition, load_size(config))
    left, top = state.parameters(_crop(config.size), condition.size)["crop_coords"][:2]
    matrix = _shift(-left, -top)
    if augment:
        matrix = state.parameters(_affine(), config.size)["matrix"] @ matrix
    return _move(photo, condition, matrix, config.size, state.flips(config.flip))


def evaluation_geometry(photo: Photo, condition: Condition, size: Size) -> tuple[Photo, Condition]:
    """Resize to cover ``size`` (height, width) and crop the centre; otherwise as ``training_geometry``."""
    photo, condition = cover(photo, condition, size)
    top, left = ((condition.size[axis] - size[axis]) // 2 for axis in (0, 1))
    return _move(photo, condition, _shift(-left, -top), size, mirrored=False)


def augmented_target(size: Size, flip: bool, state: RandomState) -> NDArray[np.float32]:
    """Where an augmented copy of a photo of ``size`` takes its pixels from, drawn as in ``training_geometry``.

    Returns a (2, 3) matrix, from x, y, 1 of the copy to x, y of the photo: the copy is made on the device.
    flip: it is mirrored half of the time as well.
    """
    matrix = state.parameters(_affine(), size)["matrix"]
    if state.flips(flip):
        matrix = np.array([[-1, 0, size[1] - 1], [0, 1, 0], [0, 0, 1]], np.float64) @ matrix
    return np.linalg.inv(matrix)[:2].astype(np.float32)


def _shift(x: int, y: int) -> Matrix:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], np.float64)


def _move(
    photo: Photo, condition: Condition, matrix: Matrix, size: Size, mirrored: bool
) -> tuple[Photo, Condition]:
    """Both at ``size``: moved by ``matrix``, and then perhaps mirrored."""
    raster, points = condition.raster, condition.points
    photo = _warp(photo, matrix, size, smooth=True)
    if raster is not None:
        raster = _warp(raster, matrix, size, condition.smooth)
    if points is not None:
        points = (points @ matrix[:2, :2].T + matrix[:2, 2]).astype(np.float32)
    moved = replace(
        condition, size=size, raster=raster, points=points, turned=_turned(condition, matrix[:2, :2])
    )
    return (_flip(photo), _mirror(moved)) if mirrored else (photo, moved)


def _turned(condition: Condition, linear: Matrix) -> Matrix | None:
    """Condition.turned after another movement; None as long as nothing was turned."""
    before = np.eye(2) if condition.turned is None else condition.turned
    after = linear @ before
    return None if (after == np.eye(2)).all() else after


def _warp(image: NDArray[Any], matrix: Matrix, size: Size, smooth: bool) -> NDArray[Any]:
    """(H, W) or (H, W, C). A matrix that does nothing but shift by whole pixels takes a window, not a copy."""
    if (matrix[:2, :2] == np.eye(2)).all():
        left, top = (-matrix[:2, 2]).astype(int)
        return image[top : top + size[0], left : left + size[1]]
    affine = _affine()
    apply = affine.apply if smooth else affine.apply_to_mask
    return np.asarray(apply(image, matrix=matrix, output_shape=size))


def _mirror(condition: Condition) -> Condition:
    """Left and right exchanged, and the pairs of ``condition.mirror`` with them."""
    raster, points = condition.raster, condition.points
    one, other = (
        (list(side) for side in zip(*condition.mirror, strict=True)) if condition.mirror else ([], [])
    )
    if points is not None:
        points = np.array([condition.size[1] - 1, 0], np.float32) + points * np.array([-1, 1], np.float32)
        points[one + other] = points[other + one]
    if raster is not None:
        raster = _flip(raster)
        if one and points is None:  # mirror is of the points where there are any
            order = np.arange(256 if raster.ndim == 2 else raster.shape[2], dtype=np.uint8)
            order[one + other] = order[other + one]
            raster = np.asarray(cv2.LUT(raster, order), np.uint8) if raster.ndim == 2 else raster[..., order]
    return replace(condition, raster=raster, points=points, turned=_turned(condition, np.diag([-1.0, 1.0])))


def _flip(image: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(cv2.flip(image, 1)).reshape(image.shape)  # OpenCV drops a single channel


# Building a transform takes longer than many uses of it: one a process and setting.


@cache
def _crop(size: Size) -> Any:
    return _albumentations().RandomCrop(*size)


@cache
def _affine() -> Any:
    return _albumentations().Affine(
        rotate=ROTATION,
        scale=SCALE,
        keep_ratio=True,
        translate_percent=TRANSLATION,
        shear=SHEAR,
        mask_interpolation=cv2.INTER_NEAREST,
        border_mode=cv2.BORDER_REFLECT_101,
    )


@cache
def _albumentations() -> Any:
    """The library, imported on first use (it takes seconds) and kept from going online for its version."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    import albumentations

    return albumentations
