"""Conditions of several parts: sharing out files, putting rasters together, and finding and writing files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mcltool import Condition, ConditionFiles, DataError
from mcltool_folder.description import Part
from mcltool_folder.samples import find_conditions


def share_out(files: Sequence[Path], parts: Sequence[Part], made: bool) -> list[tuple[Path, ...]]:
    """The files of each part: one each, poses what is left over. made: parts without a folder have none."""
    counts = [0 if made and part.made and not part.files else 1 for part in parts]
    spare = len(files) - sum(counts)
    poses = next((number for number, part in enumerate(parts) if part.kind == "poses"), None)
    if spare < 0 or (spare and poses is None):
        what = " and ".join(part.kind for part in parts)
        raise DataError(f"folder: a condition is one file of {what}, not {len(files)} files")
    if poses is not None:
        counts[poses] += spare
    ends = np.cumsum(counts).tolist()
    return [tuple(files[end - count : end]) for count, end in zip(counts, ends, strict=True)]


def merged(parts: Sequence[Condition], smooth: bool) -> Condition:
    """One condition of rasters (H, W, C) of one size, and of joints, which are scaled to it."""
    rasters = [part.raster for part in parts if part.raster is not None]
    pose = next((part for part in parts if part.points is not None), None)
    if pose is not None and not rasters:
        return pose
    sizes = sorted({raster.shape[:2] for raster in rasters})
    if len(sizes) > 1:
        words = " and ".join(f"{width} x {height}" for height, width in sizes)
        raise DataError(f"the parts of one condition have {words} pixels: make them of one size")
    raster = rasters[0] if len(rasters) == 1 else np.concatenate(rasters, 2)
    raster = raster[..., 0] if raster.shape[2] == 1 else raster
    if pose is None or pose.points is None:
        return Condition(sizes[0], raster, smooth=smooth)
    scale = np.array([sizes[0][1] / pose.size[1], sizes[0][0] / pose.size[0]], np.float32)
    points = (pose.points + np.float32(0.5)) * scale - np.float32(0.5)
    return Condition(sizes[0], raster, points, smooth, pose.mirror)


def find_together(folder: Path, parts: Sequence[Part]) -> Iterator[ConditionFiles]:
    """Conditions of several parts: X in a folder a part, or X.masks.png beside X.depth.npy. Sorted.

    One that lacks a part is found too: reading it says so.
    """
    names = [label(part) for part in parts]
    in_folders = all((folder / name).is_dir() for name in names)
    found: dict[str, list[ConditionFiles]] = defaultdict(list)
    for part, name in zip(parts, names, strict=True):
        for one in find_conditions(folder / name if in_folders else folder, part, every=True):
            if in_folders or one.id.endswith(f".{name}"):
                found[one.id if in_folders else one.id.removesuffix(f".{name}")].append(one)
    for id, ones in sorted(found.items()):
        yield ConditionFiles(
            id, tuple(path for one in ones for path in one.files), "".join(one.part for one in ones)
        )


def label(part: Part) -> str:
    """What a part is called in file names."""
    return part.kind if part.made else part.files.removesuffix("_file_name").strip("*_-") or part.kind
