"""Reading photos and label maps from files. Everything wrong with a file is one DataError that names it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from mcltool.data.contract import RGB
from mcltool.errors import DataError

MAX_PIXELS = 200_000_000


def read_photo(path: Path, short_side: int = 0) -> NDArray[np.uint8]:
    """Read a photo as (H, W, 3) uint8 RGB, upright (EXIF orientation applied).

    Grey, palette, CMYK, alpha (over white) and 16-bit files are converted. A JPEG may come back smaller than
    it is, but with no side below ``short_side`` pixels (decoding at reduced size is several times faster).
    """
    with _opened(path) as image:
        if short_side:
            image.draft("RGB", (short_side, short_side))
        upright = ImageOps.exif_transpose(image)
        return np.asarray(_to_rgb(upright))


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


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open an image file, with every failure of opening or decoding turned into a DataError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged metadata is not the user's concern; pixels are
            with Image.open(path) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise DataError(f"{path}: {image.width} x {image.height} pixels is more than can be read")
                yield image
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise DataError(f"{path}: expected an image file, found a folder") from None
    except PermissionError:
        raise DataError(f"{path}: no permission to read it") from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: not an image that can be read") from None
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: damaged or cut-off image ({error})") from None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image).astype(np.float32)
        scale = 255.0 / (65535.0 if values.max() > 255 else 255.0)
        image = Image.fromarray((values * scale).clip(0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


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
