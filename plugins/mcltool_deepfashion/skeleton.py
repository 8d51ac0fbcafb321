"""Drawing a pose at any size: skeleton colours, and a distance map a limb."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray

from mcltool_deepfashion.joints import LIMBS, NAMES, Joints

LIMB_WIDTH = 1 / 48
RADIUS = 1 / 64
"""Of a joint's disc."""
REACH = 1 / 4
"""Distance from a limb at which its map has fallen to 0. All three are shares of the picture's short side."""

HUES = np.array([colorsys.hsv_to_rgb(n / 18, 1, 1) for n in range(18)], np.float32)
"""(18, 3) in [0, 1], OpenPose's colours: joint and limb n have hue 20 n degrees."""

FAR = 1e6
"""Pixels; joints beyond are taken to be there, which keeps squares of distances finite."""

_Plane = NDArray[np.float32]


def draw(joints: Joints, size: tuple[int, int]) -> NDArray[np.float32]:
    """A pose on a canvas of ``size`` (height, width), as (H, W, 3 + 17) float32 in [0, 1].

    Channels: the skeleton's red, green and blue; then for each of LIMBS a map that is 1 on the limb and falls
    in proportion to the distance from it, to 0 at REACH. A limb that lacks a joint leaves no trace in either.
    Lines and discs are anti-aliased: a pixel whose centre lies d inside an edge is covered by d + 1/2.
    """
    planes = np.zeros((3 + len(LIMBS), *size), np.float32)
    short_side, ends = min(size), joints.clip(-FAR, FAR).astype(np.float64)
    for limb, (a, b) in enumerate(LIMBS):
        if not np.isnan(ends[[a, b]]).any():
            half_width = short_side * LIMB_WIDTH / 2
            _draw_limb(planes, limb, ends[a], ends[b], short_side * REACH, half_width)
    for joint in np.flatnonzero(~np.isnan(ends[:, 0])):
        _draw_disc(planes[:3], ends[joint], short_side * RADIUS, HUES[joint])
    return planes.transpose(1, 2, 0)


def _draw_limb(
    planes: NDArray[np.float32],
    limb: int,
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    reach: float,
    half_width: float,
) -> None:
    size = planes.shape[1:]
    low, high = np.minimum(a, b), np.maximum(a, b)
    margin = max(reach, half_width + 1)
    area = _window(low - margin, high + margin, size)
    distance = _distance(area, a, b)
    if distance.size == 0:
        return
    inked = _window(low - half_width - 1, high + half_width + 1, size)
    within = tuple(slice(i.start - o.start, i.stop - o.start) for i, o in zip(inked, area, strict=True))
    _paint(planes[(slice(0, 3), *inked)], distance[within], half_width, HUES[limb])
    distance *= np.float32(-1 / reach)
    distance += 1
    np.maximum(distance, 0, out=planes[(3 + limb, *area)])


def _draw_disc(
    picture: NDArray[np.float32], centre: NDArray[np.float64], radius: float, colour: _Plane
) -> None:
    area = _window(centre - radius - 1, centre + radius + 1, picture.shape[1:])
    _paint(picture[(slice(0, 3), *area)], _distance(area, centre, centre), radius, colour)


def _paint(picture: NDArray[np.float32], distance: _Plane, reach: float, colour: _Plane) -> None:
    """Lay ``colour`` over ``picture`` (3, h, w) where ``distance`` (h, w) is below ``reach``."""
    cover = np.clip(np.float32(reach + 0.5) - distance, 0, 1)
    picture += cover * (colour[:, None, None] - picture)


def _window(
    low: NDArray[np.float64], high: NDArray[np.float64], size: tuple[int, ...]
) -> tuple[slice, slice]:
    """Rows and columns of the pixels between two corners x, y, as far as the picture goes."""
    limits = np.array(size[::-1], np.float64)
    x0, y0 = np.floor(low).clip(0, limits).astype(int)
    x1, y1 = (np.ceil(high) + 1).clip(0, limits).astype(int)
    return slice(int(y0), max(int(y0), int(y1))), slice(int(x0), max(int(x0), int(x1)))


def _distance(area: tuple[slice, slice], a: NDArray[np.float64], b: NDArray[np.float64]) -> _Plane:
    """Distance in pixels from each pixel's centre in ``area`` to the segment from ``a`` to ``b``."""
    length = float(np.hypot(*(b - a)))
    along_x, along_y = (b - a) / length if length else (1.0, 0.0)
    x, y = np.arange(area[1].start, area[1].stop) - a[0], np.arange(area[0].start, area[0].stop) - a[1]
    # In the segment's own frame: along it, counted beyond its ends alone, and across it.
    along = np.add.outer((y * along_y).astype(np.float32), (x * along_x).astype(np.float32))
    across = np.subtract.outer((y * along_x).astype(np.float32), (x * along_y).astype(np.float32))
    along -= along.clip(0, np.float32(length))
    along *= along
    across *= across
    along += across
    return np.asarray(np.sqrt(along, out=along))


CHANNELS = ("red", "green", "blue", *(f"{NAMES[a]} to {NAMES[b]}" for a, b in LIMBS))
PALETTE = (
    (255, 0, 0),
    (0, 255, 0),
    (0, 0, 255),
    *((int(r * 80), int(g * 80), int(b * 80)) for r, g, b in HUES[:17]),
)
"""For pictures of conditions: the skeleton as it is, the maps as a faint glow of their limbs' colours."""
