"""The ``shapes`` plugin: samples drawn from a seed, and the exact truth for every pair of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mcltool import Condition, ConditionSpec, DatasetPlugin, Sample, Truth, UsageError, read_labels
from mcltool_shapes.outlines import NAMES
from mcltool_shapes.scene import Scene, draw_scene, rasterise
from mcltool_shapes.styles import Style, draw_style
from mcltool_shapes.truth import exact_truth

SPLITS = {"train": 20_000, "val": 1_000}
VIEWS = 4
"""Samples of one group: one style, different layouts."""

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
        return exact_truth(self._scene(condition), self._scene(exemplar), style, short_side)

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
