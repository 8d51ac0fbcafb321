"""From files to arrays of the network's size. Sizes are (height, width) in pixels.

Reader processes import this, so it imports no torch.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mcltool.core.errors import DataError, McltoolError
from mcltool.core.images import check_is_file, read_photo
from mcltool.core.pictures import Picture
from mcltool.core.pixels import Size, resize_photo, same_aspect
from mcltool.core.process import cores
from mcltool.plugin.contract import Condition, ConditionFiles, DatasetPlugin, rendered
from mcltool.translate.exemplars import Name, weights_of
from mcltool.translate.manifest import stamp
from mcltool.translate.plan import Task

if TYPE_CHECKING:
    from mcltool.model.network import EncodedExemplar

ROUNDED = 32
"""The network's sides are multiples of this, so that pictures of nearly one aspect share a batch."""
FINELY = 4
"""Used instead if the short side is no multiple of ROUNDED; every network takes it."""
MAX_ASPECT = 8.0
"""Longer pictures are refused: memory grows with the long side, and they are rarely meant."""
MAX_SHORT_SIDE = 2048
"""Larger short sides are refused: attention grows with the square of the number of pixels."""
FEW = 64
"""Tasks for which starting reader processes takes longer than they save."""
MOST_WORKERS = 8
"""Reader processes at most, unless asked for."""

OutputSize = int | str | Size
"""Of outputs: the short side in pixels, (height, width), "trained", or "keep"; see Settings."""

# --- sizes ---


def output_size(size: Size, short_side: int) -> Size:
    """``size`` scaled to the short side ``short_side``, the long side rounded to whole pixels.

    Raises DataError for a side of 0, an aspect above MAX_ASPECT or a short side above MAX_SHORT_SIDE.
    """
    height, width = size
    if min(size) < 1 or max(size) > MAX_ASPECT * min(size):
        raise DataError(f"{width} x {height} pixels: expected at most {MAX_ASPECT:g} times as long as wide")
    if short_side > MAX_SHORT_SIDE:
        raise DataError(
            f"its short side would be {short_side} pixels; --size allows at most {MAX_SHORT_SIDE}"
        )
    long_side = round(short_side * max(size) / min(size))
    return (short_side, long_side) if height <= width else (long_side, short_side)


def short_side_of(asked: OutputSize, trained: int) -> int:
    """The short side that is asked for; ``trained`` where that depends on the condition or is not said."""
    return min(asked) if isinstance(asked, tuple) else trained if isinstance(asked, str) else asked


def asked_size(size: Size, asked: OutputSize, trained: int) -> Size:
    """The output's size for a condition of ``size``. trained: short side that the model was trained at.

    Raises DataError as ``output_size``, and where (height, width) are asked of a condition of another aspect.
    """
    if not isinstance(asked, tuple):
        return output_size(size, min(size) if asked == "keep" else short_side_of(asked, trained))
    if not same_aspect(size, asked):
        (height, width), (high, wide) = asked, size
        raise DataError(
            f"{wide} x {high} pixels cannot be made {width} x {height} without distorting it: --size {min(asked)} "
            "keeps the aspect"
        )
    output_size(asked, min(asked))
    return asked


def network_size(size: Size, short_side: int) -> Size:
    """As ``output_size``, each side a multiple of 32, or of 4 where ``short_side`` is not a multiple of 32."""
    multiple = FINELY if short_side % ROUNDED else ROUNDED
    height, width = (max(1, round(side / multiple)) * multiple for side in output_size(size, short_side))
    return max(height, ROUNDED), max(width, ROUNDED)


# --- reading ---


@dataclass(frozen=True, eq=False)
class Photo:
    """An exemplar as read, or the cause why it cannot be used. pixels: (H, W, 3) at its network size.

    path, source: stamp of the file before it was read. encoded: once the network has seen it.
    """

    path: Name
    source: str
    cause: str = ""
    pixels: Picture | None = None
    encoded: EncodedExemplar | None = None

    @property
    def bytes(self) -> int:
        """What it takes on the device and here."""
        arrays = (*self.encoded, self.pixels) if self.encoded else ()
        return sum(array.nbytes for array in arrays if array is not None)


Request = Task | Name
"""What to read: a task's condition, or the photo of this path."""


def files_of(plugin: DatasetPlugin, path: Path, part: str = "") -> ConditionFiles:
    """The condition that ``path`` is one of the files of; part: which one, where they hold several."""
    alone = ConditionFiles(path.stem, (path,), part)
    if type(plugin).conditions is DatasetPlugin.conditions:  # a condition is a file
        return alone
    try:
        of_path = (found for found in plugin.conditions(path.parent) if path in found.files)
        return next((found for found in of_path if part in ("", found.part)), alone)
    except McltoolError:  # of another file in the folder
        return alone


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
    planes = rendered(plugin, condition.resized(size))
    return np.ascontiguousarray(planes if planes.ndim == 2 else planes.transpose(2, 0, 1))


def prepare_photo(photo: Picture, short_side: int) -> Picture:
    """An exemplar (H, W, 3) at its network size."""
    height, width = photo.shape[:2]
    return resize_photo(photo, network_size((height, width), short_side))


class Preparer:
    """Reads conditions and exemplars for a model; pickled to reader processes.

    trained: short side in pixels that the model was trained at. size: as in Settings.
    """

    def __init__(self, plugin: DatasetPlugin, trained: int, size: OutputSize = "trained") -> None:
        self.plugin, self.size, self._trained = plugin, size, trained
        self._short_side = short_side_of(size, trained)
        plugin.short_side = 0 if size == "keep" else self._short_side

    def condition(self, task: Task) -> Task:
        """Read and resize a condition, and the regions of its exemplars. Errors of files are its cause, not raised."""
        started, source = time.perf_counter(), stamp(task.sources())
        try:
            read = read_condition(self.plugin, [Path(path) for path in task.files], task.part)
            try:
                task = self._prepared(task, read)
            except DataError as error:
                task = replace(task, cause=f"{task}: {error}")
        except McltoolError as error:
            task = replace(task, cause=str(error))
        return replace(task, source=source, milliseconds=1000 * (time.perf_counter() - started))

    def _prepared(self, task: Task, read: Condition) -> Task:
        size = asked_size(read.size, self.size, self._trained)
        pixels = prepare_condition(self.plugin, read, network_size(size, min(size)))
        if len(task.exemplars) < 2:
            return replace(task, size=size, pixels=pixels)
        weights, uncovered = weights_of(task.exemplars, pixels, read.size, self.plugin.spec)
        return replace(task, size=size, pixels=pixels, weights=weights, uncovered=uncovered)

    def photo(self, path: Name) -> Photo:
        """Read and resize an exemplar. Errors of its file are its cause, not raised."""
        source = stamp([path])
        try:
            pixels = read_photo(Path(path), self._short_side)
            try:
                return Photo(path, source, "", prepare_photo(pixels, self._short_side))
            except DataError as error:
                return Photo(path, source, f"{path}: {error}")
        except McltoolError as error:
            return Photo(path, source, str(error))

    def __call__(self, request: Request) -> Task | Photo:
        return self.condition(request) if isinstance(request, Task) else self.photo(request)


def default_workers(device: str, tasks: int) -> int:
    """Reader processes: none for a model on the CPU, which needs the cores itself, or for a few files."""
    if device == "cpu" or tasks < FEW:
        return 0
    return max(1, min(MOST_WORKERS, cores() - 2))
