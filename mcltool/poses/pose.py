"""A pose: the 18 joints it is brought to, where each file format keeps them, and where they lie on a canvas.

Formats mark what was not found by a score of 0, and by joints at (0, 0) or (-1, -1), which are absent here too.
Everything wrong is one DataError.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcltool.core.errors import DataError
from mcltool.core.files import read_limited

Joints = NDArray[np.float32]
"""(18, 2) x, y in pixels, whole numbers at pixel centres; NaN where a joint is absent."""
Order = tuple[int | None, ...]
"""For each of the 18 joints its row in a format's table, None where the format lacks it."""

# OpenPose's own order (its COCO model). Left and right are the person's.
NAMES = (
    "nose", "neck",
    "right shoulder", "right elbow", "right wrist", "left shoulder", "left elbow", "left wrist",
    "right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle",
    "right eye", "left eye", "right ear", "left ear",
)  # fmt: skip
NECK, RIGHT_SHOULDER, LEFT_SHOULDER = 1, 2, 5

LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7),
    (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13),
    (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip
"""The joints at both ends of each limb."""

SIDES = ((2, 5), (3, 6), (4, 7), (8, 11), (9, 12), (10, 13), (14, 15), (16, 17))
"""The same joint of the right and of the left side."""

BODY_18 = tuple(range(18))
BODY_25 = (0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18)
"""Row of each joint in OpenPose's BODY_25, which has a middle hip and feet besides."""
COCO_17 = (0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
"""Row of each joint in COCO's keypoints, which have no neck."""
HALPE_26 = (0, 18, *COCO_17[2:])
"""Row of each joint in Halpe's keypoints (AlphaPose): COCO's, then head, neck, hip and feet."""


def from_rows(rows: NDArray[np.float64], present: NDArray[np.bool_], order: Order) -> Joints:
    """Joints from a format's rows (K, 2), of which those in ``present`` (K,) count.

    order: for each of the 18 joints its row. A neck without a row lies halfway between the shoulders.
    """
    taken, known = _rows_of(order)
    joints = rows.astype(np.float32)[taken]
    joints[~(present[taken] & known)] = np.nan
    if order[NECK] is None:
        joints[NECK] = (joints[RIGHT_SHOULDER] + joints[LEFT_SHOULDER]) / 2
    return joints


def count(joints: Joints) -> int:
    """How many joints are there."""
    return len(joints) - int(np.count_nonzero(np.isnan(joints[:, 0])))


@cache
def _rows_of(order: Order) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """A row for each joint, and whether the format has one."""
    return np.array([row or 0 for row in order]), np.array([row is not None for row in order])


MAX_SIDE = 65535
MAX_BYTES = 256 << 20

LARGEST = float(np.finfo(np.float32).max)

Size = tuple[int, int]
"""(height, width) in pixels."""


class Scale(Enum):
    """What a file's numbers count (OpenPose's --keypoint_scale)."""

    PIXELS = "pixels"
    ZERO_TO_ONE = "0 to 1"
    PLUS_MINUS_ONE = "-1 to 1"


LARGEST_UNIT = 1.5
"""Numbers that are all below this are not pixels: a person is larger. It is above 1 because joints may lie outside."""


@dataclass(frozen=True, eq=False)
class Pose:
    """A person's joints, in the file's own numbers.

    where: the file, and the part of it, for messages. size: the canvas, where the file says it. usual: the
    canvas on which poses of the file's format lie, where the format says it.
    """

    joints: Joints
    where: str
    size: Size | None = None
    usual: Size | None = None
    scale: Scale = Scale.PIXELS

    def on(self, size: Size, whose: str) -> Joints:
        """The joints in pixels of a canvas. whose: canvas it is, for messages; "" where it is only assumed.

        Raises DataError for a pose that cannot be: numbers of another scale or resolution.
        """
        joints = self.joints
        if self.scale is not Scale.PIXELS:
            if not whose:
                raise DataError(
                    f"{self.where}: its joints go from {self.scale.value}, and the file does not say of how many "
                    "pixels: give --canvas HxW"
                )
            shares = joints if self.scale is Scale.ZERO_TO_ONE else (joints + 1) / 2
            joints = (shares * np.array(size[::-1])).astype(np.float32)
        # Plain numbers: NumPy takes longer for so few.
        xs, ys = ([value for value in side if value == value] for side in joints.T.tolist())
        left, right, top, bottom = min(xs), max(xs), min(ys), max(ys)
        if left < -1 or top < -1 or right > size[1] + 1 or bottom > size[0] + 1:
            there = zip(xs, ys, strict=True)
            outside = sum(not (-1 <= x <= size[1] + 1 and -1 <= y <= size[0] + 1) for x, y in there)
            if 2 * outside > len(xs):
                raise DataError(
                    f"{self.where}: {outside} of {len(xs)} joints lie outside {whose or 'the usual canvas'}, "
                    f"{size[1]} x {size[0]} pixels; --canvas HxW says in how large a picture they were found"
                )
        if len(xs) > 1 and right - left <= 1 and bottom - top <= 1:
            raise DataError(f"{self.where}: all joints lie within one pixel, expected a person's in pixels")
        return joints


def pose_of(
    rows: NDArray[np.float64],
    scores: NDArray[np.float64],
    order: Order,
    where: str,
    size: Size | None = None,
    usual: Size | None = None,
) -> Pose:
    """A pose from a format's rows (K, 2) of x and y; those with a score (K,) above 0 are there."""
    x, y = rows.T
    found = (scores > 0) & ((x != -1) | (y != -1))
    present = found & ((x != 0) | (y != 0))
    scale = _scale(rows, present, where)
    if scale is Scale.PLUS_MINUS_ONE:  # of which (0, 0) is the middle
        present = found
    return Pose(from_rows(rows, present, order), where, size, usual, scale)


def _scale(rows: NDArray[np.float64], present: NDArray[np.bool_], where: str) -> Scale:
    found = rows[present]
    if len(found) < 2 or np.count_nonzero(np.abs(found) > LARGEST_UNIT):
        return Scale.PIXELS
    low = found.min()
    if low <= -0.5:
        return Scale.PLUS_MINUS_ONE
    # OpenPose moves what it did not find to (-1, -1) too: such a file may be of a person right of and below the middle.
    if low < 0 or (rows[~present] == -1).all(1).any():
        raise DataError(
            f"{where}: its joints may go from 0 to 1 or from -1 to 1: save them in pixels (OpenPose's "
            "--keypoint_scale 0)"
        )
    return Scale.ZERO_TO_ONE


def best_of(poses: Sequence[tuple[float, Pose]], where: str) -> Pose:
    """Of several people's poses, each with its score, the one with the most joints; of equals of higher score."""
    ranks = [(count(pose.joints), score) for score, pose in poses]
    best = max(ranks, default=(0, 0.0))
    if not best[0]:
        raise DataError(f"{where}: no person in it")
    return poses[ranks.index(best)][1]


def canvas_of(entry: dict[str, Any], height: str, width: str, where: str) -> Size | None:
    """The canvas that two keys of ``entry`` give; None where either is missing."""
    sides = entry.get(height), entry.get(width)
    if None in sides:
        return None
    for side in sides:
        if not isinstance(side, int | float) or not 1 <= side <= MAX_SIDE:
            raise DataError(f"{where}: {width} and {height} must be 1 to {MAX_SIDE} pixels, not {side!r}")
    return round(sides[0]), round(sides[1])  # type: ignore[arg-type]


def numbers(values: Sequence[Any], where: str, what: str) -> NDArray[np.float64]:
    """A list of JSON values as finite numbers."""
    if not set(map(type, values)) <= {int, float}:
        raise DataError(f"{where}: {what} must be numbers")
    try:
        array = np.array(values, np.float64)
    except OverflowError:  # a whole number beyond any float
        array = np.array([np.inf])
    return finite(array, where)


def finite(array: NDArray[np.float64], where: Path | str) -> NDArray[np.float64]:
    if np.count_nonzero(np.abs(array) < LARGEST) < array.size:
        raise DataError(f"{where}: expected finite numbers")
    return array


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """A file's content. Raises DataError for what is larger than any file of poses."""
    try:
        return read_limited(path, limit)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
