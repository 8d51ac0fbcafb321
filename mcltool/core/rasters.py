"""Image files whose pixels are numbers and not colours: label maps and measures (depth, normals).

What a label map's pixels mean is decided here alone; docs/reliability.md has the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mcltool.core.errors import DataError
from mcltool.core.images import (
    MAX_PIXELS,
    RGB,
    check_is_file,
    has_16_bit_colours,
    opened,
    orientation,
    raw_mode,
    turned,
)

Labels = NDArray[np.uint8]
Decode = Callable[[NDArray[np.uint8]], NDArray[Any] | None]
"""From colours (H, W, 3) that are none of the palette to class numbers (H, W), or None where they are none either.
Raises DataError without the file's name."""

_LOSSY = {"JPEG", "MPO", "AVIF", "JPEG2000"}
_STRETCHED = {"L;2": 85, "L;4": 17}
"""What Pillow multiplies grey of 2 and 4 bits with."""
_DTYPES = {"u1": np.uint8, "u2": np.uint16, "f2": np.float32, "f4": np.float32, "f8": np.float32}
"""What a measure is returned as, by how it is stored."""


def read_labels(
    path: Path,
    classes: int,
    palette: Sequence[RGB] = (),
    numbers: Mapping[int, int] | None = None,
    decode: Decode | None = None,
    upright: bool = True,
) -> Labels:
    """Read a label map as (H, W) uint8 class indices below ``classes``.

    A file of one channel, or of three equal ones, has the classes' numbers as its values; a file of colours is looked
    up in ``palette`` (index = class). An indexed file is either: see _of_palette. numbers: the class of each number,
    where a file counts otherwise. decode: for further encodings in colours. Raises DataError for lossy files, and
    for a value or colour outside the classes.
    """
    with opened(path) as image:
        _refuse_lossy(path, image)
        stored = raw_mode(image)[:3]
        if image.mode in ("RGB", "RGBA", "LA") and has_16_bit_colours(image):
            raise DataError(f"{path}: a label map of several channels with 16 bits each; save it with 8")
        if image.mode not in ("1", "L", "LA", "P", "PA", "I;16", "I;16B", "I", "F", "RGB", "RGBA"):
            raise DataError(f"{path}: expected a label map (class indices), found image mode {image.mode}")
        image.load()
        image = turned(image, orientation(image) if upright else 1)
        if image.mode in ("RGB", "RGBA"):
            return _of_colours(path, np.asarray(image.convert("RGB")), classes, palette, numbers, decode)
        if image.mode in ("P", "PA"):
            return _of_palette(path, image, classes, palette, numbers)
        values = np.asarray(image.getchannel(0) if image.mode == "LA" else image)
    if stored in _STRETCHED:
        values = values // _STRETCHED[stored]
    return _of_numbers(path, values, classes, numbers)


def _of_numbers(path: Path, values: NDArray[Any], classes: int, numbers: Mapping[int, int] | None) -> Labels:
    """Class indices of (H, W) numbers of any type."""
    if values.dtype == bool:
        values = values.astype(np.uint8)
    elif values.dtype.kind == "f" and not (np.rint(values) == values).all():
        raise DataError(f"{path}: expected class indices, found fractions")
    if numbers is None:
        low, high = values.min(), values.max()
        if low < 0 or high >= classes:
            outside = low if low < 0 else high
            raise DataError(f"{path}: label {outside:g} is outside the classes 0..{classes - 1}")
        return values.astype(np.uint8)
    known = np.full(256, -1, np.int16)
    known[list(numbers)] = list(numbers.values())
    labels: NDArray[np.int16] = known[np.clip(values, 0, 255).astype(np.uint8)]
    wrong = (labels < 0) | (values < 0) | (values > 255)
    if wrong.any():
        raise DataError(f"{path}: label {values[wrong][0]:g} is none of this numbering")
    return labels.astype(np.uint8)


def _of_palette(
    path: Path, image: Image.Image, classes: int, palette: Sequence[RGB], numbers: Mapping[int, int] | None
) -> Labels:
    """Of an indexed file: an editor or optimiser may have put its palette in another order.

    Where all colours used are the data set's, they decide. Else, where the palette is grey and says something else
    than the index, as an optimiser makes of a grey file, the grey value is the number. Else the index is.
    """
    values = np.asarray(image.getchannel(0) if image.mode == "PA" else image)
    used = np.flatnonzero(np.bincount(values.ravel(), minlength=256))
    table = np.zeros((256, 3), np.uint8)
    stored = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    table[: len(stored)] = stored
    colours = [tuple(colour) for colour in table[used].tolist()]
    if palette and set(colours) <= set(palette):
        if [*map(dict(enumerate(palette)).get, used.tolist())] != colours:
            values = _lookup(used, [palette.index(colour) for colour in colours])[values]
        return values.astype(np.uint8)
    greys = table[used, 0]
    if (table[used] == greys[:, None]).all() and not _is_ramp(used, greys, len(stored)):
        if classes == 2 and {*greys.tolist()} <= {0, 255}:  # as in a file of one bit
            greys = greys // 255
        values = _lookup(used, greys)[values]
    return _of_numbers(path, values, classes, numbers)


def _is_ramp(used: NDArray[np.intp], greys: NDArray[np.uint8], entries: int) -> bool:
    """Whether a grey palette only shows the index, as it is or spread over 0 to 255."""
    step = {4: 85, 16: 17}.get(entries, 1)
    return bool((greys == used).all() or (greys == used * step).all())


def _lookup(used: NDArray[np.intp], wanted: Sequence[int] | NDArray[Any]) -> Labels:
    table = np.zeros(256, np.uint8)
    table[used] = wanted
    return table


def _of_colours(
    path: Path,
    colours: NDArray[np.uint8],
    classes: int,
    palette: Sequence[RGB],
    numbers: Mapping[int, int] | None,
    decode: Decode | None,
) -> Labels:
    """Class indices of (H, W, 3) colours."""
    wrong = np.ones(colours.shape[:2], bool)
    if palette:
        codes = colours.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
        known = np.array([(r << 16) + (g << 8) + b for r, g, b in palette], np.uint32)
        order = np.argsort(known, kind="stable")
        labels = order[np.minimum(np.searchsorted(known[order], codes), len(known) - 1)]
        wrong = known[labels] != codes
        if not wrong.any():
            return labels.astype(np.uint8)
    if (colours == colours[..., :1]).all():  # class numbers, three times
        return _of_numbers(path, colours[..., 0], classes, numbers)
    try:
        found = decode(colours) if decode else None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    if found is not None:
        return _of_numbers(path, found, classes, None)
    if not palette:
        raise DataError(f"{path}: expected class indices in one channel, found a colour image")
    colour = tuple(int(v) for v in colours[wrong][0])
    share = f"{wrong.mean():.0%} of the pixels" if wrong.mean() >= 0.01 else f"{wrong.sum()} pixels"
    raise DataError(
        f"{path}: colour {colour} is not in the palette of the {len(palette)} classes ({share} are not)"
    )


def _refuse_lossy(path: Path, image: Image.Image) -> None:
    """Raises DataError for lossy compression, which invents class numbers. The content counts, not the name."""
    form = str(image.format)
    if form == "TIFF" and "jpeg" in str(image.info.get("compression")):
        form = "JPEG in a TIFF"
    elif form == "WEBP" and _is_lossy_webp(path):
        form = "lossy WebP"
    elif form not in _LOSSY:
        return
    raise DataError(f"{path}: {form} changes class numbers; save label maps as PNG")


def _is_lossy_webp(path: Path) -> bool:
    """Whether the pixels' chunk is VP8 rather than VP8L. Chunks follow a header of 12 bytes, padded to even lengths."""
    with path.open("rb") as file:
        file.seek(12)
        while len(chunk := file.read(8)) == 8:
            if chunk[:4] in (b"VP8 ", b"VP8L"):
                return chunk[:4] == b"VP8 "
            file.seek(-(-int.from_bytes(chunk[4:], "little") // 2) * 2, 1)
    return True


def read_measure(path: Path) -> NDArray[Any]:
    """A measure as it is stored, nothing scaled or rounded: (H, W) or (H, W, C) uint8, uint16 or float32, from a PNG or
    TIFF of 8 or 16 bits, a float TIFF or .npy.

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
