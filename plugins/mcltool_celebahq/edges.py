"""Line drawings of faces, made of the masks of their parts and of their photos."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mcltool import draw_lines, outlines, read_photo
from mcltool_celebahq.classes import NAMES

LINE = 255
"""The value of lines in a drawing, 0 elsewhere."""

# Where the photo's own edges are drawn, and not only outlines of parts.
_TEXTURED = np.isin(np.arange(256), [NAMES.index(name) for name in ("background", "hair", "hat", "cloth")])


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
