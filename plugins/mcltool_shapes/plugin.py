"""The ``shapes`` plugin: samples drawn from a seed, and the exact truth for every pair of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mcltool import Condition, ConditionSpec, DatasetPlugin, Sample, Truth, UsageError, read_labels
from mcltool_shapes.outlines import NAMES
from mcltool_shapes.scene import Raster, Scene, background_frame, draw_scene, rasterise
from mcltool_shapes.styles import Style, draw_style

SPLITS = {"train": 20_000, "val": 1_000}
VIEWS = 4
"""Samples of one group: one style, different layouts."""
BACKGROUND = 0

_SPEC = ConditionSpec(
    kind="labels",
    names=("background", *NAMES),
    palette=(
        (43, 45, 66),
        (239, 99, 81),
        (247, 178, 56),
        (112, 193, 100),
        (56, 191, 195),
        (190, 108, 209),
    ),
)


class ShapesPlugin(DatasetPlugin):
    """Random layouts of five labelled shapes that turn, scale and cover each other, in random styles.

    A sample is a function of (seed, split, number) alone: any order, process or worker gives the same.
    Photos and conditions are rendered at exactly the size asked for, square.

    seed: any integer >= 0; another seed is another data set.
    """

    name: ClassVar[str] = "shapes"
    needs_root: ClassVar[bool] = False
    preset: ClassVar[str] = "tiny"
    defaults: ClassVar[Mapping[str, Any]] = {"train.max_steps": 750}  # four minutes on two cores

    def __init__(self, seed: int = 0) -> None:
        if seed < 0:
            raise UsageError(f"shapes: the seed must be 0 or larger, not {seed}")
        self.seed = seed

    @property
    def spec(self) -> ConditionSpec:
        return _SPEC

    def index(self, root: Path | None, split: str) -> Sequence[Sample]:
        """``root`` is not used. Ids are like "train/000123"; a group is VIEWS samples of one style."""
        if split not in SPLITS:
            raise UsageError(f"shapes: no split {split!r}; there are {', '.join(SPLITS)}")
        return [Sample(f"{split}/{n:06d}", group=f"{split}/{n // VIEWS:05d}") for n in range(SPLITS[split])]

    def read_condition(self, files: Sequence[Path]) -> Condition:
        """One PNG of class indices, or in the palette's colours."""
        if len(files) != 1:
            raise UsageError(f"shapes: a condition is one label map, not {len(files)} files")
        labels = read_labels(files[0], len(_SPEC.names), _SPEC.palette)
        return Condition((labels.shape[0], labels.shape[1]), labels)

    def photo(self, sample: Sample, short_side: int) -> NDArray[np.uint8]:
        """(short_side, short_side, 3) uint8 RGB."""
        raster = rasterise(self._scene(sample), short_side)
        return self._style(sample).paint(raster.labels, raster.place)

    def condition(self, sample: Sample, short_side: int) -> Condition:
        """Labels (short_side, short_side)."""
        return Condition((short_side, short_side), rasterise(self._scene(sample), short_side).labels.copy())

    def truth(self, condition: Sample, exemplar: Sample, short_side: int) -> Truth:
        """The layout of ``condition`` in the style of ``exemplar``; any two samples make a pair.

        ``source`` and ``frames`` use pixel coordinates with integers at pixel centres. The unit of a
        shape's frame is its outline's radius, the background's is the image's side.
        """
        style = self._style(exemplar)
        return _exact_truth(self._scene(condition), self._scene(exemplar), style, short_side)

    def _scene(self, sample: Sample) -> Scene:
        split, number = _parse(sample)
        return draw_scene((self.seed, split, number, 0))

    def _style(self, sample: Sample) -> Style:
        split, number = _parse(sample)
        return draw_style((self.seed, split, number // VIEWS, 1))


def _parse(sample: Sample) -> tuple[int, int]:
    """The number of the split and the number in it. The index ends at SPLITS, but any number is a sample."""
    split, _, number = sample.id.partition("/")
    if split not in SPLITS or not number.isdecimal():
        raise UsageError(f"shapes: no sample {sample.id!r}; ids are like 'train/000123'")
    return list(SPLITS).index(split), int(number)


def _exact_truth(condition: Scene, exemplar: Scene, style: Style, side: int) -> Truth:
    """What ``condition`` looks like in the ``style`` of ``exemplar``, at ``side`` x ``side`` pixels.

    The source of a pixel is its own place in an instance of its class in the exemplar, where that instance is
    inside the image and on top there (at the pixel nearest to the exact position). Of several such
    instances the one nearest in the image counts. Background comes from the same position. Coordinates:
    integers at pixel centres.
    """
    here, there = rasterise(condition, side), rasterise(exemplar, side)
    source = _sources(here, there, exemplar, side)
    shown = np.unique(there.layer[there.layer >= 0]).tolist()
    frames = [(BACKGROUND, background_frame(side))]
    frames += [(exemplar[i].label, exemplar[i].to_frame(side)) for i in shown]
    return Truth(
        image=style.paint(here.labels, here.place),
        labels=here.labels.copy(),
        exemplar_labels=there.labels.copy(),
        background=BACKGROUND,
        visible=~np.isnan(source[..., 0]),
        source=source,
        place=np.ascontiguousarray(here.place.transpose(1, 2, 0)),
        frames=tuple((label, frame.astype(np.float32)) for label, frame in frames),
    )


def _sources(here: Raster, there: Raster, exemplar: Scene, side: int) -> NDArray[np.float32]:
    """(S, S, 2) x, y in the exemplar of every pixel of ``here``, NaN where hidden."""
    source = np.full((side, side, 2), np.nan, np.float32)
    nearest = np.full((side, side), np.inf)
    for index, shape in enumerate(exemplar):
        rows, columns = np.nonzero(here.labels == shape.label)
        m = shape.from_frame(side)
        x, y = m[:, :2] @ here.place[:, rows, columns] + m[:, 2:]
        distance = (x - columns) ** 2 + (y - rows) ** 2
        better = _shows(there.layer, index, x, y) & (distance < nearest[rows, columns])
        rows, columns = rows[better], columns[better]
        nearest[rows, columns] = distance[better]
        source[rows, columns, 0], source[rows, columns, 1] = x[better], y[better]
    rows, columns = np.nonzero((here.labels == BACKGROUND) & (there.labels == BACKGROUND))
    source[rows, columns, 0], source[rows, columns, 1] = columns, rows
    return source


def _shows(
    layer: NDArray[np.int8], index: int, x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether instance ``index`` is what ``layer`` shows at the pixels nearest to (x, y)."""
    column, row = np.floor(x + 0.5).astype(np.int64), np.floor(y + 0.5).astype(np.int64)
    height, width = layer.shape
    within = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    shown = layer[row.clip(0, height - 1), column.clip(0, width - 1)]
    return np.asarray(within & (shown == index))
