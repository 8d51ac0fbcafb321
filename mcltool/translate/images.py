"""Conditions and photos at the network's size, and the pictures that are saved. Sizes are (height, width) in pixels.

Reader processes import this, so nothing here imports torch before a picture has been made.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mcltool.core import files
from mcltool.core.errors import DataError, McltoolError
from mcltool.core.images import check_is_file
from mcltool.core.pictures import contact_sheet, heat
from mcltool.data.geometry import Size, resize_condition, resize_photo, same_aspect
from mcltool.data.views import rendered
from mcltool.plugin.contract import Condition, ConditionSpec, DatasetPlugin
from mcltool.translate.provenance import Provenance

Picture = NDArray[np.uint8]

ROUNDED = 32
"""The network's sides are multiples of this, so that pictures of nearly one aspect share a batch."""
FINELY = 4
"""Or of this, which every network takes, where the short side that is wanted is no multiple of ROUNDED."""
MAX_ASPECT = 8.0
"""Longer pictures are refused: memory grows with the long side, and they are rarely meant."""
MAX_SHORT_SIDE = 2048
"""Larger short sides are refused: work grows with the square of the pixels."""
PNG = {"compress_level": 1, "compress_type": 3}
"""Run lengths after PNG's filters: a quarter to half the time of Pillow's own level 6, for photos 1 to 4% larger."""
QUALITY = {"jpg": 95, "webp": 90, "avif": 80}
# Errors of one output's name. Any other, such as a full disk, would hit the next output too.
_NAME_ERRORS = {
    errno.ENOENT, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EILSEQ, errno.ENOTEMPTY,
    errno.EXDEV,
}  # fmt: skip


# --- sizes ---

OutputSize = int | str | Size
"""Of outputs: the short side in pixels, (height, width), "trained", or "keep"; see ``job.Settings``."""


def output_size(size: Size, short_side: int) -> Size:
    """``size`` scaled to the short side ``short_side``, the long side rounded to whole pixels.

    Raises DataError for a side of 0, an aspect above MAX_ASPECT or a short side above MAX_SHORT_SIDE.
    """
    height, width = size
    if min(size) < 1 or max(size) > MAX_ASPECT * min(size):
        raise DataError(f"{width} x {height} pixels: expected at most {MAX_ASPECT:g} times as long as wide")
    if short_side > MAX_SHORT_SIDE:
        raise DataError(
            f"would be made {short_side} pixels on its short side; --size takes up to {MAX_SHORT_SIDE}"
        )
    long_side = round(short_side * max(size) / min(size))
    return (short_side, long_side) if height <= width else (long_side, short_side)


def short_side_of(asked: OutputSize, trained: int) -> int:
    """Of what is asked, where it does not hang on the condition; else ``trained``."""
    return min(asked) if isinstance(asked, tuple) else trained if isinstance(asked, str) else asked


def asked_size(size: Size, asked: OutputSize, trained: int) -> Size:
    """The output's size for a condition of ``size``. trained: short side that the model was trained at.

    Raises DataError as ``output_size``, and where (height, width) are asked of a condition of another aspect.
    """
    if isinstance(asked, tuple):
        if not same_aspect(size, asked):
            (height, width), (high, wide) = asked, size
            raise DataError(
                f"{wide} x {high} pixels cannot be made {width} x {height} without distorting it: --size {min(asked)} "
                "keeps the aspect"
            )
        output_size(asked, min(asked))
        return asked
    return output_size(size, min(size) if asked == "keep" else short_side_of(asked, trained))


def network_size(size: Size, short_side: int) -> Size:
    """As ``output_size``, each side rounded to a multiple of 32, or where ``short_side`` is none, of 4."""
    multiple = ROUNDED if short_side % ROUNDED == 0 else FINELY
    height, width = (max(1, round(side / multiple)) * multiple for side in output_size(size, short_side))
    return max(height, ROUNDED), max(width, ROUNDED)


# --- reading ---


def read_condition(plugin: DatasetPlugin, paths: Sequence[Path], part: str) -> Condition:
    """The condition in these files. Raises DataError, whatever goes wrong in the plugin."""
    try:
        for path in paths:
            check_is_file(path)
        return plugin.read_part(paths, part)
    except McltoolError:
        raise
    except Exception as error:  # a plugin is anyone's code: its error with one file concerns that file alone
        raise DataError(f"{paths[0]}: {type(error).__name__}: {error}") from error


def prepare_condition(plugin: DatasetPlugin, condition: Condition, size: Size) -> NDArray[Any]:
    """``condition`` at ``size``: (H, W) uint8 labels, or (C, H, W) float32 in [0, 1].

    Raises DataError where what the plugin renders does not fit its spec.
    """
    planes = rendered(plugin, resize_condition(condition, size))
    return np.ascontiguousarray(planes if planes.ndim == 2 else planes.transpose(2, 0, 1))


def prepare_photo(photo: Picture, short_side: int) -> Picture:
    """An exemplar (H, W, 3) at its network size."""
    height, width = photo.shape[:2]
    return resize_photo(photo, network_size((height, width), short_side))


# --- saving ---


def pictures_to_save(
    made: dict[str, NDArray[Any]], size: Size, condition: NDArray[Any], exemplars: Sequence[Picture],
    kinds: Sequence[str], spec: ConditionSpec,
) -> dict[str, Picture]:  # fmt: skip
    """The pictures of one condition at its output ``size``, by kind as in Settings.save; "", the output, is last.

    made: "image" and "warp" (H, W, 3) uint8 and "confidence" (h, w) in [0, 1], as far as ``kinds`` need them.
    condition: as ``prepare_condition`` gives it. exemplars: (H, W, 3) uint8 each.
    """
    image = _resized(made["image"], size)
    found: dict[str, Picture] = {}
    for kind in kinds:
        if kind == "warp":
            found[kind] = _resized(made["warp"], size)
        elif kind == "grid":
            row = [_picture_of(condition, spec), *exemplars, _resized(made["warp"], size), image]
            titles = ("condition", *["exemplar"] * len(exemplars), "warped", "result")
            found[kind] = contact_sheet([row], titles, max(96, image.shape[0]))
        else:
            found[kind] = _resized(heat(made["confidence"], 0, 1), size)
    return found | {"": image}


def save_picture(
    file: IO[bytes],
    picture: Picture,
    form: str,
    quality: int | None = None,
    provenance: Provenance | None = None,
) -> None:
    """Encode to an open file. form, quality: as format and quality in Settings."""
    options: dict[str, Any] = PNG if form == "png" else {"quality": quality or QUALITY[form]}
    if provenance:
        options = options | provenance.options(form)
    Image.fromarray(picture).save(file, "jpeg" if form == "jpg" else form, **options)


class OutputFolder:
    """Saves pictures below ``out``, and nowhere else; from several threads.

    scratch: a folder of the same file system for temporary files. form, quality: as in ``save_picture``.
    """

    def __init__(self, out: Path, scratch: Path, form: str, quality: int | None) -> None:
        self._out, self._root, self._scratch = out, out.resolve(), scratch
        self._form, self._quality = form, quality
        self._made = lru_cache(1024)(self._make)

    def save(self, name: str, picture: Picture, provenance: Provenance | None = None) -> None:
        """Save as OUT/``name``, whole or not at all.

        As ``files.replacing``, with as few calls of the system as will do. Raises DataError for what is wrong
        with this name alone, OSError for what is with the disk.
        """
        path, temporary = self._out / name, self._scratch / f"{threading.get_ident()}.tmp"
        try:
            self._made(path.parent)
            with files.create(temporary) as file:
                save_picture(file, picture, self._form, self._quality, provenance)
            files.replace(temporary, path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            if error.errno not in _NAME_ERRORS:
                raise
            raise DataError(f"{path}: cannot be written ({error.strerror})") from None

    def _make(self, folder: Path) -> None:
        if not folder.resolve().is_relative_to(self._root):
            raise DataError(f"{folder}: a link leads out of {self._out}")
        folder.mkdir(parents=True, exist_ok=True)


def _resized(picture: Picture, size: Size) -> Picture:
    return resize_photo(np.ascontiguousarray(picture), size)


def _picture_of(planes: NDArray[Any], spec: ConditionSpec) -> Picture:
    from mcltool.data.batch import condition_picture

    return condition_picture(planes if planes.ndim == 2 else planes.transpose(1, 2, 0), spec)
