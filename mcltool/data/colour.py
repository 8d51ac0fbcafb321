"""Colour jitter (data.colour_jitter): another light and tint for few photos."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from mcltool.core.pixels import Photo

Colours = NDArray[np.float64]
"""(3, 4): from R, G, B, 1 of a photo, 0 to 255, to what they become."""


def colour_change(strength: float, draw: np.random.Generator) -> Colours:
    """Brightness, contrast, saturation and hue, each changed by up to ``strength`` (0 to 1; of hue, of 60 degrees)."""
    brightness, contrast, saturation, hue = strength * draw.uniform(-1, 1, 4)
    angle, grey = hue * math.pi / 3, np.full((3, 3), 1 / 3)  # grey: what keeps of a colour its grey alone
    across = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(
        3
    )  # the cross product with the grey axis
    turned = math.cos(angle) * np.eye(3) + (1 - math.cos(angle)) * grey + math.sin(angle) * across
    linear = (1 + contrast) * (grey + (1 + saturation) * (turned - grey))
    shift = 127.5 * (1 + brightness) - linear.sum(1) * 127.5  # mid grey changes by the brightness alone
    return np.hstack([linear, shift[:, None]])


def recoloured(photo: Photo, colours: Colours) -> Photo:
    """``photo`` (H, W, 3) uint8 with its colours changed; the given one is left as it is."""
    return np.asarray(cv2.transform(photo, colours), np.uint8)
