"""The data set plugin contract: what a plugin author subclasses. Importing it loads neither torch nor NumPy.

A data set is an index of samples (a photo and the files of its condition) and a reader of conditions, which serves
training and ``translate-dir`` alike. Everything here is plain data: no tensors, no devices.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mcltool.core.errors import DataError, UsageError
from mcltool.core.files import IMAGE_SUFFIXES, walk_files, walk_names
from mcltool.plugin.spec import RGB, ConditionFiles, ConditionSpec, Sample, Truth

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "CONTRACT_VERSION", "IMAGE_SUFFIXES", "PLUGIN_NAME", "RGB", "Condition", "ConditionFiles", "ConditionSpec",
    "DatasetPlugin", "PointDrawing", "Sample", "Truth", "rendered", "walk_files",
]  # fmt: skip

CONTRACT_VERSION = 2
"""The version that plugins are made for. Plugins made for version 1 still work."""

PLUGIN_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
"""What a plugin's name may be."""

PointDrawing = Callable[[Any, Any, Any, Any], Any]  # DatasetPlugin.draw_points


@dataclass(frozen=True, eq=False)
class Condition:
    """A condition as read, before it is resized, cropped or flipped.

    size: (height, width) of its canvas in pixels.
    raster: (H, W) or (H, W, C) uint8; uint16 or float32 for a measure (depth, normals), with ``smooth``.
    points: (K, 2) float32 x, y in pixels; NaN where a point is absent.
    smooth: the raster is a line drawing, a picture or a measure, resized by averaging each channel; otherwise it
        is labels, resized by nearest neighbour.
    mirror: pairs that swap when the picture is mirrored (left hand and right hand): rows of points where there are
        points, else labels of a (H, W) raster or channels of a (H, W, C) one.
    turned: (2, 2) float64 matrix from x, y as read to x, y now: how augmentation has turned, mirrored, sheared and
        zoomed the picture. ``render`` applies it to values that are directions (normals, flow). Resizing does not
        change it. None: unchanged.
    A condition has a raster, points, or both; ``DatasetPlugin.render`` turns them into planes.
    """

    size: tuple[int, int]
    raster: NDArray[Any] | None = None
    points: NDArray[np.float32] | None = None
    smooth: bool = False
    mirror: tuple[tuple[int, int], ...] = ()
    turned: NDArray[np.float64] | None = None

    def resized(self, size: tuple[int, int]) -> Condition:
        """The condition on a canvas of ``size``: a smooth raster like a photo, others like labels, points scaled.

        Absent points (NaN) stay absent. One that has this size is returned itself.
        """
        if self.size == size:
            return self
        import numpy as np

        from mcltool.core.pixels import resize_labels, resize_photo

        raster, points = self.raster, self.points
        if raster is not None:
            raster = resize_photo(raster, size) if self.smooth else resize_labels(raster, size)
        if points is not None:
            scale = np.array([size[1] / self.size[1], size[0] / self.size[0]], np.float32)
            points = (points + np.float32(0.5)) * scale - np.float32(0.5)
        return replace(self, size=size, raster=raster, points=points)


class DatasetPlugin(ABC):
    """A data set. Register a subclass under the entry point group ``mcltool.datasets``. Instances are pickled to
    worker processes, so they hold no open files."""

    name: ClassVar[str]
    version: ClassVar[str] = "1"
    contract: ClassVar[int] = CONTRACT_VERSION
    needs_root: ClassVar[bool] = True
    """Whether the data set is in a folder (``--root``)."""
    home_page: ClassVar[str] = ""
    """Where to get the data set and read its terms."""
    preset: ClassVar[str] = "base"
    """The preset that ``fit`` uses without --preset."""
    defaults: ClassVar[Mapping[str, Any]] = {}
    """Training settings, as ``{"loss.fm": 0.1}``; the user's own override them."""
    canvas: tuple[int, int] | None = None
    """(height, width) in pixels of conditions whose files do not say it, if the user does (``--canvas``)."""
    short_side: int = 0
    """Short side in pixels at which ``read_condition`` should draw conditions that are drawn; 0: its own choice."""
    follow_exif: bool | None = None
    """Whether photos and label maps are turned as their EXIF orientation says: True and None turn them; the user says
    True with ``--exif`` and False with ``--no-exif``."""
    numberings: ClassVar[Mapping[str, Mapping[int, int]]] = {}
    """Other numberings of label files in use: by name, the class of each number. See ``numbers``."""
    label_numbering: str = ""
    """The numbering that the user named (``--labels``): one of ``numberings``, or "standard"; "" without it."""
    draw_points: PointDrawing | None = None
    """For channel conditions of points alone: a static method ``draw_points(xp, points, x, y)`` that draws a batch.

    In training the points are drawn on the device. ``render`` uses it too; if overridden, it must give the same.
    xp: the library of the arrays, numpy or torch, for functions that both have under one name (``xp.exp``,
    ``xp.where``). points: (B, K, 2) float32, NaN where absent. x: (W,) and y: (H,) float32, the pixels' centres.
    Returns (B, C, H, W) float32 in [0, 1], each sample independent of the others.
    """
    assumed: Sequence[str] = ()
    """What ``for_data`` assumed, a line each, for commands to print."""
    description: tuple[str, str] | None = None
    """Name and text of a file that ``data describe`` writes to the data set's folder, to be corrected by hand."""

    @property
    @abstractmethod
    def spec(self) -> ConditionSpec:
        """What a condition is made of. Raises UsageError where that depends on data not seen yet (``for_data``)."""

    def for_data(self, root: Path | None, condition: str = "") -> DatasetPlugin:
        """The plugin for the data set in ``root``; where the spec depends on the data, one that has it.

        condition: the user's choice among several (--condition). Default: itself. Raises UsageError.
        """
        if condition:
            raise UsageError(f"--condition: the data set {self.name} has one kind of condition")
        return self

    def for_spec(self, spec: ConditionSpec) -> DatasetPlugin:
        """The plugin for weights or a pack with this ``spec``; ``spec.reading`` says how files are read.

        Default: itself; the caller compares the specs. Raises UsageError for a spec it cannot understand.
        """
        return self

    @property
    def numbers(self) -> Mapping[int, int] | None:
        """The class of each number in label files, for ``read_labels``; None where numbers are classes."""
        return self.numberings.get(self.label_numbering)

    def doubt(self, condition: Condition) -> str:
        """Why ``condition`` looks as if it was read wrongly, and what to do about it; "" if it does not.

        ``data check``, ``pack`` and ``fit`` say it where more than a tenth of the samples give the same. Default: "".
        """
        return ""

    @abstractmethod
    def index(self, root: Path | None, split: str) -> Sequence[Sample]:
        """The samples of ``split`` ("train" or "val") in a fixed order.

        Raises UsageError naming the folder and what was expected in it.
        """

    @abstractmethod
    def read_condition(self, files: Sequence[Path]) -> Condition:
        """Read one condition from its files. Raises DataError naming the file and what was expected."""

    def read_part(self, files: Sequence[Path], part: str) -> Condition:
        """Condition ``part`` of several in ``files``; errors as ``read_condition``. Default: ``read_condition``."""
        return self.read_condition(files)

    def conditions(self, folder: Path) -> Iterator[ConditionFiles]:
        """The conditions below ``folder``, recursively and sorted. Default: every image file; and anything else with
        an image's name (a dangling link, a pipe, an empty folder), so that reading it fails rather than it is lost."""
        for name in walk_names(folder, IMAGE_SUFFIXES, every=True):
            yield ConditionFiles(name.rpartition(".")[0], (Path(folder, name),))

    def photo(self, sample: Sample, short_side: int) -> NDArray[np.uint8]:
        """The photo as (H, W, 3) uint8 RGB, upright.

        short_side: the caller resizes to this short side in pixels; the photo may be of any size not below it.
        """
        from mcltool.core.images import read_photo

        if sample.photo is None:
            raise DataError(f"{self.name}: sample {sample.id} has no photo file")
        return read_photo(sample.photo, short_side, self.follow_exif is not False)

    def condition(self, sample: Sample, short_side: int) -> Condition:
        """The condition of a sample; ``short_side`` as in ``photo``."""
        return self.read_part(sample.condition, sample.part)

    def render(self, condition: Condition) -> NDArray[Any]:
        """The planes of a resized and cropped condition: (H, W) uint8 labels, or (H, W, C) float32 in [0, 1]."""
        if condition.raster is not None:
            return condition.raster
        if self.draw_points is None or condition.points is None:
            raise DataError(f"{self.name}: conditions of points need draw_points() or render()")
        import numpy as np

        y, x = (np.arange(side, dtype=np.float32) for side in condition.size)
        planes: NDArray[Any] = self.draw_points(np, condition.points[None], x, y)[0].transpose(1, 2, 0)
        return planes

    def write_condition(self, condition: Condition, stem: Path) -> Path:
        """Write a condition to files that ``conditions`` finds and ``read_part`` reads; returns the first.

        stem: the path without suffix; its last name may contain dots. Default: a (H, W) raster as a lossless PNG;
        raises DataError for any other condition.
        """
        from mcltool.core.pictures import save_png

        raster = condition.raster
        if raster is None or raster.ndim != 2 or condition.points is not None:
            raise DataError(f"{self.name}: conditions of several planes need a write_condition()")
        path = stem.with_name(f"{stem.name}.png")
        labels = self.spec.kind == "labels" and not condition.smooth
        save_png(path, raster, self.spec.palette if labels else ())
        return path

    def truth(self, condition: Sample, exemplar: Sample, short_side: int) -> Truth | None:
        """The exact answer for a pair, if the data set knows it (procedural data)."""
        return None


def rendered(plugin: DatasetPlugin, condition: Condition) -> NDArray[Any]:
    """What ``plugin.render`` makes of a condition, checked: (H, W) uint8 labels, or (H, W, C) float32 in [0, 1].

    Raises DataError where it is not what the plugin's spec and the contract say.
    """
    planes, classes = plugin.render(condition), len(plugin.spec.names)
    is_labels = plugin.spec.kind == "labels"
    shape = condition.size if is_labels else (*condition.size, classes)
    dtype = "uint8" if is_labels else "float32"
    if planes.shape != shape or planes.dtype != dtype:
        found = f"{planes.shape} {planes.dtype}"
        raise DataError(f"{plugin.name}: render() gave {found}, expected {shape} {dtype}")
    if is_labels and planes.max() >= classes:
        raise DataError(f"{plugin.name}: label {planes.max()} is outside the classes 0..{classes - 1}")
    return planes
