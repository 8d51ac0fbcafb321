"""A pose as a file has it, and where it lies on its canvas. Everything wrong is one DataError.

Formats mark what was not found by a score of 0, and by joints at (0, 0) or (-1, -1), which are absent here too.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcltool import DataError
from mcltool_deepfashion.joints import Joints, Order, count, from_rows

MAX_SIDE = 65535
MAX_BYTES = 256 << 20

Size = tuple[int, int]
"""(height, width) in pixels."""


class Scale(Enum):
    """What a file's numbers count (OpenPose's --keypoint_scale)."""

    PIXELS = "pixels"
    ZERO_TO_ONE = "0 to 1"
    PLUS_MINUS_ONE = "-1 to 1"


LARGEST_UNIT = 1.5
"""Joints whose numbers are all below this are no pixels: a person is larger. Some way outside of the canvas counts."""


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
        there = joints[~np.isnan(joints[:, 0])]
        outside = int(((there < -1) | (there > np.array(size[::-1]) + 1)).any(1).sum())
        if 2 * outside > len(there):
            raise DataError(
                f"{self.where}: {outside} of {len(there)} joints lie outside {whose or 'the usual canvas'}, "
                f"{size[1]} x {size[0]} pixels; --canvas HxW says in how large a picture they were found"
            )
        if len(there) > 1 and np.ptp(there, axis=0).max() <= 1:
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
    present = (scores > 0) & (rows != -1).any(1)
    scale = _scale(rows, present & (rows != 0).any(1), where)
    if scale is not Scale.PLUS_MINUS_ONE:  # of which (0, 0) is the middle
        present &= (rows != 0).any(1)
    return Pose(from_rows(rows, present, order), where, size, usual, scale)


def _scale(rows: NDArray[np.float64], present: NDArray[np.bool_], where: str) -> Scale:
    found = rows[present]
    if len(found) < 2 or np.abs(found).max() > LARGEST_UNIT:
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
    if not any(count(pose.joints) for _, pose in poses):
        raise DataError(f"{where}: no person in it")
    return max(poses, key=lambda found: (count(found[1].joints), found[0]))[1]


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
    if not all(type(value) in (int, float) for value in values):
        raise DataError(f"{where}: {what} must be numbers")
    try:
        array = np.array(values, np.float64)
    except OverflowError:  # a whole number beyond any float
        array = np.array([np.inf])
    return finite(array, where)


def finite(array: NDArray[np.float64], where: str) -> NDArray[np.float64]:
    if not (np.abs(array) < np.finfo(np.float32).max).all():
        raise DataError(f"{where}: expected finite numbers")
    return array


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """A file's content. Raises DataError for what is larger than any file of poses."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > limit:
                raise DataError(f"{path}: larger than {limit >> 20} MiB, which no file of poses is")
            return file.read()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
