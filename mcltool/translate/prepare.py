"""From files to what the network takes: sizes, conditions and exemplars. Runs in reader processes, without torch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcltool.data.contract import Condition, DatasetPlugin
from mcltool.data.images import check_is_file, read_photo
from mcltool.data.resize import Size, resize_condition, resize_photo
from mcltool.data.views import rendered
from mcltool.errors import DataError, McltoolError
from mcltool.translate.manifest import stamp

MULTIPLE = 32
"""Sides that the network takes are multiples of this."""
MAX_ASPECT = 8.0
"""Longer pictures are refused: memory grows with the long side, and they are rarely meant."""
MAX_SHORT_SIDE = 2048
"""Larger short sides are refused: work grows with the square of the pixels."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A condition or an exemplar as read, or the cause why it is not.

    planes: of a condition at its network size, (H, W) uint8 labels or (C, H, W) float32 in [0, 1]; of an
    exemplar (H, W, 3) uint8. size: (height, width) in pixels of the output. source: stamp of the files before
    they were read.
    """

    planes: NDArray[Any] | None
    size: Size
    cause: str
    source: str
    milliseconds: float


def output_size(size: Size, short_side: int) -> Size:
    """``size`` scaled to the short side ``short_side``, the long side rounded to whole pixels.

    Raises DataError for a side of 0 or an aspect above MAX_ASPECT.
    """
    height, width = size
    if min(size) < 1 or max(size) > MAX_ASPECT * min(size):
        raise DataError(f"{width} x {height} pixels: expected at most {MAX_ASPECT:g} times as long as wide")
    long_side = round(short_side * max(size) / min(size))
    return (short_side, long_side) if height <= width else (long_side, short_side)


def network_size(size: Size, short_side: int) -> Size:
    """As ``output_size``, each side rounded to a multiple of 32: the aspect is kept within 16 pixels."""
    height, width = output_size(size, short_side)
    return _to_multiple(height), _to_multiple(width)


def prepare_condition(plugin: DatasetPlugin, condition: Condition, size: Size) -> NDArray[Any]:
    """``condition`` at ``size``: (H, W) uint8 labels, or (C, H, W) float32 in [0, 1].

    Raises DataError where what the plugin renders does not fit its spec.
    """
    planes = rendered(plugin, resize_condition(condition, size))
    return np.ascontiguousarray(planes if planes.ndim == 2 else planes.transpose(2, 0, 1))


def prepare_photo(photo: NDArray[np.uint8], short_side: int) -> NDArray[np.uint8]:
    """An exemplar (H, W, 3) at its network size."""
    height, width = photo.shape[:2]
    return resize_photo(photo, network_size((height, width), short_side))


def finish(image: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """The network's picture (H, W, 3) at ``size``."""
    return resize_photo(np.ascontiguousarray(image), size)


def read_condition(plugin: DatasetPlugin, files: Sequence[Path], part: str) -> Condition:
    """The condition in ``files``. Raises DataError, whatever goes wrong in the plugin."""
    try:
        for path in files:
            check_is_file(path)
        return plugin.read_part(files, part)
    except McltoolError:
        raise
    except Exception as error:  # a plugin is anyone's code: its trouble with one file is that file's
        raise DataError(f"{files[0]}: {type(error).__name__}: {error}") from error


class Preparer:
    """Reads conditions and exemplars for a model; pickled to reader processes.

    trained: short side in pixels that the model was trained at. size: as in Settings.
    """

    def __init__(self, plugin: DatasetPlugin, trained: int, size: int | str = "trained") -> None:
        self.plugin, self.trained, self.size = plugin, trained, size

    def condition(self, files: Sequence[str], part: str) -> Prepared:
        """Read and resize a condition; trouble with it is its cause, not an error."""
        started, source = time.perf_counter(), stamp(files)
        paths = [Path(path) for path in files]
        planes, size, cause = None, (0, 0), ""
        try:
            found = read_condition(self.plugin, paths, part)
            try:
                short = self._short_side(found.size)
                size = output_size(found.size, short)
                planes = prepare_condition(self.plugin, found, network_size(found.size, short))
            except DataError as error:
                cause = f"{files[0]}: {error}"
        except McltoolError as error:
            cause = str(error)
        return Prepared(planes, size, cause, source, 1000 * (time.perf_counter() - started))

    def exemplar(self, photo: str) -> Prepared:
        """Read and resize an exemplar, likewise."""
        started, source = time.perf_counter(), stamp([photo])
        planes, cause = None, ""
        short = self.trained if isinstance(self.size, str) else self.size
        try:
            pixels = read_photo(Path(photo), short)
            try:
                planes = prepare_photo(pixels, short)
            except DataError as error:
                cause = f"{photo}: {error}"
        except McltoolError as error:
            cause = str(error)
        return Prepared(planes, (0, 0), cause, source, 1000 * (time.perf_counter() - started))

    def _short_side(self, size: Size) -> int:
        short = min(size) if self.size == "keep" else self.trained if self.size == "trained" else self.size
        if int(short) > MAX_SHORT_SIDE:
            raise DataError(
                f"would be made {short} pixels on its short side; --size takes up to {MAX_SHORT_SIDE}"
            )
        return int(short)


def _to_multiple(side: int) -> int:
    return max(1, round(side / MULTIPLE)) * MULTIPLE
