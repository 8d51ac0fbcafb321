"""The 18 joints that every pose is brought to, and where each file format keeps them."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

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
