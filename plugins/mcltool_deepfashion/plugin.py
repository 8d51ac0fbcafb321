"""The ``deepfashion`` plugin: photos of clothed people, and the poses of the people in them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mcltool import Condition, ConditionFiles, ConditionSpec, DataError, DatasetPlugin, Sample, UsageError
from mcltool_deepfashion.folders import OPENPOSE, poses_in, read_pose
from mcltool_deepfashion.joints import SIDES, Joints
from mcltool_deepfashion.poses import Pose, openpose_document
from mcltool_deepfashion.root import PAGE, SPLITS, WAY_OUT, find_samples
from mcltool_deepfashion.skeleton import CHANNELS, PALETTE, draw, draw_points

CANVAS = (256, 256)
"""Height, width of the benchmark's photos, on which poses lie whose file does not say."""

_SPEC = ConditionSpec("channels", CHANNELS, PALETTE)
_EXIF_ORIENTATION, _TURNED_SIDEWAYS = 0x0112, (5, 6, 7, 8)


class DeepFashionPlugin(DatasetPlugin):
    """The In-shop Clothes Retrieval Benchmark of DeepFashion, with the joints of one person a photo.

    Expected below the root: img/CATEGORY/.../id_NUMBER/ITEM_VIEW.jpg; for each photo a pose in pose/, or
    beside it, as OpenPose text or JSON, or in one COCO keypoint file in the root; and perhaps train.txt and
    val.txt with one photo a line. Without lists, about a tenth of the garments is "val".
    """

    name: ClassVar[str] = "deepfashion"
    draw_points = staticmethod(draw_points)
    home_page: ClassVar[str] = PAGE
    # The published settings but for the batch: 32 at 256 px takes several GPUs, so that the preset's stays.
    defaults: ClassVar[Mapping[str, Any]] = {
        "loss.warp": 100.0,
        "loss.perc": 0.001,
        "loss.perc_layer": "relu4_2",
        "loss.cyc": 0.0,
        "data.exemplar_self": 0.0,
        "data.flip": False,
        "train.epochs": 100,
    }

    @property
    def spec(self) -> ConditionSpec:
        return _SPEC

    def index(self, root: Path | None, split: str) -> Sequence[Sample]:
        """Ids are photo names below img/ without suffix; a group is one item of a garment from all sides."""
        if split not in SPLITS:
            raise UsageError(f"deepfashion: no split {split!r}; there are {', '.join(SPLITS)}")
        if root is None:
            raise UsageError(f"deepfashion: --root is missing; {WAY_OUT}")
        try:
            return find_samples(root, split)
        except DataError as error:  # of a COCO file
            raise UsageError(str(error)) from None

    def conditions(self, folder: Path) -> Iterator[ConditionFiles]:
        """OpenPose text pairs, OpenPose JSON files, and each pose of COCO files."""
        return poses_in(folder, collections=True)

    def read_condition(self, files: Sequence[Path]) -> Condition:
        """One pose: a text pair, an OpenPose JSON, or a COCO file with a single pose.

        Its canvas is the file's, else ``self.canvas``, else CANVAS.
        """
        return self.read_part(files, "")

    def read_part(self, files: Sequence[Path], part: str) -> Condition:
        """part: the id of a COCO annotation."""
        pose = read_pose(files, part)
        return _condition(pose, pose.size or self.canvas or CANVAS)

    def condition(self, sample: Sample, short_side: int) -> Condition:
        """As it is read, but where file and user say no canvas, it is the photo's."""
        pose = read_pose(sample.condition, sample.part)
        size = pose.size or self.canvas
        if size is None:
            size = CANVAS if sample.photo is None else _upright_size(sample.photo)
        return _condition(pose, size)

    def render(self, condition: Condition) -> NDArray[np.float32]:
        """(H, W, 20) float32, see ``skeleton.draw``."""
        return draw(_joints(condition), condition.size)

    def write_condition(self, condition: Condition, stem: Path) -> Path:
        """An OpenPose JSON of 18 joints, STEM_keypoints.json, that says its canvas too."""
        pose = Pose(_joints(condition), condition.size)
        path = stem.with_name(f"{stem.name}{OPENPOSE}.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(openpose_document(pose)))
        temporary.replace(path)
        return path


def _joints(condition: Condition) -> Joints:
    if condition.points is None or condition.points.shape != (18, 2):
        raise DataError("deepfashion: a condition has 18 points, the joints of a person")
    return condition.points


def _condition(pose: Pose, size: tuple[int, int]) -> Condition:
    return Condition(size, points=pose.joints.copy(), mirror=SIDES)


def _upright_size(path: Path) -> tuple[int, int]:
    """Height, width of a photo as it is to be looked at; its header alone is read."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            sideways = image.getexif().get(_EXIF_ORIENTATION) in _TURNED_SIDEWAYS
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not an image that can be read ({error})") from None
    return (width, height) if sideways else (height, width)
