"""Looks at a data set: reads every sample and reports what is wrong and what is in it; draws what training sees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcltool.core.config import DataConfig
from mcltool.core.errors import UsageError, one_line
from mcltool.core.pictures import Picture, contact_sheet, save_png
from mcltool.core.pixels import Size
from mcltool.data.batch import condition_picture
from mcltool.data.dataset import TrainingData
from mcltool.data.reading import distinct, doubts_of, mismatch, photo_of, planes_of, summed_up
from mcltool.data.retrieval import Vector, describe_view
from mcltool.data.workers import in_processes
from mcltool.plugin.contract import DatasetPlugin, Sample

FULL_SIZE = 1 << 16
"""A short side that no photo has: files are decoded at their own size."""
AT_ONCE = 8
"""Samples that a process gets together."""
DRAWN_SIZE = 256
"""Short side in pixels of what is drawn rather than read (procedural data)."""

NEAR = 0.2
"""Distance of descriptors below which two samples are nearly the same: a photo that was shrunk to two thirds, cut by
4 pixels a side or saved as JPEG again is 0.02 to 0.14 from itself, other photos of its kind mostly 0.4 and more."""


PREVIEWED = {
    "condition": "condition",
    "target": "target",
    "exemplar": "exemplar",
    "exemplar_condition": "its condition",
    "augmented": "augmented",
}
"""The columns of a preview: the part of a sample, and its name."""
PREVIEW_HEIGHT = 256
"""Pixels a picture there is high at most."""


@dataclass
class SplitReport:
    """What reading a split, or one sample of it, gave. problems: (sample id, cause). Sizes are (height, width)."""

    split: str
    samples: int = 0
    grouped: int = 0
    """Samples with another view of the same thing, a right exemplar. The others take a copy of themselves."""
    groups: int = 0
    photos: list[Size] = field(default_factory=list)
    conditions: list[Size] = field(default_factory=list)
    shares: NDArray[np.float64] | None = None
    """(K,) sum over the samples; see ``mean_shares``."""
    problems: list[tuple[str, str]] = field(default_factory=list)
    one_class: list[str] = field(default_factory=list)
    """Ids of samples whose mask is one class all over."""
    described: dict[str, Vector] = field(default_factory=dict)
    """Descriptors (see ``retrieval.describe``) by id, of samples without problems."""
    doubted: Counter[str] = field(default_factory=Counter)
    """How many samples gave each doubt."""

    @property
    def doubts(self) -> list[str]:
        return summed_up(self.doubted, self.samples)

    def add(self, other: SplitReport) -> None:
        """Take in what was read of other samples."""
        self.photos += other.photos
        self.conditions += other.conditions
        if other.shares is not None:
            self.shares = other.shares if self.shares is None else self.shares + other.shares
        self.problems += other.problems
        self.one_class += other.one_class
        self.described |= other.described
        self.doubted.update(other.doubted)

    def mean_shares(self) -> list[float]:
        """Of each class or channel the mean share of a sample's pixels, 0 to 1."""
        return [] if self.shares is None else (self.shares / len(self.conditions)).tolist()

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as ``mcltool data check --json`` prints it."""
        return {
            "split": self.split,
            "samples": self.samples,
            "groups": self.groups,
            "with_another_view": self.grouped,
            "photo_sizes": describe_sizes(self.photos),
            "condition_sizes": describe_sizes(self.conditions),
            "shares": self.mean_shares(),
            "problems": [{"sample": name, "cause": cause} for name, cause in self.problems],
            "doubts": self.doubts,
        }


def check_split(
    plugin: DatasetPlugin, samples: Sequence[Sample], report: SplitReport, workers: int = 0
) -> Generator[None, None, None]:
    """Read ``samples`` into ``report``, one step a sample, with ``workers`` processes (0: in this one)."""
    report.samples = len(samples)
    try:
        for _ in distinct(plugin, samples):
            pass
    except UsageError as error:
        report.problems.append(("", str(error)))
    sizes = Counter(sample.group for sample in samples if sample.group)
    report.groups, report.grouped = len(sizes), sum(size for size in sizes.values() if size > 1)
    for found in in_processes(partial(_examine_sample, plugin), samples, workers, AT_ONCE):
        report.add(found)
        yield


def _examine_sample(plugin: DatasetPlugin, sample: Sample) -> SplitReport:
    """Read one sample's photo and condition; whatever is wrong becomes a problem of the report."""
    report, problems = SplitReport(""), []
    side = FULL_SIZE if sample.photo else DRAWN_SIZE
    try:
        photo = photo_of(plugin, sample, side)
        report.photos.append((photo.shape[0], photo.shape[1]))
    except Exception as error:
        problems.append(one_line(error))
    try:
        condition = plugin.condition(sample, side)
        shares = _shares(planes_of(plugin, condition), plugin.spec.channels)
        report.conditions.append(condition.size)
        report.shares = shares
        if len(shares) > 1 and shares.max() == 1:
            report.one_class.append(sample.id)
        report.doubted.update(doubts_of(plugin, sample, condition))
    except Exception as error:
        problems.append(one_line(error))
    if report.photos and report.conditions:
        if cause := mismatch(plugin, sample, report.photos[0], condition.size):
            problems.append(cause)
        if not problems:
            report.described[sample.id] = describe_view(plugin, photo, condition)
    report.problems = [(sample.id, problem) for problem in problems]
    return report


def notes_on(reports: Sequence[SplitReport], wanted: Size, is_labels: bool) -> list[str]:
    """What a person may want to know before training, a line each. wanted: what training makes photos cover."""
    notes = []
    for report in reports:
        if is_labels and report.one_class:
            some = f"{len(report.one_class)} of {report.samples} masks"
            notes.append(f"{report.split}: {some} are one class all over, such as {report.one_class[0]}")
        small = sum(size[0] < wanted[0] or size[1] < wanted[1] for size in report.photos)
        if small:
            needs = f"the {wanted[1]} x {wanted[0]} pixels that fit loads by default: they are enlarged"
            notes.append(f"{report.split}: {small} of {report.samples} photos are smaller than {needs}")
    if len(reports) == 2:
        notes += _near_duplicates(*reports)
    return notes


def _near_duplicates(train: SplitReport, val: SplitReport) -> list[str]:
    """A note on held-out samples that training as good as sees."""
    if not (train.described and val.described):
        return []
    seen, names = np.stack(list(train.described.values())), list(train.described)
    lengths = np.square(seen).sum(1)
    found = []
    for name, vector in val.described.items():
        apart = lengths - 2 * (seen @ vector) + vector @ vector  # squared
        if apart.min() < NEAR**2:
            found.append((name, names[int(apart.argmin())]))
    if not found:
        return []
    one, other = found[0]
    pair = f"such as {one} and {other} of train"
    return [
        f"val: {len(found)} of {val.samples} samples are nearly the same as one of train, {pair}: scores flatter"
    ]


def save_preview(
    plugin: DatasetPlugin, samples: Sequence[Sample], config: DataConfig, seed: int, count: int, out: Path
) -> int:
    """Draw the first ``count`` samples that a run of ``seed`` trains on, after all augmentation; returns how many.

    A row has condition, target (its photo), exemplar, the exemplar's own condition, and the augmented target. Raises
    McltoolError where a sample cannot be read.
    """
    data = TrainingData(plugin, samples, config, seed)
    rows: list[list[Picture]] = []
    for item in map(data.__getitem__, range(min(count, len(data)))):
        row = []
        for name in PREVIEWED:
            part = item[name].numpy()
            part = part if part.ndim == 2 else part.transpose(1, 2, 0)
            row.append(condition_picture(part, plugin.spec) if "condition" in name else part)
        rows.append(row)
    save_png(out, contact_sheet(rows, list(PREVIEWED.values()), min(PREVIEW_HEIGHT, config.size[0])))
    return len(rows)


def describe_sizes(sizes: Sequence[Size]) -> dict[str, Any]:
    """Smallest, median and largest (height, width) by area, and the most frequent with its count."""
    if not sizes:
        return {}
    ordered = sorted(sizes, key=lambda size: size[0] * size[1])
    usual, times = Counter(sizes).most_common(1)[0]
    return {
        "smallest": list(ordered[0]),
        "median_short_side": median(min(size) for size in sizes),
        "largest": list(ordered[-1]),
        "most_frequent": list(usual),
        "most_frequent_count": times,
    }


def _shares(planes: NDArray[Any], channels: int) -> NDArray[np.float64]:
    """planes: (H, W) uint8 labels, or (C, H, W) float32 in [0, 1]."""
    if planes.ndim == 2:
        return np.bincount(planes.ravel(), minlength=channels) / planes.size
    return np.asarray(planes.mean((1, 2), dtype=np.float64))
