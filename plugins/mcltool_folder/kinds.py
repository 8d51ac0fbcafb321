"""The kinds of conditions: their channels, how their files are read, and what a network sees of them.

Each reads to a raster of numbers that may be averaged, at the size of its file; ``planes`` makes channels from 0 to 1
of it after all geometry. Masks alone stay class numbers; beside others they are a channel a class.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
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
from mcltool_folder.description import RGB, Part
from mcltool_folder.files import write_array, write_image
from mcltool_folder.masks import read_mask, write_mask

Raster = NDArray[Any]
Planes = NDArray[np.float32]


Turned = NDArray[np.float64] | None
"""See mcltool.Condition."""


class Kind(ABC):
    """A part of the condition. names, palette: of its channels. width: channels of its raster."""

    names: tuple[str, ...]
    palette: tuple[RGB, ...]
    width: int = 1
    upright: bool = True
    """Whether pictures are turned as their EXIF orientation says."""

    def __init__(self, part: Part) -> None:
        self.part = part

    @abstractmethod
    def read(self, path: Path) -> Raster:
        """(H, W, width) uint8 or float32. Raises DataError."""

    @abstractmethod
    def planes(self, raster: Raster, turned: Turned) -> Planes:
        """(H, W, channels) from 0 to 1."""

    def write(self, raster: Raster, stem: Path) -> Path:
        """Write a raster to a file that ``read`` makes it of; returns it."""
        return write_image(np.asarray(np.rint(raster[..., 0] if self.width == 1 else raster), np.uint8), stem)


class ClassNumbers(Kind):
    """Masks alone: a class number a pixel, which are never averaged."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self.names = tuple(entry.name for entry in part.classes)
        self.palette = tuple(entry.colour for entry in part.classes)

    def read(self, path: Path) -> Raster:
        return read_mask(path, self.part, self.upright)[..., None]

    def planes(self, raster: Raster, turned: Turned) -> Planes:
        raise NotImplementedError("class numbers are no channels")

    def write(self, raster: Raster, stem: Path) -> Path:
        return write_mask(raster[..., 0], self.part, stem)


class Masks(ClassNumbers):
    """Masks beside something else: a channel a class."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self.width = len(self.names)

    def read(self, path: Path) -> Raster:
        return np.eye(self.width, dtype=np.uint8)[read_mask(path, self.part, self.upright)] * np.uint8(255)

    def planes(self, raster: Raster, turned: Turned) -> Planes:
        return np.asarray(raster / np.float32(255), np.float32)

    def write(self, raster: Raster, stem: Path) -> Path:
        return write_mask(raster.argmax(2).astype(np.uint8), self.part, stem)


class Edges(Kind):
    """A line drawing: what is a line, and how far the nearest is, as in the data set celebahq."""

    names = ("edge", "distance")
    palette = ((255, 255, 255), (40, 92, 140))

    def read(self, path: Path) -> Raster:
        return read_drawing(path, self.upright)[..., None]

    def planes(self, raster: Raster, turned: Turned) -> Planes:
        return edge_planes(np.clip(raster[..., 0], 0, 255).astype(np.uint8))

    def draw(self, photo: NDArray[np.uint8], mask: Path | None) -> Raster:
        """The photo's edges; with a mask at the mask's size, its outlines too, and no edges in its background."""
        if mask is None:
            return draw_lines(photo)[..., None]
        classes = read_mask(mask, self.part, self.upright)
        names = [entry.name for entry in self.part.classes]
        ground = names.index(self.part.background) if self.part.background else len(names)
        return draw_lines(photo, classes, classes != ground)[..., None]


class Depth(Kind):
    """A measure a pixel. Where there is a void value, what is known of a pixel is kept beside it."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self.width = 1 if part.void is None else 2
        self.names, self.palette = (
            ("depth", "known")[: self.width],
            ((240, 240, 236), (40, 92, 140))[: self.width],
        )

    def read(self, path: Path) -> Raster:
        values = read_measure(path)
        if values.ndim != 2:
            raise DataError(f"{path}: expected one number a pixel (depth), found {values.shape}")
        known = (
            np.isfinite(values)
            if self.part.void is None
            else np.isfinite(values) & (values != self.part.void)
        )
        if self.part.void is None and not known.all():
            raise DataError(f"{path}: has values that are no numbers; give void in dataset.toml")
        least, most = self.part.range or (0.0, 1.0)
        scaled = np.where(known, (values.astype(np.float64) - least) / (most - least), 0)
        outside = np.abs(scaled - 0.5).max() - 0.5
        if outside > 1e-6:
            found = f"{values[known].min():g} to {values[known].max():g}"
            raise DataError(f"{path}: has {found}, outside the range {least:g} to {most:g} of the data set")
        planes = [scaled, known][: self.width]
        return np.stack(planes, 2).astype(np.float32)

    def planes(self, raster: Raster, turned: Turned) -> Planes:
        found = np.asarray(raster, np.float32)
        if self.width == 2:  # each neighbour counted as much as it is known
            known = found[..., 1:]
            value = np.divide(found[..., :1], known, out=np.zeros_like(known), where=known > 1e-3)
            found = np.concatenate([value, known], 2)
        return np.asarray(np.clip(found, 0, 1), np.float32)

    def write(self, raster: Raster, stem: Path) -> Path:
        least, most = self.part.range or (0.0, 1.0)
        values = np.clip(raster[..., 0], 0, 1) * (most - least) + least
        if self.part.void is not None:
            values = np.where(raster[..., 1] > 0.5, values, self.part.void)
        return write_array(values.astype(np.float32), stem)


class Normals(Kind):
    """Unit vectors: x to the right, y up or down as the file has it, z towards the viewer."""

    names = ("x", "y", "z")
    palette = ((230, 57, 70), (42, 157, 84), (69, 123, 200))
    width = 3

    def read(self, path: Path) -> Raster:
        values = read_measure(path)
        if values.ndim != 3 or values.shape[2] != 3 or not np.isfinite(values).all():
            raise DataError(f"{path}: expected three numbers a pixel (normals), found {values.shape}")
        least, most = self.part.range or (0.0, 255.0)
        return np.asarray((values.astype(np.float64) - least) * (2 / (most - least)) - 1, np.float32)

    def write(self, raster: Raster, stem: Path) -> Path:
        least, most = self.part.range or (0.0, 255.0)
        return write_array(((raster + 1) * ((most - least) / 2) + least).astype(np.float32), stem)

    def planes(self, raster: Raster, turned: Turned) -> Planes:
        """A surface z(x, y) seen at A (x, y) has slopes A^-T times what they were, at the size it is seen at."""
        A = np.eye(2) if turned is None else turned
        flip = np.diag([1.0, -1.0 if self.part.y == "up" else 1.0])  # y of pictures is down
        slopes = flip @ (np.sqrt(abs(np.linalg.det(A))) * np.linalg.inv(A).T) @ flip
        vectors = np.array(raster, np.float32)
        vectors[..., :2] = vectors[..., :2] @ slopes.T.astype(np.float32)
        length = np.linalg.norm(vectors, axis=2, keepdims=True)
        return np.asarray(np.clip(vectors / np.maximum(length, 1e-6) / 2 + 0.5, 0, 1), np.float32)


class Picture(Kind):
    """Any picture in colour."""

    names = ("red", "green", "blue")
    palette = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
    width = 3

    def read(self, path: Path) -> Raster:
        return read_photo(path, upright=self.upright)

    def planes(self, raster: Raster, turned: Turned) -> Planes:
        return np.asarray(raster / np.float32(255), np.float32)


class _PoseFiles(PosePlugin):
    name = "poses"

    def index(self, root: Path | None, split: str) -> Sequence[Sample]:
        raise NotImplementedError("photos are found by the layout")


class Poses(Kind):
    """Joints, as every data set of poses reads and draws them."""

    names, palette = _PoseFiles().spec.names, _PoseFiles().spec.palette
    width = 0

    def read(self, path: Path) -> Raster:
        raise NotImplementedError("joints are points")

    def planes(self, raster: Raster, turned: Turned) -> Planes:
        raise NotImplementedError("joints are points")

    def read_pose(self, sample: Sample, files: tuple[Path, ...], canvas: tuple[int, int] | None) -> Condition:
        reader = _PoseFiles()
        reader.canvas, reader.follow_exif = canvas, self.upright
        return reader.condition(replace(sample, condition=files), 0)

    def draw_pose(self, condition: Condition) -> Planes:
        return _PoseFiles().render(replace(condition, raster=None))

    def write_pose(self, condition: Condition, stem: Path) -> Path:
        return _PoseFiles().write_condition(replace(condition, raster=None), stem)


KIND_OF: dict[str, type[Kind]] = {
    "labels": Masks,
    "edges": Edges,
    "depth": Depth,
    "normals": Normals,
    "picture": Picture,
    "poses": Poses,
}
