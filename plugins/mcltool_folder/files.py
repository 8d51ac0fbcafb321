"""Files of a condition: class numbers from the numbers or colours in a mask, and how rasters are written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mcltool import DataError, read_labels, read_photo, replacing
from mcltool_folder.description import Part

TONES = [(0, 0, 0), (255, 255, 255)]


def read_mask(path: Path, part: Part, upright: bool = True) -> NDArray[np.uint8]:
    """(H, W) indices of ``part.classes``. Raises DataError for what is none of them."""
    if part.by == "colour" and part.near:
        return _nearest(path, part, upright)
    palette = [entry.colour for entry in part.classes]
    numbers = {entry.number: index for index, entry in enumerate(part.classes) if entry.number is not None}
    return read_labels(path, len(palette), palette, numbers if part.by == "number" else None, upright=upright)


def _nearest(path: Path, part: Part, upright: bool) -> NDArray[np.uint8]:
    """The class of each pixel's colour, or of the nearest colour for a share of ``part.near`` of them."""
    colours = read_photo(path, upright=upright)
    if colours.max() == 1 and [entry.colour for entry in part.classes] == TONES:
        colours = colours * np.uint8(255)  # numbers 0 and 1 among masks in black and white
    codes, places = np.unique(codes_of(colours), return_inverse=True)
    found = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], 1).astype(np.int32)
    apart = np.stack([np.square(found - np.array(entry.colour)).sum(1) for entry in part.classes], 1)
    inexact = float((apart.min(1) > 0)[places].mean())
    if inexact > part.near:
        raise DataError(
            f"{path}: {inexact:.1%} of its pixels have the colour of no class (dataset.toml allows {part.near:.1%}): "
            "save masks as PNG without smoothing, or raise near"
        )
    return np.asarray(apart.argmin(1)[places].reshape(colours.shape[:2]), np.uint8)


def write_mask(classes: NDArray[np.uint8], part: Part, stem: Path) -> Path:
    """Write (H, W) class indices as stem.png: their numbers; in their colours where colours say the class."""
    if part.by == "colour":
        return write_image(np.array([entry.colour for entry in part.classes], np.uint8)[classes], stem)
    return write_image(np.array([entry.number for entry in part.classes], np.uint8)[classes], stem)


def codes_of(colours: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Each colour (..., 3) as one number, (r << 16) + (g << 8) + b."""
    return np.asarray(colours @ np.array([1 << 16, 1 << 8, 1], np.uint32), np.uint32)


def write_image(values: NDArray[np.uint8], stem: Path) -> Path:
    """Write (H, W) or (H, W, 3) to stem.png; returns it."""
    path = stem.with_name(f"{stem.name}.png")
    with replacing(path) as temporary:
        Image.fromarray(values).save(temporary, "PNG")
    return path


def write_array(values: NDArray[np.float32], stem: Path) -> Path:
    """Write numbers to stem.npy; returns it."""
    path = stem.with_name(f"{stem.name}.npy")
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, values)
    return path
