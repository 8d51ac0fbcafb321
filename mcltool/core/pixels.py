"""Pixels: at another size, in other colours, and between bytes and what networks see. Fixed arithmetic."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Size = tuple[int, int]
"""Height, width in pixels."""
Photo = NDArray[np.uint8]
"""(H, W, 3) RGB."""
Colours = NDArray[np.float64]
"""(3, 4): from R, G, B, 1 of a photo, 0 to 255, to what they become."""

AT_ONCE = 4
"""Channels; OpenCV averages no more of them in one go."""

ASPECT_TOLERANCE = 0.01
"""Share by which the aspects of a photo and its condition may differ: rounding. DeepFashion's photos of 1101 x 750
have poses on a canvas of 256 x 176, which is 0.93% apart."""


def resize_photo(photo: NDArray[Any], size: Size) -> NDArray[Any]:
    """``photo`` (H, W) or (H, W, C) at ``size``: averaged where no side grows, else interpolated linearly.

    A photo that has the size already is returned itself.
    """
    shrinks = size[0] <= photo.shape[0] and size[1] <= photo.shape[1]
    return _resize(photo, size, cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def resize_labels(labels: NDArray[Any], size: Size) -> NDArray[Any]:
    """``labels`` (H, W) or (H, W, C) at ``size`` by nearest neighbour: no value appears that was not there.

    Labels that have the size already are returned themselves.
    """
    # The exact kind samples at pixel centres, as the photo's interpolation does; plain nearest does not.
    return _resize(labels, size, cv2.INTER_NEAREST_EXACT)


def same_aspect(photo: Size, condition: Size) -> bool:
    """Whether two sizes can be those of one picture at two resolutions, within ASPECT_TOLERANCE or one pixel of the
    smaller, whichever is more."""
    across, down = photo[0] * condition[1], photo[1] * condition[0]
    return abs(across - down) <= max(ASPECT_TOLERANCE * max(across, down), *photo, *condition)


def colour_change(strength: float, draw: np.random.Generator) -> Colours:
    """Another light and tint for a photo (data.colour_jitter).

    strength: 0 to 1, by which brightness, contrast, saturation and hue (of that, 60 degrees) change at most.
    """
    brightness, contrast, saturation, hue = strength * draw.uniform(-1, 1, 4)
    angle, grey = hue * math.pi / 3, np.full((3, 3), 1 / 3)  # grey: what keeps of a colour its grey alone
    across = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)  # cross product with the grey axis
    turned = math.cos(angle) * np.eye(3) + (1 - math.cos(angle)) * grey + math.sin(angle) * across
    linear = (1 + contrast) * (grey + (1 + saturation) * (turned - grey))
    shift = 127.5 * (1 + brightness) - linear.sum(1) * 127.5  # mid grey changes by the brightness alone
    return np.hstack([linear, shift[:, None]])


def recoloured(photo: Photo, colours: Colours) -> Photo:
    """``photo`` (H, W, 3) uint8 with its colours changed; the given one is left as it is."""
    return np.asarray(cv2.transform(photo, colours), np.uint8)


def to_unit(photo: Tensor) -> Tensor:
    """Bytes 0..255 to float32 in [-1, 1], any shape."""
    return photo.float() / 127.5 - 1.0


def to_bytes(image: Tensor) -> Tensor:
    """Floats in [-1, 1] to the nearest of the bytes 0..255, any shape; what lies outside is clamped."""
    return ((image.float() + 1.0) * 127.5).round().clamp(0, 255).byte()


def _resize(image: NDArray[Any], size: Size, interpolation: int) -> NDArray[Any]:
    if image.shape[:2] == size:
        return image
    if image.ndim == 3 and image.shape[2] > AT_ONCE:
        starts = range(0, image.shape[2], AT_ONCE)
        some = [_resize(image[..., start : start + AT_ONCE], size, interpolation) for start in starts]
        return np.concatenate(some, 2)
    resized: NDArray[Any] = cv2.resize(image, size[::-1], interpolation=interpolation)
    return resized.reshape(*size, *image.shape[2:])  # OpenCV drops a single channel
