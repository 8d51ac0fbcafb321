"""Reading photos from files. Everything wrong with a file is one DataError that names it."""

from __future__ import annotations

import re
import stat
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError, features

from mcltool.core.errors import DataError
from mcltool.core.patience import limited

RGB = tuple[int, int, int]
MAX_PIXELS = 100_000_000
"""Larger pictures are refused by what their header says, before memory is taken for them."""
MAX_BYTES = 1 << 30
"""Larger files are refused: pixels of 16 bits, stored as they are, take 800 million bytes at most."""
FORMATS = ["JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "PPM"]
"""Formats in use. Some of Pillow's others run a program (EPS), or have readers that hardly anyone checks."""
if find_spec("PIL.AvifImagePlugin"):
    FORMATS.append("AVIF")
if features.check("jpg_2000"):
    FORMATS.append("JPEG2000")

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a stored picture upright, by its EXIF orientation."""
_SIDEWAYS = 5
"""From this orientation on height and width change places."""
_BITS = (8, 10, 12, 14, 16)
"""Depths of whole numbers in a photo; cameras store 10, 12 and 14 bits in 16."""

_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    ArithmeticError,
    LookupError,
    TypeError,
    struct.error,
    cv2.error,
)
"""What Pillow's and OpenCV's readers raise for damaged files."""


def read_photo(path: Path, short_side: int = 0, upright: bool = True) -> NDArray[np.uint8]:
    """Read a photo as (H, W, 3) uint8 RGB, upright (EXIF orientation applied) unless told otherwise.

    Grey, palette, CMYK, alpha (over white) and deeper files are converted. A JPEG may come back smaller than
    it is, but with no side below ``short_side`` pixels (decoding at reduced size is several times faster).
    """
    with opened(path) as image:
        if short_side:
            image.draft("RGB", (short_side, short_side))
        return np.asarray(turned(_to_rgb(path, image), orientation(image) if upright else 1))


def photo_size(path: Path, upright: bool = True) -> tuple[int, int]:
    """Height and width of a photo as ``read_photo`` gives it; only its header is read. Raises DataError."""
    with opened(path) as image:
        sideways = upright and orientation(image) >= _SIDEWAYS
        return (image.width, image.height) if sideways else (image.height, image.width)


def photo_orientation(path: Path) -> int:
    """The EXIF orientation of a photo, 1 to 8; only its header is read. Raises DataError as ``read_photo``."""
    with opened(path) as image:
        return orientation(image)


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) to 8; 1 where the EXIF data are broken: the pixels may be sound."""
    try:
        found = image.getexif().get(_ORIENTATION)
    except (*_DAMAGED, AttributeError):  # what Pillow raises over broken EXIF data
        return 1
    return found if isinstance(found, int) and found in _TURNS else 1


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """The picture upright."""
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def check_is_file(path: Path) -> None:
    """Raises DataError where ``path`` is anything else than a file: opening a pipe, say, would wait for ever."""
    try:
        status = path.stat()
        mode = status.st_mode
    except FileNotFoundError:
        what = "a link to what is not there" if path.is_symlink() else "no such file"
        raise DataError(f"{path}: {what}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    if stat.S_ISDIR(mode):
        raise DataError(f"{path}: expected an image file, found a folder")
    if not stat.S_ISREG(mode):
        raise DataError(f"{path}: expected a file, found a pipe, socket or device")
    if status.st_size > MAX_BYTES:
        raise DataError(f"{path}: larger than {MAX_BYTES >> 20} MiB, which no picture to be read is")


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Open an image file, with every failure of opening or decoding turned into a DataError."""
    check_is_file(path)
    try:
        with limited(f"{path}: reading it"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged metadata is not the user's concern; pixels are
            with Image.open(path, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise DataError(_too_large(path, f"{image.width} x {image.height} pixels are"))
                yield image
    except PermissionError:
        raise DataError(f"{path}: no permission to read it") from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: not an image that can be read") from None
    except Image.DecompressionBombError as error:
        raise DataError(_too_large(path, _pixels(error))) from None
    except MemoryError:
        raise DataError(f"{path}: memory does not suffice to read it") from None
    except _DAMAGED as error:
        raise DataError(f"{path}: damaged or cut-off image ({' '.join(str(error).split())[:200]})") from None


def _too_large(path: Path, what: str) -> str:
    return f"{path}: {what} more than can be read ({MAX_PIXELS // 1_000_000} million)"


def _pixels(error: Image.DecompressionBombError) -> str:
    """What Pillow's error says of the size: "Image size (900000000 pixels) exceeds limit of ..."."""
    found = re.search(r"\d+", str(error))
    return f"{int(found[0]) // 1_000_000} million pixels are" if found else "its pixels are"


def _to_rgb(path: Path, image: Image.Image) -> Image.Image:
    """In 8-bit RGB, not turned."""
    if image.mode == "F" or image.mode.startswith("I"):
        converted = Image.fromarray(_to_bytes(path, np.asarray(image)))
    elif has_16_bit_colours(image):
        converted = _read_16_bit_colours(path, image)
    else:
        converted = image
    if converted.mode in ("RGBA", "LA", "PA") or "transparency" in converted.info:
        converted = converted.convert("RGBA")
        white = Image.new("RGBA", converted.size, (255, 255, 255, 255))
        converted = Image.alpha_composite(white, converted)
    return converted.convert("RGB")


def _to_bytes(path: Path, values: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale floats in [0, 1] or [0, 255], or whole numbers, to 0..255. Raises DataError for anything else.

    Whole numbers are taken to have the fewest bits that hold the largest: a photo's brightest pixel is hardly ever
    below a quarter of what its bits hold.
    """
    low, high = values.min(), values.max()
    if values.dtype.kind == "f":
        top = 1.0 if high <= 1 else 255.0
        if not (low >= 0 and (high <= 1 or 16 <= high <= 255)):
            raise DataError(f"{path}: float pixels from {low:g} to {high:g}, expected 0 to 1 or 0 to 255")
    else:
        top = next((2.0**bits - 1 for bits in _BITS if high < 1 << bits), 0.0)
        if low < 0 or not top:
            raise DataError(f"{path}: pixels from {low} to {high}, expected 0 to 65535 at most")
    return (values.astype(np.float32) * (255.0 / top)).round().clip(0, 255).astype(np.uint8)


def has_16_bit_colours(image: Image.Image) -> bool:
    """Whether Pillow, which knows 16 bits in grey only, would cut off the lower halves."""
    return ";16" in raw_mode(image)


def raw_mode(image: Image.Image) -> str:
    """Pillow's name for how pixels are stored in an opened file whose pixels are not loaded yet, as "L;4"."""
    form = next((tile[3] for tile in getattr(image, "tile", ())), "")
    return str(form[0] if isinstance(form, tuple) and form else form)


def _read_16_bit_colours(path: Path, image: Image.Image) -> Image.Image:
    image.load()  # as a check: OpenCV fills up what a damaged file lacks
    data = np.fromfile(path, np.uint8)
    if image.format == "PNG":
        _check_chunks(data.tobytes())
    values = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16 or values.ndim != 3:
        return image
    parts = [_to_bytes(path, values[..., 2::-1])]
    if values.shape[2] == 4:
        parts.append(_to_bytes(path, values[..., 3:]))
    return Image.fromarray(np.concatenate(parts, axis=2))


def _check_chunks(png: bytes) -> None:
    """Raises ValueError where a chunk of a PNG file is longer than the file: OpenCV would take memory for all of it."""
    place = 8
    while place + 8 <= len(png) and png[place + 4 : place + 8] != b"IEND":
        place += 12 + int.from_bytes(png[place : place + 4], "big")
    if place > len(png):
        raise ValueError("a part of it is longer than the file")
