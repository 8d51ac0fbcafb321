"""Line drawings of faces, made of the masks of their parts and of their photos; and the 15 planes of the published
edges: all lines, a distance map a part of the head, and the parts' outlines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mcltool import Condition, DataError, draw_lines, outlines, read_photo, replacing
from mcltool_celebahq.classes import MIRROR, NAMES, PALETTE

LINE = 255
"""The value of lines in a drawing, 0 elsewhere."""

# Where the photo's own edges are drawn, and not only outlines of parts.
_TEXTURED = np.isin(np.arange(256), [NAMES.index(name) for name in ("background", "hair", "hat", "cloth")])

HEAD = (
    *("skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear"),
    *("mouth", "u_lip", "l_lip", "hair"),
)
"""The 13 parts that have a distance map: the head's, without what is worn on it but glasses (ours: the papers give the
number of them alone)."""
PLANES = ("edges", *(f"distance to {part}" for part in HEAD), "outlines")
_FAINT = 10
"""Pictures of conditions show lines, and of the distance maps a glow: a part that is not there is far everywhere."""
COLOURS = (
    (255, 255, 255),
    *((r // _FAINT, g // _FAINT, b // _FAINT) for r, g, b in (PALETTE[NAMES.index(part)] for part in HEAD)),
    (128, 128, 128),
)
SIDES = tuple(
    (1 + HEAD.index(NAMES[left]), 1 + HEAD.index(NAMES[right]))
    for left, right in MIRROR
    if {NAMES[left], NAMES[right]} <= set(HEAD)
)
"""Planes that change places in a mirrored picture."""
STEP = 3
"""Pixels, along rows and columns, to a level of a distance map, of which there are 255."""
STACK = "_planes.png"
"""How the file is called that holds the planes of a face, one below the other."""
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def draw_face(
    labels: NDArray[np.uint8], photo: Path | None, short_side: int, upright: bool = True
) -> NDArray[np.uint8]:
    """The line drawing (H, W), 0 or LINE, of a face: outlines of its parts, and the photo's edges (Canny) in
    hair, hat, clothes and background.

    labels: (h, w) classes. photo: a file with the same picture at any size; None: outlines alone.
    short_side: that of the drawing in pixels, so that its lines are as fine as the picture that it is for;
    never above the labels' own, which 0 stands for. upright: as in ``read_photo``.
    """
    own = min(labels.shape)
    scale = min(short_side or own, own) / own
    height, width = (max(1, round(side * scale)) for side in labels.shape)
    labels = np.asarray(cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
    if photo is None:
        return outlines(labels) * np.uint8(LINE)
    return draw_lines(read_photo(photo, min(height, width), upright), labels, _TEXTURED[labels])


def part_planes(
    labels: NDArray[np.uint8], photo: Path | None, short_side: int, upright: bool = True
) -> Condition:
    """What a network sees of a face: (H, W, 15) bytes, PLANES.

    labels: (h, w) classes. photo: a file with the same picture; None: the edges are the parts' outlines alone.
    short_side: of the planes in pixels; at most the labels' own, which 0 stands for. Lines are 2 pixels wide. A part
    that is not there is 255 levels away everywhere. upright: as in ``read_photo``.
    """
    lines = draw_face(labels, photo, short_side, upright)
    height, width = lines.shape
    labels = np.asarray(cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
    planes = np.full((height, width, len(PLANES)), 255, np.uint8)
    planes[..., 0] = cv2.dilate(lines, np.ones((2, 2), np.uint8))
    planes[..., -1] = 0
    for number, part in enumerate(HEAD, 1):
        inside = (labels == NAMES.index(part)).astype(np.uint8)
        if not inside.any():
            continue
        outline = cv2.morphologyEx(inside, cv2.MORPH_GRADIENT, _CROSS)  # a pixel on either side of the edge
        distance = cv2.distanceTransform(1 - outline, cv2.DIST_L1, 3)
        planes[..., number] = np.minimum(distance / STEP, 255).astype(np.uint8)
        planes[outline > 0, -1] = LINE
    return Condition((height, width), planes, smooth=True, mirror=SIDES)


def read_planes(path: Path) -> Condition:
    """The planes of a face as ``write_planes`` writes them. Raises DataError where the file is another picture."""
    stack = read_photo(path)[..., 0]
    height, rest = divmod(stack.shape[0], len(PLANES))
    if rest:
        raise DataError(
            f"{path}: expected {len(PLANES)} planes one below the other, found {stack.shape[0]} rows"
        )
    planes = np.ascontiguousarray(stack.reshape(len(PLANES), height, -1).transpose(1, 2, 0))
    return Condition((planes.shape[0], planes.shape[1]), planes, smooth=True, mirror=SIDES)


def write_planes(condition: Condition, stem: Path) -> Path:
    """Write a face to STEM_planes.png: its planes one below the other."""
    assert condition.raster is not None
    stack = condition.raster.transpose(2, 0, 1).reshape(-1, condition.size[1])
    path = stem.with_name(stem.name + STACK)
    with replacing(path) as temporary:
        Image.fromarray(stack).save(temporary, "PNG")
    return path


def is_stack(files: Sequence[Path]) -> bool:
    return len(files) == 1 and files[0].name.endswith(STACK)
