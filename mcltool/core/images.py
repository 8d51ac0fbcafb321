"""Reading photos and label maps from files. Everything wrong with a file is one DataError that names it."""

from __future__ import annotations

import re
import stat
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from mcltool.core.errors import DataError
from mcltool.core.files import write_bytes

RGB = tuple[int, int, int]
MAX_PIXELS = 100_000_000
"""Larger pictures are refused by what their header says, before memory is taken for them."""
MAX_BYTES = 1 << 30
"""Larger files are refused: pixels of 16 bits, stored as they are, take 800 million bytes at most."""
FORMATS = ["JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF"]
"""Of Pillow's many, those that people have. Some of the others run a program (EPS) or are hardly ever looked at."""
if find_spec("PIL.AvifImagePlugin"):
    FORMATS.append("AVIF")

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
"""What Pillow's and OpenCV's readers stumble with over damaged files."""


def read_photo(path: Path, short_side: int = 0) -> NDArray[np.uint8]:
    """Read a photo as (H, W, 3) uint8 RGB, upright (EXIF orientation applied).

    Grey, palette, CMYK, alpha (over white) and 16-bit files are converted. A JPEG may come back smaller than
    it is, but with no side below ``short_side`` pixels (decoding at reduced size is several times faster).
    """
    with _opened(path) as image:
        if short_side:
            image.draft("RGB", (short_side, short_side))
        return np.asarray(ImageOps.exif_transpose(_to_rgb(image)))


def read_labels(path: Path, classes: int, palette: tuple[RGB, ...] = ()) -> NDArray[np.uint8]:
    """Read a label map as (H, W) uint8 class indices below ``classes``.

    Index files (grey or palette PNG, 8 or 16 bit) give their values; a colour file is looked up in ``palette``
    (index = class). Raises DataError for a value or colour outside the classes.
    """
    with _opened(path) as image:
        if image.mode == "1":
            image = image.convert("L").point([0] * 255 + [1], "L")
        if image.mode in ("RGB", "RGBA"):
            return _from_colours(path, np.asarray(image.convert("RGB")), palette)
        if image.mode not in ("L", "P", "I;16", "I;16B", "I"):
            raise DataError(f"{path}: expected a label map (class indices), found image mode {image.mode}")
        values = np.asarray(image)
    largest = int(values.max())
    if largest >= classes or int(values.min()) < 0:
        raise DataError(f"{path}: label {largest} is outside the classes 0..{classes - 1}")
    return values.astype(np.uint8)


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
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open an image file, with every failure of opening or decoding turned into a DataError."""
    check_is_file(path)
    try:
        with warnings.catch_warnings():
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


def _to_rgb(image: Image.Image) -> Image.Image:
    """In 8-bit RGB, not turned; the orientation stays in its EXIF data."""
    has_16_bit_colours = _has_16_bit_colours(image)  # asked first: reading EXIF data may load the image
    exif = image.getexif()
    if image.mode == "F" or image.mode.startswith("I"):
        converted = Image.fromarray(_to_bytes(np.asarray(image)))
    elif has_16_bit_colours:
        converted = _read_16_bit_colours(image)
    else:
        converted = image
    if converted.mode in ("RGBA", "LA", "PA") or "transparency" in converted.info:
        converted = converted.convert("RGBA")
        white = Image.new("RGBA", converted.size, (255, 255, 255, 255))
        converted = Image.alpha_composite(white, converted)
    converted = converted.convert("RGB")
    converted.getexif().update(exif)
    return converted


def _to_bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Grey levels of 16 bits (or more), or floats in [0, 1], to the nearest of 0..255."""
    if values.dtype.kind == "f":
        top = 1.0 if values.max() <= 1 else 255.0
    else:
        top = 65535.0 if values.dtype == np.uint16 or values.max() <= 65535 else float(2**31 - 1)
    return (values.astype(np.float32) * (255.0 / top)).round().clip(0, 255).astype(np.uint8)


def _has_16_bit_colours(image: Image.Image) -> bool:
    """Whether Pillow, which knows 16 bits in grey only, would cut off the lower halves."""
    modes = (tile[3] for tile in getattr(image, "tile", ()))
    return any(";16" in str(mode[0] if isinstance(mode, tuple) else mode) for mode in modes)


def _read_16_bit_colours(image: Image.Image) -> Image.Image:
    image.load()  # as a check: OpenCV fills up what a damaged file lacks
    data = np.fromfile(getattr(image, "filename"), np.uint8)  # noqa: B009 (only an opened file has one)
    if image.format == "PNG":
        _check_chunks(data.tobytes())
    values = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16 or values.ndim != 3:
        return image
    order = [2, 1, 0, 3][: values.shape[2]]
    return Image.fromarray(_to_bytes(values[..., order]))


def _check_chunks(png: bytes) -> None:
    """Raises ValueError where a chunk of a PNG file is longer than the file: OpenCV would take memory for all of it."""
    place = 8
    while place + 8 <= len(png) and png[place + 4 : place + 8] != b"IEND":
        place += 12 + int.from_bytes(png[place : place + 4], "big")
    if place > len(png):
        raise ValueError("a part of it is longer than the file")


def _from_colours(path: Path, colours: NDArray[np.uint8], palette: tuple[RGB, ...]) -> NDArray[np.uint8]:
    if not palette:
        raise DataError(f"{path}: expected class indices in one channel, found a colour image")
    codes = colours.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    known = np.array([(r << 16) + (g << 8) + b for r, g, b in palette], np.uint32)
    order = np.argsort(known, kind="stable")
    found = np.minimum(np.searchsorted(known[order], codes), len(known) - 1)
    labels = order[found]
    wrong = known[labels] != codes
    if wrong.any():
        colour = tuple(int(v) for v in colours[wrong][0])
        raise DataError(f"{path}: colour {colour} is not in the palette of the {len(palette)} classes")
    return labels.astype(np.uint8)


def write_raster(raster: NDArray[np.uint8], path: Path, palette: tuple[RGB, ...] = ()) -> None:
    """Write a (H, W) raster as a PNG that keeps its numbers: indices into ``palette`` where there is one, else grey."""
    image = Image.fromarray(raster)
    if palette:
        image.putpalette(bytes(value for colour in palette for value in colour))
    buffer = BytesIO()
    image.save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())
