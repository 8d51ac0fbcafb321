"""Layouts: which shapes lie where, and what that looks like as rasters. A layout knows no colours.

Positions are in the unit square (x right, y down, 1 = the image's side), so that a scene renders at any
size. A raster of side S has its pixel centres at ``(i + 0.5) / S``; "pixel coordinates" are integers at
pixel centres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mcltool_shapes.outlines import NAMES, REACH, inside

CLASSES = len(NAMES)
MOST_EXTRAS = 1
RADIUS = (0.15, 0.23)
"""Smallest and largest radius of a shape, as a part of the image's side."""
MAX_TURN = math.radians(60)
"""A shape is turned by up to this angle either way, evenly."""
MIN_VISIBLE = 0.5
"""Every class shows at least this part of one whole outline (its largest instance's)."""

_ATTEMPTS = 40
_JUDGED_AT = 40  # side of the raster on which the visible parts are measured
_CANDIDATES = 8


@dataclass(frozen=True)
class Instance:
    """One shape.

    outline: its number from 0 (its class is ``outline + 1``). x, y, radius: in parts of the image's side.
    angle: radians, from the image's x axis towards its y axis.
    """

    outline: int
    x: float
    y: float
    radius: float
    angle: float

    @property
    def label(self) -> int:
        return self.outline + 1

    def to_frame(self, side: int) -> NDArray[np.float64]:
        """(2, 3) matrix from pixel coordinates x, y, 1 of an image of ``side`` pixels to the shape frame."""
        c, s = math.cos(self.angle) / self.radius, math.sin(self.angle) / self.radius
        dx, dy = 0.5 / side - self.x, 0.5 / side - self.y
        return np.array([[c / side, s / side, c * dx + s * dy], [-s / side, c / side, c * dy - s * dx]])

    def from_frame(self, side: int) -> NDArray[np.float64]:
        """(2, 3) matrix from u, v, 1 of the shape frame to pixel coordinates; the inverse of ``to_frame``."""
        c, s = math.cos(self.angle) * self.radius, math.sin(self.angle) * self.radius
        return side * np.array([[c, -s, self.x - 0.5 / side], [s, c, self.y - 0.5 / side]])


Scene = tuple[Instance, ...]
"""Instances in painting order: a later one covers an earlier one."""


@dataclass(frozen=True, eq=False)
class Raster:
    """A scene in pixels.

    layer: (S, S) int8, index of the top-most instance, -1 for background. labels: (S, S) uint8 classes.
    place: (2, S, S) float32, u and v in the frame of that instance, x and y in [0, 1] for background.
    """

    layer: NDArray[np.int8]
    labels: NDArray[np.uint8]
    place: NDArray[np.float32]


def background_frame(side: int) -> NDArray[np.float64]:
    """(2, 3) matrix from pixel coordinates x, y, 1 to the background's frame, the unit square."""
    return np.array([[1 / side, 0, 0.5 / side], [0, 1 / side, 0.5 / side]])


@lru_cache(maxsize=4)
def rasterise(scene: Scene, side: int) -> Raster:
    """Paint ``scene`` at ``side`` x ``side`` pixels, without anti-aliasing. The arrays are read-only.

    The few last rasters are kept for the callers who ask for the photo and then for its condition.
    """
    raster = _paint(scene, side)
    for array in (raster.layer, raster.labels, raster.place):
        array.flags.writeable = False
    return raster


def _paint(scene: Scene, side: int) -> Raster:
    layer = np.full((side, side), -1, np.int8)
    labels = np.zeros((side, side), np.uint8)
    place = np.empty((2, side, side), np.float32)
    place[0] = place[1].T[:] = (np.arange(side, dtype=np.float32) + 0.5) / side
    for index, shape in enumerate(scene):
        reach = shape.radius * REACH[shape.outline]
        (x0, x1), (y0, y1) = _span(shape.x, reach, side), _span(shape.y, reach, side)
        if x0 >= x1 or y0 >= y1:
            continue
        (a, b, c), (d, e, f) = shape.to_frame(side).tolist()
        x = np.arange(x0, x1, dtype=np.float32)
        y = np.arange(y0, y1, dtype=np.float32)[:, None]
        u = a * x + (b * y + c)
        v = d * x + (e * y + f)
        within = inside(shape.outline, u, v)
        window = np.s_[y0:y1, x0:x1]
        np.copyto(layer[window], index, where=within)
        np.copyto(labels[window], shape.label, where=within)
        np.copyto(place[0][window], u, where=within)
        np.copyto(place[1][window], v, where=within)
    return Raster(layer, labels, place)


def _span(centre: float, reach: float, side: int) -> tuple[int, int]:
    """First pixel and the one after the last whose centres may lie within ``reach`` of ``centre``."""
    first = math.ceil((centre - reach) * side - 0.5)
    last = math.floor((centre + reach) * side - 0.5)
    return max(first, 0), min(last + 1, side)


def visible_parts(scene: Scene) -> NDArray[np.float64]:
    """(CLASSES,) visible area of every class, as a part of the whole outline of its largest instance."""
    seen = np.bincount(_paint(scene, _JUDGED_AT).labels.ravel(), minlength=CLASSES + 1)[1:]
    radius = np.zeros(CLASSES)
    for shape in scene:
        radius[shape.outline] = max(radius[shape.outline], shape.radius)
    return np.asarray(seen / (np.pi * (radius * _JUDGED_AT) ** 2))


@lru_cache(maxsize=64)
def draw_scene(key: tuple[int, ...]) -> Scene:
    """The layout that belongs to ``key`` (the seed sequence of a generator).

    Every class is there once, and up to MOST_EXTRAS shapes more, in any order of painting; each class
    shows at least MIN_VISIBLE. Layouts are drawn again until they do, from the same stream, so that the
    result depends on nothing else. The cache is for the callers who ask for the photo and then for its
    condition.
    """
    rng = np.random.default_rng(key)
    for _ in range(_ATTEMPTS):
        scene = _draw(rng)
        if visible_parts(scene).min() >= MIN_VISIBLE:
            return scene
    return _spread_out(rng)


def _draw(rng: np.random.Generator) -> Scene:
    extras = rng.integers(0, CLASSES, rng.integers(0, MOST_EXTRAS + 1))
    outlines = rng.permutation(np.concatenate([np.arange(CLASSES), extras]))
    draws = rng.random((len(outlines), 2 + 2 * _CANDIDATES))
    low, high = RADIUS
    scene: list[Instance] = []
    for outline, draw in zip(outlines.tolist(), draws.tolist(), strict=True):
        # Of a few places the one farthest from the shapes so far: they still overlap, but seldom bury each
        # other.
        places = [(0.1 + 0.8 * x, 0.1 + 0.8 * y) for x, y in zip(draw[2::2], draw[3::2], strict=True)]
        room = [min(((x - s.x) ** 2 + (y - s.y) ** 2 for s in scene), default=0.0) for x, y in places]
        x, y = places[room.index(max(room))]
        scene.append(Instance(outline, x, y, low + (high - low) * draw[0], _turn(draw[1])))
    return tuple(scene)


def _turn(draw: float) -> float:
    """The angle of a shape, from a number in [0, 1)."""
    return (2 * draw - 1) * MAX_TURN


def _spread_out(rng: np.random.Generator) -> Scene:
    """A layout that shows enough of every class whatever the draws: small shapes on a grid of 3 x 2."""
    outlines, angles = (
        rng.permutation(CLASSES).tolist(),
        [_turn(draw) for draw in rng.random(CLASSES).tolist()],
    )
    spots = [((i % 3 + 0.5) / 3, (i // 3 + 0.5) / 2) for i in range(CLASSES)]
    return tuple(
        Instance(o, x, y, RADIUS[0], angle) for o, (x, y), angle in zip(outlines, spots, angles, strict=True)
    )
