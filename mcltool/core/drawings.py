"""Line drawings: made of photos and masks, or read from a file; and what a network sees of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mcltool.core.errors import DataError
from mcltool.core.images import opened, orientation, read_photo, turned

LINE = 255
"""The value of lines in a drawing, 0 elsewhere."""
REACH = 1 / 8
"""Distance to the nearest line that counts as 1, as a share of the picture's short side."""

_BLUR = 1.2
_CANNY = (20.0, 60.0)
"""Standard deviation of the blur in pixels of the drawing, and Canny's two limits (bytes a pixel)."""
_MARGIN = 1 / 64
"""No photo's edges nearer to an outline than this share of the short side."""

_FAINTEST = 4
"""A line one pixel wide, shrunk by 32: 255 / 32 = 8 bytes, half of them where it straddles two pixels."""
_LEAST_CONTRAST = 32
"""Between lines and ground of a drawing, in bytes of the channel where it is largest."""
_MOST_LINES, _MOST_SOLID = 0.35, 0.05
"""Shares of a drawing: what lines may cover, and what may lie further inside of them than 1% of its short side."""
_HALFTONE, _MOST_HALFTONE = 5, 0.2
"""What differs from the ground by more than a fifth of the largest difference and is no line, and its largest share:
up to 0.1 in drawings of soft lines or in uneven light; 0.27 and more in nine of ten photos with few dark parts."""


def draw_lines(
    photo: NDArray[np.uint8],
    labels: NDArray[np.uint8] | None = None,
    inside: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """A line drawing (H, W), 0 or LINE, of a photo (h, w, 3): its edges (Canny).

    labels: (H, W) classes of the same picture, whose outlines are drawn too; the drawing has their size.
    inside: (H, W), where the photo's edges are drawn; not near the border of that, where an outline is.
    """
    if labels is None or inside is None:
        return _edges(photo) * np.uint8(LINE)
    size = labels.shape[::-1]
    picture = np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), np.uint8)
    radius = max(1, round(_MARGIN * min(labels.shape)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    well_inside = np.asarray(cv2.erode(inside.astype(np.uint8), disc), np.uint8)
    return (outlines(labels) | (_edges(picture) & well_inside)) * np.uint8(LINE)


def outlines(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """1 where a pixel of ``labels`` (H, W) has a neighbour (of four) of a lower class, else 0.

    So of two parts that touch, the one of the higher class has the line. There is none along the border.
    """
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    return np.asarray(cv2.erode(labels, cross) != labels, np.uint8)


def read_drawing(path: Path, upright: bool = True) -> NDArray[np.uint8]:
    """A line drawing (H, W), 0 or LINE, from any image: dark lines on light, light on dark, of any colours.

    The ground is the colour that most of the picture has (the median of each channel); lines are what differs
    from it by more than half of the largest difference. Of a picture that is transparent for the most part,
    the lines are what is opaque. Raises DataError where a file cannot be read, is of one even colour, or has areas or
    tones rather than lines.
    """
    picture = read_photo(path, upright=upright)
    opacity = _opacity(path, upright)
    if opacity is not None and opacity.shape == picture.shape[:2] and _median(opacity) < 128:
        difference = opacity
    else:
        difference = np.zeros(picture.shape[:2], np.uint8)
        for channel in cv2.split(picture):  # one by one: of a large picture a copy is hundreds of megabytes
            apart = cv2.absdiff(channel, np.full(1, round(_median(channel)), np.uint8))
            np.maximum(difference, apart, out=difference)
    largest = int(difference.max())
    if largest < _LEAST_CONTRAST:
        raise DataError(f"{path}: expected a line drawing, found one even colour")
    lines = (difference > largest // 2).astype(np.uint8)
    radius = max(2, min(lines.shape) // 100)
    solid = float(cv2.erode(lines, np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)).mean())
    tones = float((difference > largest // _HALFTONE).mean()) - float(lines.mean())
    found = ""
    if solid > _MOST_SOLID or lines.mean() > _MOST_LINES:
        found = f"areas ({lines.mean():.0%} of it)"
    elif tones > _MOST_HALFTONE:
        found = f"tones between lines and ground ({tones:.0%} of it)"
    if found:
        raise DataError(
            f"{path}: expected a line drawing, found {found}: a photo, a mask, or a drawing in uneven light? "
            "'mcltool data export-conditions --root PHOTOS --condition edges' makes drawings of photos"
        )
    return lines * np.uint8(LINE)


def _median(channel: NDArray[np.uint8]) -> float:
    """Of bytes, by their histogram."""
    upto = cv2.calcHist([channel], [0], None, [256], [0, 256]).ravel().astype(np.int64).cumsum()
    middle = (channel.size + 1) // 2, channel.size // 2 + 1
    return float(np.searchsorted(upto, middle).mean())


def edge_planes(lines: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What a network sees of a drawing: (H, W, 2) float32, edge (0 or 1) and distance to the nearest edge.

    lines: (H, W) uint8 as a drawing is after any resizing. Averaging makes lines faint where it shrinks them
    and blurs them where it turns or enlarges them; an edge is what is at least a third as strong as the
    strongest of its eight neighbours (at a half, lines that were turned have gaps). The distance is
    Euclidean, between pixel centres, in units of REACH times the short side, at most 1 (all over where there
    is no line).
    """
    strongest = cv2.dilate(lines, np.ones((3, 3), np.uint8))
    edge = lines >= np.maximum(strongest - strongest // 3 * 2, _FAINTEST)
    planes = np.ones((*lines.shape, 2), np.float32)
    planes[..., 0] = edge
    if edge.any():
        apart = cv2.distanceTransform((~edge).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        # OpenCV's roots differ in their last bit with the array's place in memory; their squares are whole.
        apart = np.sqrt(np.rint(np.square(apart)))
        np.minimum(apart / (REACH * min(lines.shape)), 1.0, out=planes[..., 1])
    return planes


def _edges(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """1 on the edges of ``picture`` (H, W, 3), else 0."""
    grey = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (0, 0), _BLUR)
    return np.asarray(cv2.Canny(grey, *_CANNY, L2gradient=True) > 0, np.uint8)


def _opacity(path: Path, upright: bool) -> NDArray[np.uint8] | None:
    """The alpha channel (H, W) as bytes of a file that has one; read_photo, which has read it, puts such over white."""
    with opened(path) as image:
        if not image.has_transparency_data:
            return None
        opacity = image.convert("RGBA").getchannel("A")
        return np.asarray(turned(opacity, orientation(image) if upright else 1))
