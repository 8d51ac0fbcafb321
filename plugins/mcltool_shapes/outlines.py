"""The five outlines. Each is star-convex, so that r(theta) is all there is to it, and none has a symmetry.

Shape frame: origin at the shape's centre, u to the right, v down, the length 1 is the outline's radius,
which is the radius of the disc of the same area (so that shapes of one scale are equally large, whatever
their form).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ANGLES = 4096
"""Entries of a radius table: steps of 0.09 degrees, below a pixel up to sides of several thousand pixels."""

# Corners as (degrees, radius), joined by straight lines. Long and short parts follow each other unevenly: an
# outline that is to show how it is turned at 64 px needs one clear direction and one clear sense of going
# round.
_CORNERS: dict[str, tuple[tuple[float, float], ...]] = {
    "snail": tuple((10.0 * i, 0.5 + 0.031 * i) for i in range(36)),
    "boot": ((12, 1.75), (-20, 1.85), (-40, 0.85), (-68, 1.35), (-112, 1.35), (-155, 0.72), (155, 0.75),
             (55, 0.65)),
    "wing": ((0, 1.75), (70, 0.62), (130, 1.15), (172, 1.15), (215, 0.8), (290, 0.62)),
    "clover": ((0, 0.55), (20, 1.4), (68, 1.4), (92, 0.6), (120, 1.15), (155, 1.15), (190, 0.55), (225, 0.95),
               (290, 0.55)),
    "comet": ((0, 1.8), (28, 0.75), (55, 1.45), (88, 0.7), (125, 1.15), (160, 0.65), (200, 0.9), (250, 0.7),
              (310, 0.7)),
}  # fmt: skip
NAMES: tuple[str, ...] = tuple(_CORNERS)


def _radii(corners: tuple[tuple[float, float], ...]) -> NDArray[np.float64]:
    """(ANGLES,) radius of a polygon at the angles of RADII, scaled so that its area is pi."""
    ordered = sorted((np.deg2rad((a + 180.0) % 360.0 - 180.0), r) for a, r in corners)
    angle = np.array([a for a, _ in ordered])
    points = np.array([(r * np.cos(a), r * np.sin(a)) for a, r in ordered])
    theta = -np.pi + 2 * np.pi * (np.arange(ANGLES) + 0.5) / ANGLES
    after = np.searchsorted(angle, theta) % len(angle)
    start, edge = points[after - 1], points[after] - points[after - 1]
    # The ray t (cos, sin) meets the edge's line where both give the same cross product with the edge.
    cross = start[:, 0] * edge[:, 1] - start[:, 1] * edge[:, 0]
    radius = cross / (np.cos(theta) * edge[:, 1] - np.sin(theta) * edge[:, 0])
    return np.asarray(radius / np.sqrt(np.mean(radius**2)))


RADII: NDArray[np.float64] = np.stack([_radii(corners) for corners in _CORNERS.values()])
"""(5, ANGLES): radius of every outline at the angles ``-pi + 2 pi (i + 0.5) / ANGLES`` of the shape frame."""
REACH: tuple[float, ...] = tuple(RADII.max(axis=1).tolist())
"""The largest radius of every outline."""
_SQUARES = (RADII**2).astype(np.float32)


def inside(outline: int, u: NDArray[np.float32], v: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether the points (u, v) of the shape frame lie within outline number ``outline``, from 0."""
    turn = np.arctan2(v, u)
    turn += np.float32(np.pi)
    turn *= np.float32(ANGLES / (2 * np.pi))
    # float32 rounds the angle pi up to the table's end: the first entry follows the last
    index = turn.astype(np.int32) & (ANGLES - 1)
    return np.asarray(u * u + v * v <= _SQUARES[outline][index])
