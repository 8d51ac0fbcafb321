"""Drawing a pose at any size: skeleton colours, and a distance map a limb."""

from __future__ import annotations

import colorsys
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcltool.poses.pose import LIMBS, NAMES, Joints

LIMB_WIDTH = 1 / 48
RADIUS = 1 / 64
"""Of a joint's disc."""
REACH = 1 / 4
"""Distance from a limb at which its map has fallen to 0. All three are shares of the picture's short side."""

HUES = np.array([colorsys.hsv_to_rgb(n / 18, 1, 1) for n in range(18)], np.float32)
"""(18, 3) in [0, 1], OpenPose's colours: joint and limb n have hue 20 n degrees."""

FAR = 1e5
"""Pixels; joints beyond are taken to be there, which keeps rounding below a hundredth of a pixel."""

_PARTS = (*LIMBS, *((joint, joint) for joint in range(len(NAMES))))
"""What a skeleton is painted of, one over the other: limbs, then joints, which are limbs of no length."""
_HUES = np.concatenate([HUES[: len(LIMBS)], HUES])


def draw(joints: Joints, size: tuple[int, int], far: bool = False) -> NDArray[np.float32]:
    """A pose on a canvas of ``size`` (height, width), as (H, W, 3 + 17) float32 in [0, 1].

    Channels: the skeleton's red, green and blue; then for each of LIMBS a map that is 1 on the limb and falls
    in proportion to the distance from it, to 0 at REACH (far: at the canvas's diagonal, so that none is cut off). A
    limb that lacks a joint leaves no trace in either.
    Lines and discs are anti-aliased: a pixel whose centre lies d inside an edge is covered by d + 1/2.

    This is ``draw_points`` for one pose on a CPU, which has time only for the pixels near each part.
    """
    planes = np.zeros((3 + len(LIMBS), *size), np.float32)
    y, x = (np.arange(side, dtype=np.float32) for side in size)
    ends, reach = joints.clip(-FAR, FAR), _reach(size, far)
    for part, (one, other) in enumerate(_PARTS):
        a, b = ends[one], ends[other]
        if np.isnan(a + b).any():
            continue
        radius = _radius(part, min(size))
        if part < len(LIMBS):
            near = _window(a, b, reach, size)
            planes[(3 + part, *near)] = _nearness(np, _distance(np, x[near[1]], y[near[0]], a, b), reach)
        inked = _window(a, b, radius + 1, size)
        cover = _cover(np, _distance(np, x[inked[1]], y[inked[0]], a, b), radius)
        _paint(planes[(slice(0, 3), *inked)], cover, _HUES[part][:, None, None])
    return planes.transpose(1, 2, 0)


def draw_points(xp: Any, points: Any, x: Any, y: Any) -> Any:
    """Poses (B, 18, 2) as (B, 3 + 17, H, W), see ``draw`` and ``mcltool.DatasetPlugin.draw_points``."""
    return _draw_points(xp, points, x, y, _reach((len(y), len(x)), far=False))


def draw_points_far(xp: Any, points: Any, x: Any, y: Any) -> Any:
    """As ``draw_points``, with maps that are not cut off."""
    return _draw_points(xp, points, x, y, _reach((len(y), len(x)), far=True))


def _draw_points(xp: Any, points: Any, x: Any, y: Any, reach: float) -> Any:
    short_side, limbs = min(len(x), len(y)), len(LIMBS)
    ends = xp.clip(points, -FAR, FAR)
    a, b = (ends[:, [part[end] for part in _PARTS]] for end in (0, 1))  # (B, 35, 2)
    absent = xp.isnan(a + b)
    a, b = xp.where(absent, FAR, a), xp.where(absent, FAR, b)  # out of everything's reach
    distance = _distance(xp, x, y, a, b)  # (B, 35, H, W)
    radii = xp.asarray([_radius(part, short_side) for part in range(len(_PARTS))], device=points.device)
    cover = _cover(xp, distance, radii[:, None, None])
    picture = xp.zeros_like(distance[:, :3])
    hues = xp.asarray(_HUES, device=points.device)
    for part in range(len(_PARTS)):
        _paint(picture, cover[:, part, None], hues[part][:, None, None])
    return xp.concatenate([picture, _nearness(xp, distance[:, :limbs], reach)], 1)


def _reach(size: tuple[int, int], far: bool) -> float:
    """Pixels from a limb at which its map is 0."""
    return math.hypot(*size) if far else min(size) * REACH


def _distance(xp: Any, x: Any, y: Any, a: Any, b: Any) -> Any:
    """Distance in pixels from each of the pixels at ``x`` (W,), ``y`` (H,) to segments from ``a`` to ``b`` (..., 2):
    (..., H, W)."""
    half = (b - a) / 2
    reach = xp.sqrt(half[..., 0] ** 2 + half[..., 1] ** 2)
    is_point, length = reach == 0, xp.where(reach == 0, 1, reach)
    along_x = xp.where(is_point, 1.0, half[..., 0] / length)  # of a point any direction will do
    along_y = half[..., 1] / length
    # In the segment's own frame, from its middle: along it, counted beyond its ends alone, and across it.
    from_x, from_y = x - (a + half)[..., 0, None], y - (a + half)[..., 1, None]
    along = (from_x * along_x[..., None])[..., None, :] + (from_y * along_y[..., None])[..., None]
    across = (from_x * along_y[..., None])[..., None, :] - (from_y * along_x[..., None])[..., None]
    xp.abs(along, out=along)
    along -= reach[..., None, None]
    xp.clip(along, 0, None, out=along)
    along *= along
    across *= across
    along += across
    return xp.sqrt(along, out=along)


def _nearness(xp: Any, distance: Any, reach: float) -> Any:
    nearness = 1 - distance / reach
    return xp.clip(nearness, 0, 1, out=nearness)


def _cover(xp: Any, distance: Any, radius: Any) -> Any:
    cover = radius + 0.5 - distance
    return xp.clip(cover, 0, 1, out=cover)


def _paint(picture: Any, cover: Any, colour: Any) -> None:
    """Lay ``colour`` (3, 1, 1) over ``picture`` (..., 3, h, w)."""
    picture += cover * (colour - picture)


def _radius(part: int, short_side: int) -> float:
    return short_side * (LIMB_WIDTH / 2 if part < len(LIMBS) else RADIUS)


def _window(a: Any, b: Any, margin: float, size: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of the pixels within ``margin`` of the box that ``a`` and ``b`` span."""
    low, high = np.minimum(a, b) - margin, np.maximum(a, b) + margin
    limits = np.array(size[::-1])
    x0, y0 = np.floor(low).clip(0, limits).astype(int)
    x1, y1 = (np.ceil(high) + 1).clip(0, limits).astype(int)
    return slice(int(y0), max(int(y0), int(y1))), slice(int(x0), max(int(x0), int(x1)))


CHANNELS = ("red", "green", "blue", *(f"{NAMES[a]} to {NAMES[b]}" for a, b in LIMBS))
PALETTE = (
    (255, 0, 0),
    (0, 255, 0),
    (0, 0, 255),
    *((int(r * 80), int(g * 80), int(b * 80)) for r, g, b in HUES[:17]),
)
"""For pictures of conditions: the skeleton as it is, the maps as a faint glow of their limbs' colours."""
