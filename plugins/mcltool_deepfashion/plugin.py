"""The ``deepfashion`` plugin: photos of clothed people, and the poses of the people in them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mcltool import DataError, Sample, UsageError, photo_size
from mcltool.poses import PosePlugin, draw_points_far
from mcltool_deepfashion.root import PAGE, SPLITS, WAY_OUT, find_samples

log = logging.getLogger("mcltool.deepfashion")

Size = tuple[int, int]
"""(height, width) in pixels."""


class DeepFashionPlugin(PosePlugin):
    """The In-shop Clothes Retrieval Benchmark of DeepFashion, with the joints of one person a photo.

    Expected below the root: img/CATEGORY/.../id_NUMBER/ITEM_VIEW.jpg; for each photo a pose in pose/, or
    beside it, as OpenPose text or JSON, or in one file of all poses in the root (COCO keypoints, AlphaPose
    results, PATN's annotation table); and perhaps train.txt and val.txt with one photo a line. Without lists,
    about a tenth of the garments is "val".
    """

    name: ClassVar[str] = "deepfashion"
    _told: Size | None = None
    """The canvas of which was said already what is assumed."""
    home_page: ClassVar[str] = PAGE
    # The published losses are in the configuration paper-deepfashion.
    defaults: ClassVar[Mapping[str, Any]] = {
        "data.exemplar_self": 0.0,
        "data.flip": False,
        "train.epochs": 100,
    }

    def index(self, root: Path | None, split: str) -> Sequence[Sample]:
        """Ids are photo names below img/ without suffix; a group is one item of a garment from all sides."""
        if split not in SPLITS:
            raise UsageError(f"deepfashion: no split {split!r}; there are {', '.join(SPLITS)}")
        if root is None:
            raise UsageError(f"deepfashion: --root is missing; {WAY_OUT}")
        try:
            samples = find_samples(root, split)
        except DataError as error:  # of a file of many poses
            raise UsageError(str(error)) from None
        if self.canvas and self.canvas != self._told and samples and samples[0].photo:
            self._told = self.canvas
            _say_whether_stretched(self.canvas, photo_size(samples[0].photo, self.follow_exif is not False))
        return samples


class DeepFashionFarPlugin(DeepFashionPlugin):
    """The same with distance maps of limbs that reach over the whole picture, as published."""

    name: ClassVar[str] = "deepfashion-far"
    draw_points = staticmethod(draw_points_far)
    far: ClassVar[bool] = True


def _say_whether_stretched(canvas: Size, photo: Size) -> None:
    """What is assumed where the user's canvas has another aspect than the photos."""
    height, width = photo
    if not 0.99 < height * canvas[1] / (width * canvas[0]) < 1.01:
        log.info(
            "deepfashion: photos of %d x %d pixels, joints on a canvas of %d x %d: taken for photos that were "
            "stretched. For photos that were padded or cut, find the poses in the photos themselves",
            width, height, canvas[1], canvas[0],
        )  # fmt: skip
