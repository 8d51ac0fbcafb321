"""Pictures whose values are measures (depth, normals): as they are stored, nothing scaled or rounded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mcltool.core.errors import DataError
from mcltool.core.images import MAX_PIXELS, check_is_file, opened

_DTYPES = {"u1": np.uint8, "u2": np.uint16, "f2": np.float32, "f4": np.float32, "f8": np.float32}


def read_measure(path: Path) -> NDArray[Any]:
    """Read (H, W) or (H, W, C) uint8, uint16 or float32 from a PNG or TIFF of 8 or 16 bits, a float TIFF or .npy.

    EXIF orientation is not applied. Raises DataError for anything else, and for what cannot be read.
    """
    values = _array(path) if path.suffix.lower() == ".npy" else _image(path)
    kind = values.dtype.str[1:]
    if values.ndim not in (2, 3) or 0 in values.shape or kind not in _DTYPES:
        raise DataError(
            f"{path}: expected (H, W) or (H, W, C) of 8 or 16 bits or floats, found {values.shape} {values.dtype}"
        )
    return np.ascontiguousarray(values, _DTYPES[kind])


def _array(path: Path) -> NDArray[Any]:
    check_is_file(path)
    try:
        values: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, TypeError, OverflowError) as error:
        raise DataError(
            f"{path}: not a NumPy array that can be read ({' '.join(str(error).split())})"
        ) from None
    if values.size > 4 * MAX_PIXELS:
        raise DataError(f"{path}: {values.shape} is more than can be read")
    return values


def _image(path: Path) -> NDArray[Any]:
    with opened(path) as image:
        image.load()  # as a check: OpenCV fills up what a damaged file lacks
        if image.format == "JPEG":
            raise DataError(f"{path}: JPEG changes values: expected a PNG, a TIFF or .npy")
        if image.mode in ("L", "F", "I;16", "I;16B", "1") or (image.mode == "I" and image.format == "TIFF"):
            found = np.asarray(image)
            return found.astype(np.float32) if found.dtype == np.int32 else found
        values = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
        if values is None or image.mode == "P":
            raise DataError(f"{path}: expected grey levels or numbers, found image mode {image.mode}")
        return np.asarray(
            values if values.ndim == 2 else values[..., 2::-1]
        )  # blue, green, red and perhaps alpha
