"""Samples and their files: reading photos with conditions, writing conditions, and what to say of a data set.

Doubtful samples and unread files are reported, never corrected. This module does not import torch: commands
that only read start quickly.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcltool.core.errors import DataError, McltoolError, UsageError, naming
from mcltool.core.files import NAME_ERRORS
from mcltool.core.images import photo_orientation
from mcltool.core.patience import limited
from mcltool.core.pixels import Photo, Size, same_aspect
from mcltool.plugin.contract import IMAGE_SUFFIXES, Condition, DatasetPlugin, Sample, rendered

View = tuple[Photo, Condition]
"""A photo and its condition, moved alike."""

FEW = 32
"""Samples to look at where not all are read."""
SHARE = 0.1
"""A doubt about a smaller share of the samples is taken for chance."""
TURNED = (
    "its EXIF orientation turns the photo; 'data preview' shows whether the condition fits; --no-exif takes photos as "
    "they are stored (--exif: they are right)"
)

_NO_PICTURES = {
    ".txt", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".html", ".md", ".yaml", ".yml", ".toml", ".ini", ".log", ".py",
    ".sh", ".pdf", ".db", ".lock", ".sha256", ".npy", ".npz", ".mat", ".h5", ".parquet", ".pkl", ".pth", ".pt",
    ".safetensors", ".zip", ".tar", ".gz",
}  # fmt: skip
_PICTURES_BEGIN = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"II*\0", b"MM\0*", b"BM")
SHOWN = 3
"""Names in a line."""


def read_view(plugin: DatasetPlugin, sample: Sample, short_side: int) -> View:
    """A sample's photo and condition as its plugin reads them (see DatasetPlugin.photo).

    Raises DataError for what cannot be read, and where the two are not of one picture.
    """
    with limited(f"{plugin.name}: reading sample {sample.id}"):
        photo, condition = photo_of(plugin, sample, short_side), plugin.condition(sample, short_side)
    if cause := mismatch(plugin, sample, photo.shape[:2], condition.size):
        raise DataError(cause)
    return photo, condition


def photo_of(plugin: DatasetPlugin, sample: Sample, short_side: int) -> Photo:
    """A sample's photo. Raises DataError for what cannot be read or is no (H, W, 3) uint8."""
    photo = plugin.photo(sample, short_side)
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8:
        raise DataError(f"{plugin.name}: photo() gave {photo.shape} {photo.dtype}, expected (H, W, 3) uint8")
    return photo


def mismatch(plugin: DatasetPlugin, sample: Sample, photo: Size, condition: Size) -> str:
    """Why a photo and a condition of these sizes cannot be of one picture; "" where they can."""
    if same_aspect(photo, condition):
        return ""
    (high, wide), (height, width) = photo, condition
    cause = (
        f"{sample.photo or sample.id}: the photo is {wide} x {high} pixels and its condition {width} x {height}: "
        "expected the same picture, but their aspects differ"
    )
    fits_unturned = plugin.follow_exif is not False and same_aspect((wide, high), condition)
    if fits_unturned and _orientation(sample) > 4:
        return f"{cause}; the photo's EXIF orientation turns it, --no-exif takes it as it is stored"
    return cause


def planes_of(plugin: DatasetPlugin, condition: Condition) -> NDArray[Any]:
    """A condition rendered for the networks: (H, W) uint8 labels, or (C, H, W) float32 in [0, 1].

    Raises DataError where that is not what the plugin's spec and the contract say.
    """
    planes = rendered(plugin, condition)
    return planes if planes.ndim == 2 else planes.transpose(2, 0, 1)


def device_input(plugin: DatasetPlugin, condition: Condition) -> NDArray[Any]:
    """What is sent to the device for a condition: its points (K, 2) float32 where the plugin draws them there (see
    DatasetPlugin.draw_points), else ``planes_of`` it. Raises DataError as that does."""
    if plugin.draw_points is None:
        return planes_of(plugin, condition)
    points = condition.points
    if points is None or condition.raster is not None or points.ndim != 2 or points.shape[1] != 2:
        raise DataError(f"{plugin.name}: draw_points() needs conditions of points alone, (K, 2) float32")
    return points.astype(np.float32, copy=False)


def distinct(plugin: DatasetPlugin, samples: Iterable[Sample]) -> Iterator[Sample]:
    """The samples of a split. Raises UsageError at one that has the id of another."""
    ids: set[str] = set()
    for sample in samples:
        if sample.id in ids:
            raise UsageError(
                f"{plugin.name}: two samples have the id {sample.id!r}: nothing could tell them apart; give the files "
                "names of their own, or have the plugin make ids of their paths"
            )
        ids.add(sample.id)
        yield sample


# --- conditions as files ---


class ExportedCondition(NamedTuple):
    """One sample's outcome: the file, or else why there is none."""

    id: str
    path: Path | None
    cause: str = ""


def export_conditions(
    plugin: DatasetPlugin, samples: Sequence[Sample], out: Path, short_side: int
) -> Iterator[ExportedCondition]:
    """Write the condition of every sample below ``out``, named by the sample's id; one result a sample.

    short_side: in pixels, for conditions that are drawn rather than read. Files that are there are replaced.
    Raises UsageError where ``out`` is a file, OSError where nothing more can be written, as on a full disk.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: expected a folder to write to, found a file")
    return (_export(plugin, sample, out, short_side) for sample in samples)


def _export(plugin: DatasetPlugin, sample: Sample, out: Path, short_side: int) -> ExportedCondition:
    name = PurePosixPath(sample.id)
    try:
        if name.is_absolute() or ".." in name.parts:
            raise DataError(f"{sample.id}: not a name of a file below {out}")
        condition = plugin.condition(sample, short_side)
    except (McltoolError, OSError) as error:
        return ExportedCondition(sample.id, None, str(error))
    try:
        with naming(out / name):
            return ExportedCondition(sample.id, plugin.write_condition(condition, out / name))
    except McltoolError as error:
        return ExportedCondition(sample.id, None, str(error))
    except OSError as error:
        if error.errno not in NAME_ERRORS:
            raise
        return ExportedCondition(sample.id, None, str(error))


# --- what may have been read wrongly ---


def doubts_of(plugin: DatasetPlugin, sample: Sample, condition: Condition) -> list[str]:
    """What looks wrong about one sample, a line each."""
    found = [plugin.doubt(condition)]
    if plugin.follow_exif is None and _orientation(sample) != 1:
        found.append(TURNED)
    return [line for line in found if line]


def doubts_among(plugin: DatasetPlugin, samples: Sequence[Sample]) -> list[str]:
    """What looks wrong about a data set, by a few samples. Unreadable ones are skipped: reading them reports them."""
    some = [sample for sample in samples[:: max(1, len(samples) // FEW)][:FEW] if sample.condition]
    counts: Counter[str] = Counter()
    for sample in some:
        try:
            counts.update(doubts_of(plugin, sample, plugin.condition(sample, 256)))
        except DataError:
            continue
    return summed_up(counts, len(some))


def summed_up(counts: Counter[str], samples: int) -> list[str]:
    """The doubts that enough of so many samples share, a line each."""
    left = {line: n for line, n in counts.items() if line == TURNED or n > SHARE * samples}
    return [f"{n} of {samples} samples: {line}" for line, n in left.items()]


def _orientation(sample: Sample) -> int:
    """The EXIF orientation of a sample's photo; 1, upright, where nothing is said."""
    try:
        return photo_orientation(sample.photo) if sample.photo else 1
    except DataError:
        return 1


# --- files that lie where pictures are looked for and are not read ---


def unread(folder: Path) -> str:
    """A line on the files below ``folder`` that may be pictures of a kind that is not read; "" where there are none."""
    kinds: Counter[str] = Counter()
    names: list[str] = []
    for name, suffix in chain.from_iterable(_files(folder)):
        known = suffix in IMAGE_SUFFIXES or suffix in _NO_PICTURES
        if not known and (suffix or _begins_like_a_picture(folder / name)):  # else README, LICENSE
            kinds[suffix or "without suffix"] += 1
            names.append(name)
    if not names:
        return ""
    found = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    return f"not read below {folder}: {found} ({_some(names)}); convert pictures to PNG or JPEG"


def unused(root: Path, samples: Iterable[Sample]) -> str:
    """A line on the pictures below ``root`` that are in none of ``samples``; "" where there are none."""
    used = {os.path.abspath(path) for s in samples for path in (s.photo, *s.condition) if path is not None}
    pictures = (name for name, suffix in chain.from_iterable(_files(root)) if suffix in IMAGE_SUFFIXES)
    left = [name for name in pictures if os.path.abspath(os.path.join(root, name)) not in used]
    return f"in no sample: {len(left)} pictures below {root} ({_some(left)})" if left else ""


def _files(folder: Path) -> Iterator[list[tuple[str, str]]]:
    """Name and suffix of each file below ``folder``, a list a folder, sorted; what is hidden is left out."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inner = os.path.relpath(place, folder)
        yield [
            (os.path.normpath(os.path.join(inner, name)), os.path.splitext(name)[1].lower())
            for name in sorted(files)
            if not name.startswith(".")
        ]


def _begins_like_a_picture(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(8).startswith(_PICTURES_BEGIN)
    except OSError:
        return False


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
