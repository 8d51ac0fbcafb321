"""The kinds of conditions: their channels, how their files are read and written, and what a network sees of them.

Each part of a condition is read to a ``Condition`` of its own: a raster whose numbers may be averaged, at the size of
its file, or joints. ``planes`` turns it into channels from 0 to 1 after all geometry.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcltool import (
    Condition,
    DataError,
    Sample,
    draw_lines,
    edge_planes,
    read_drawing,
    read_measure,
    read_photo,
)
from mcltool.poses import PosePlugin
from mcltool_folder.classes import RGB
from mcltool_folder.description import Part
from mcltool_folder.files import read_mask, write_array, write_image, write_mask

Planes = NDArray[np.float32]


@dataclass(frozen=True)
class Source:
    """What a part is read from besides its files. photo: pixels to make drawings of. upright: whether pictures are
    turned as their EXIF orientation says. canvas: see DatasetPlugin."""

    sample: Sample
    photo: NDArray[np.uint8] | None
    upright: bool
    canvas: tuple[int, int] | None


class Kind(ABC):
    """A part of the condition. names, palette: of its channels. width: channels of its raster; 0: it has none."""

    names: tuple[str, ...]
    palette: tuple[RGB, ...]
    width: int = 1

    def __init__(self, part: Part) -> None:
        self.part = part
        self.least, self.most = part.range or (0.0, 1.0)

    @abstractmethod
    def read(self, files: Sequence[Path], source: Source) -> Condition:
        """A raster (H, W, width) of uint8 or float32, or joints. Raises DataError."""

    def planes(self, own: Condition) -> Planes:
        """(H, W, channels) from 0 to 1. own: this part alone. Default: of bytes."""
        return np.asarray(_raster(own) / np.float32(255), np.float32)

    def write(self, own: Condition, stem: Path) -> Path:
        """Write the part to a file that ``read`` reads again; returns its path. Default: bytes, as a PNG."""
        raster = np.asarray(np.rint(_raster(own)), np.uint8)
        return write_image(raster[..., 0] if self.width == 1 else raster, stem)


class ClassNumbers(Kind):
    """Masks alone: a class number a pixel. These are labels, not channels: never averaged, and rendered as they are."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self.names = tuple(entry.name for entry in part.classes)
        self.palette = tuple(entry.colour for entry in part.classes)

    def read(self, files: Sequence[Path], source: Source) -> Condition:
        return _condition(read_mask(files[0], self.part, source.upright)[..., None])

    def write(self, own: Condition, stem: Path) -> Path:
        return write_mask(_raster(own)[..., 0], self.part, stem)


class Masks(ClassNumbers):
    """Masks beside something else: a channel a class."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self.width = len(self.names)

    def read(self, files: Sequence[Path], source: Source) -> Condition:
        classes = read_mask(files[0], self.part, source.upright)
        return _condition(np.eye(self.width, dtype=np.uint8)[classes] * np.uint8(255))

    def write(self, own: Condition, stem: Path) -> Path:
        return write_mask(_raster(own).argmax(2).astype(np.uint8), self.part, stem)


class Edges(Kind):
    """A line drawing: what is a line, and how far the nearest is, as in the data set celebahq."""

    names = ("edge", "distance")
    palette = ((255, 255, 255), (40, 92, 140))

    def read(self, files: Sequence[Path], source: Source) -> Condition:
        """Made of a photo: its edges. With a mask, at its size: the outlines too, and no edges in its background."""
        if not self.part.made or source.photo is None:
            lines = read_drawing(files[0], source.upright)
        elif not files:
            lines = draw_lines(source.photo)
        else:
            classes = read_mask(files[0], self.part, source.upright)
            names = [entry.name for entry in self.part.classes]
            ground = names.index(self.part.background) if self.part.background else len(names)
            lines = draw_lines(source.photo, classes, classes != ground)
        return _condition(lines[..., None])

    def planes(self, own: Condition) -> Planes:
        return edge_planes(np.clip(_raster(own)[..., 0], 0, 255).astype(np.uint8))


class Depth(Kind):
    """A measure a pixel. Where there is a void value, a second channel says which pixels are known."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self.width = 1 if part.void is None else 2
        self.names = ("depth", "known")[: self.width]
        self.palette = ((240, 240, 236), (40, 92, 140))[: self.width]

    def read(self, files: Sequence[Path], source: Source) -> Condition:
        path, void = files[0], self.part.void
        values = read_measure(path)
        if values.ndim != 2:
            raise DataError(f"{path}: expected one number a pixel (depth), found {values.shape}")
        known = np.isfinite(values)
        if void is not None:
            known &= values != void
        elif not known.all():
            raise DataError(f"{path}: has values that are no numbers; give void in dataset.toml")
        scaled = np.where(known, (values.astype(np.float64) - self.least) / (self.most - self.least), 0)
        if np.abs(scaled - 0.5).max() > 0.5 + 1e-6:
            found, wanted = (
                f"{values[known].min():g} to {values[known].max():g}",
                f"{self.least:g} to {self.most:g}",
            )
            raise DataError(f"{path}: has {found}, outside the range {wanted} of the data set")
        return _condition(np.stack([scaled, known][: self.width], 2).astype(np.float32))

    def planes(self, own: Condition) -> Planes:
        found = np.asarray(_raster(own), np.float32)
        if self.width == 2:  # each neighbour counted as much as it is known
            known = found[..., 1:]
            value = np.divide(found[..., :1], known, out=np.zeros_like(known), where=known > 1e-3)
            found = np.concatenate([value, known], 2)
        return np.asarray(np.clip(found, 0, 1), np.float32)

    def write(self, own: Condition, stem: Path) -> Path:
        raster = _raster(own)
        values = np.clip(raster[..., 0], 0, 1) * (self.most - self.least) + self.least
        if self.part.void is not None:
            values = np.where(raster[..., 1] > 0.5, values, self.part.void)
        return write_array(values.astype(np.float32), stem)


class Normals(Kind):
    """Unit vectors: x to the right, y up or down as the file has it, z towards the viewer."""

    names = ("x", "y", "z")
    palette = ((230, 57, 70), (42, 157, 84), (69, 123, 200))
    width = 3

    def read(self, files: Sequence[Path], source: Source) -> Condition:
        values = read_measure(files[0])
        if values.ndim != 3 or values.shape[2] != 3 or not np.isfinite(values).all():
            raise DataError(f"{files[0]}: expected three numbers a pixel (normals), found {values.shape}")
        vectors = (values.astype(np.float64) - self.least) * (2 / (self.most - self.least)) - 1
        return _condition(vectors.astype(np.float32))

    def planes(self, own: Condition) -> Planes:
        """A surface z(x, y) seen at A (x, y) has slopes A^-T times what they were, at the size it is seen at."""
        A = np.eye(2) if own.turned is None else own.turned
        flip = np.diag([1.0, -1.0 if self.part.y == "up" else 1.0])  # y of pictures is down
        slopes = flip @ (np.sqrt(abs(np.linalg.det(A))) * np.linalg.inv(A).T) @ flip
        vectors = np.array(_raster(own), np.float32)
        vectors[..., :2] = vectors[..., :2] @ slopes.T.astype(np.float32)
        length = np.linalg.norm(vectors, axis=2, keepdims=True)
        return np.asarray(np.clip(vectors / np.maximum(length, 1e-6) / 2 + 0.5, 0, 1), np.float32)

    def write(self, own: Condition, stem: Path) -> Path:
        values = (_raster(own) + 1) * ((self.most - self.least) / 2) + self.least
        return write_array(values.astype(np.float32), stem)


class Picture(Kind):
    """Any picture in colour."""

    names = ("red", "green", "blue")
    palette = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
    width = 3

    def read(self, files: Sequence[Path], source: Source) -> Condition:
        return _condition(read_photo(files[0], upright=source.upright))


class _PoseFiles(PosePlugin):
    name = "poses"

    def index(self, root: Path | None, split: str) -> Sequence[Sample]:
        return ()  # the layout finds the photos


class Poses(Kind):
    """Joints, as every data set of poses reads and draws them."""

    names, palette = _PoseFiles().spec.names, _PoseFiles().spec.palette
    width = 0

    def read(self, files: Sequence[Path], source: Source) -> Condition:
        reader = _PoseFiles()
        reader.canvas, reader.follow_exif = source.canvas, source.upright
        return reader.condition(replace(source.sample, condition=tuple(files)), 0)

    def planes(self, own: Condition) -> Planes:
        return _PoseFiles().render(own)

    def write(self, own: Condition, stem: Path) -> Path:
        return _PoseFiles().write_condition(own, stem)


def _condition(raster: NDArray[Any]) -> Condition:
    return Condition((raster.shape[0], raster.shape[1]), raster)


def _raster(own: Condition) -> NDArray[Any]:
    assert own.raster is not None
    return own.raster


KIND_OF: dict[str, type[Kind]] = {
    "labels": Masks,
    "edges": Edges,
    "depth": Depth,
    "normals": Normals,
    "picture": Picture,
    "poses": Poses,
}
