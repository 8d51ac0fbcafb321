"""The data set plugin contract: what a plugin author subclasses. Imports neither torch nor NumPy when loaded.

A data set is an index of samples (one photo and the files of its condition each) and a reader of conditions.
The same reader serves training and ``translate-dir``. Everything here is plain data: no tensors, no devices.
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from mcltool.core.errors import DataError, UsageError
from mcltool.core.files import parse_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CONTRACT_VERSION = 2
"""What a plugin is made for. Those made for version 1 work as they did."""
IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif", ".avif"}
    | {".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm"}
)

RGB = tuple[int, int, int]
PointDrawing = Callable[[Any, Any, Any, Any], Any]
"""See DatasetPlugin.draw_points."""


@dataclass(frozen=True)
class ConditionSpec:
    """What a condition of this data set is made of. It travels in the weights' header.

    kind: "labels": one class index a pixel; "channels": ``len(names)`` numbers in [0, 1] a pixel.
    names: class names (index = class) or channel names.
    palette: a colour a name, for pictures of conditions and for colour-coded masks.
    unknown: the class that means "nothing is known here", if there is one (labels only).
    reading: how files are read, in the plugin's own words, where not the plugin but its data set says it
        (see DatasetPlugin.for_data).
    """

    kind: Literal["labels", "channels"]
    names: tuple[str, ...]
    palette: tuple[RGB, ...]
    unknown: int | None = None
    reading: str = ""

    def __post_init__(self) -> None:
        if self.kind not in ("labels", "channels"):
            raise ValueError(f"condition kind must be 'labels' or 'channels', not {self.kind!r}")
        if not 1 <= len(self.names) <= 255 or len(self.palette) != len(self.names):
            raise ValueError("a condition spec needs 1 to 255 names and one palette colour a name")
        if self.unknown is not None and (self.kind != "labels" or not 0 <= self.unknown < len(self.names)):
            raise ValueError("unknown must be the index of a class of a labels condition")

    @property
    def channels(self) -> int:
        """Number of planes a network sees (one a class or channel)."""
        return len(self.names)

    def to_json(self) -> str:
        fields = asdict(self)
        if not self.reading:
            del fields["reading"]  # as before there was such a thing
        return json.dumps(fields, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> ConditionSpec:
        """Raises ValueError (or TypeError, KeyError) where the text is not a condition spec."""
        raw = parse_json(text)
        palette = tuple((int(r), int(g), int(b)) for r, g, b in raw["palette"])
        names, unknown = tuple(str(n) for n in raw["names"]), raw["unknown"]
        if unknown is not None and type(unknown) is not int:
            raise TypeError("unknown must be a class's index")
        reading = raw.get("reading", "")
        if type(reading) is not str:
            raise TypeError("reading must be text")
        return cls(raw["kind"], names, palette, unknown, reading)


@dataclass(frozen=True, eq=False)
class Condition:
    """A condition as read, before it is resized, cropped or flipped.

    size: (height, width) of its canvas in pixels.
    raster: (H, W) or (H, W, C) uint8; uint16 or float32 where it is a measure (depth, normals), with ``smooth``.
    points: (K, 2) float32 x, y in pixels, moved as points; NaN where a point is absent.
    smooth: the raster is a line drawing, a picture or a measure, each channel resized by averaging; otherwise it
        is labels, resized by nearest neighbour.
    mirror: pairs that change places when the picture is mirrored (left hand and right hand): rows of points
        where there are points, else labels of a (H, W) raster or channels of a (H, W, C) one.
    turned: (2, 2) float64: how the picture was turned, mirrored, sheared and zoomed since it was read, from x, y
        of what was read to x, y of what is there. Set by augmentation; ``render`` applies it to values that are
        directions (normals, flow). Resizing leaves it alone. None: not at all.
    A condition has a raster, points, or both; ``DatasetPlugin.render`` makes the final planes of them.
    """

    size: tuple[int, int]
    raster: NDArray[Any] | None = None
    points: NDArray[np.float32] | None = None
    smooth: bool = False
    mirror: tuple[tuple[int, int], ...] = ()
    turned: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class ConditionFiles:
    """One condition on disk.

    id: unique in its folder, "/"-separated, without suffix.
    part: which one it is where the files hold several, in the plugin's own words; else empty.
    """

    id: str
    files: tuple[Path, ...]
    part: str = ""


@dataclass(frozen=True)
class Sample:
    """One photo and its condition.

    id: unique and stable within the split. photo: its file (None for procedural data).
    condition: the condition's files. group: samples of one group show the same thing in the same style (a
    garment from another side), so that each is a right exemplar for the others. Empty: no such group.
    part: as in ConditionFiles.
    """

    id: str
    photo: Path | None = None
    condition: tuple[Path, ...] = ()
    group: str = ""
    part: str = ""


@dataclass(frozen=True, eq=False)
class Truth:
    """What a procedural data set knows of a pair (condition, exemplar). H, W: the condition's size in pixels.

    image: (H, W, 3) uint8, the right answer.
    labels, exemplar_labels: (H, W) uint8 classes of condition and exemplar.
    background: the class that is reported apart.
    visible: (H, W) bool, False where the source of the pixel is hidden in the exemplar.
    source: (H, W, 2) float32 x, y of the pixel's source in the exemplar, NaN where hidden.
    place: (H, W, 2) float32, the pixel's place in the frame of the thing it belongs to.
    frames: (class, 2 x 3 matrix) of everything in the exemplar: from exemplar x, y, 1 to its frame.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    exemplar_labels: NDArray[np.uint8]
    background: int
    visible: NDArray[np.bool_]
    source: NDArray[np.float32]
    place: NDArray[np.float32]
    frames: tuple[tuple[int, NDArray[np.float32]], ...]


class DatasetPlugin(ABC):
    """A data set. Register a subclass under the entry point group ``mcltool.datasets``.

    Instances hold no open files and are pickled to worker processes.
    """

    name: ClassVar[str]
    version: ClassVar[str] = "1"
    contract: ClassVar[int] = CONTRACT_VERSION
    needs_root: ClassVar[bool] = True
    """Whether the data set lives in a folder (``--root``)."""
    home_page: ClassVar[str] = ""
    """Where a person gets the data set and reads its terms."""
    preset: ClassVar[str] = "base"
    """The preset that ``fit`` takes where a user names none."""
    defaults: ClassVar[Mapping[str, Any]] = {}
    """Training settings, as ``{"loss.fm": 0.1}``; what a user sets goes first."""
    canvas: tuple[int, int] | None = None
    """(height, width) in pixels of conditions whose files do not say it, where a user does (``--canvas``)."""
    short_side: int = 0
    """Short side in pixels at which ``read_condition`` is wanted, for conditions that are drawn; 0: nobody says."""
    follow_exif: bool | None = None
    """Whether photos and label maps are turned as their EXIF orientation says: False where a user said ``--no-exif``,
    True where they said ``--exif``; None turns them too."""
    numberings: ClassVar[Mapping[str, Mapping[int, int]]] = {}
    """Other numberings of label files that people have: by name, the class of each number. See ``numbers``."""
    label_numbering: str = ""
    """The numbering of label files that a user named (``--labels``): one of ``numberings``, or "standard"."""
    draw_points: PointDrawing | None = None
    """For channel conditions of points alone: a static method ``draw_points(xp, points, x, y)`` that draws a batch.

    In training the points travel to the device and are drawn there; ``render`` draws by it too, unless it is
    overridden, and must then give the same. xp: the library that the arrays are of, numpy or torch, for what both
    have under one name (``xp.exp``, ``xp.where``). points: (B, K, 2) float32, NaN where absent. x: (W,) and
    y: (H,) float32, the pixels' centres. Returns (B, C, H, W) float32 in [0, 1], each sample by itself.
    """

    assumed: Sequence[str] = ()
    """What ``for_data`` took for granted, a line each, for ``fit`` and others to say."""
    description: tuple[str, str] | None = None
    """Name and text of a file that ``data describe`` writes to the data set's folder for a person to correct."""

    @property
    @abstractmethod
    def spec(self) -> ConditionSpec:
        """What a condition of this data set is made of.

        Where the data say it (see ``for_data``), raises UsageError until they have.
        """

    def for_data(self, root: Path | None, condition: str = "") -> DatasetPlugin:
        """The plugin for the data set in ``root``: where the data say what a condition is, one that knows it.

        condition: which of several, where a user chose (--condition). Default: itself. Raises UsageError.
        """
        if condition:
            raise UsageError(f"--condition: the data set {self.name} has one kind of condition")
        return self

    def for_spec(self, spec: ConditionSpec) -> DatasetPlugin:
        """The plugin for weights or a pack with this ``spec``, of which ``spec.reading`` says how files are read.

        Default: itself, and who calls compares the specs. Raises UsageError where it cannot be understood.
        """
        return self

    @property
    def numbers(self) -> Mapping[int, int] | None:
        """The class of each number in label files, for ``read_labels``; None where they are the classes themselves."""
        return self.numberings.get(self.label_numbering)

    def doubt(self, condition: Condition) -> str:
        """What makes ``condition`` look like one that was read wrongly, or "": what it is, and the way out.

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
        """The condition ``part`` of the several that ``files`` hold; errors as ``read_condition``.

        Default: ``read_condition``, for data sets of one condition a file.
        """
        return self.read_condition(files)

    def conditions(self, folder: Path) -> Iterator[ConditionFiles]:
        """The conditions below ``folder``, recursively and sorted. Default: every image file is one.

        What has an image's name and is no file (a dangling link, a pipe, an empty folder) is one too, so that
        it is not passed over in silence: reading it fails.
        """
        for name in walk_names(folder, IMAGE_SUFFIXES, every=True):
            yield ConditionFiles(name.rpartition(".")[0], (Path(folder, name),))

    def photo(self, sample: Sample, short_side: int) -> NDArray[np.uint8]:
        """The photo as (H, W, 3) uint8 RGB, upright.

        short_side: the caller resizes to this short side in pixels; a reader may return anything not smaller.
        """
        from mcltool.core.images import read_photo

        if sample.photo is None:
            raise DataError(f"{self.name}: sample {sample.id} has no photo file")
        return read_photo(sample.photo, short_side, self.follow_exif is not False)

    def condition(self, sample: Sample, short_side: int) -> Condition:
        """The condition of a sample; ``short_side`` as in ``photo``."""
        return self.read_part(sample.condition, sample.part)

    def render(self, condition: Condition) -> NDArray[Any]:
        """Planes of a condition after geometry: (H, W) uint8 labels, or (H, W, C) float32 in [0, 1]."""
        if condition.raster is not None:
            return condition.raster
        if self.draw_points is None or condition.points is None:
            raise DataError(f"{self.name}: a condition of points needs its own draw_points() or render()")
        import numpy as np

        y, x = (np.arange(side, dtype=np.float32) for side in condition.size)
        planes: NDArray[Any] = self.draw_points(np, condition.points[None], x, y)[0].transpose(1, 2, 0)
        return planes

    def write_condition(self, condition: Condition, stem: Path) -> Path:
        """Write a condition to files that ``conditions`` finds and ``read_part`` reads; returns the first.

        stem: the path without suffix; its last name may hold dots. Default: a (H, W) raster as a PNG, which
        keeps it exactly. Raises DataError where the condition is anything else.
        """
        from mcltool.core.images import write_raster

        raster = condition.raster
        if raster is None or raster.ndim != 2 or condition.points is not None:
            raise DataError(
                f"{self.name}: its conditions are not of one plane: the plugin needs its own write_condition()"
            )
        path = stem.with_name(f"{stem.name}.png")
        labels = self.spec.kind == "labels" and not condition.smooth
        write_raster(raster, path, self.spec.palette if labels else ())
        return path

    def truth(self, condition: Sample, exemplar: Sample, short_side: int) -> Truth | None:
        """The exact answer for a pair, where the data set can know it (procedural data)."""
        return None


def walk_files(folder: Path, suffixes: frozenset[str], every: bool = False) -> Iterator[Path]:
    """Files below ``folder`` with one of ``suffixes`` (lower case, with dot), sorted, hidden ones left out.

    Links to folders are not followed. every: also what has such a name and is no file: dangling links, links
    to folders, pipes, folders with nothing to find in them. Raises UsageError where ``folder`` is not a folder
    or one in it cannot be listed.
    """
    return (Path(folder, name) for name in walk_names(folder, suffixes, every))


def walk_names(folder: Path, suffixes: frozenset[str], every: bool = False, inner: str = "") -> Iterator[str]:
    """As ``walk_files``, names relative to ``folder``, of what is below its ``inner`` ("" or "a/b/").

    Holds one folder's names at a time, and makes no Path of them: a million take a second.
    """
    try:
        with os.scandir(os.path.join(folder, inner)) as entries:
            names, folders = _wanted(entries, suffixes, every)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{folder / inner}: no such folder") from None
    except OSError as error:
        raise UsageError(f"{folder / inner}: cannot be listed ({error.strerror})") from None
    for name in names:
        if name not in folders:
            yield inner + name
            continue
        empty = True
        for found in walk_names(folder, suffixes, every, f"{inner}{name}/"):
            empty = False
            yield found
        if every and empty and _has_suffix(name, suffixes):
            yield inner + name


def _wanted(
    entries: Iterable[os.DirEntry[str]], suffixes: frozenset[str], every: bool
) -> tuple[list[str], set[str]]:
    """Sorted names of folders and of what has one of ``suffixes``; and which of them are folders."""
    names, folders = [], set()
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            folders.add(entry.name)
            names.append(entry.name)
        elif _has_suffix(entry.name, suffixes) and (every or entry.is_file()):
            names.append(entry.name)
    names.sort()
    return names, folders


def _has_suffix(name: str, suffixes: frozenset[str]) -> bool:
    return "." + name.rpartition(".")[2].lower() in suffixes
