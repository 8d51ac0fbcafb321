"""The ``deepfashion`` plugin: photos of clothed people, and the poses of the people in them."""

from __future__ import annotations

import json
import logging
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
from mcltool_deepfashion.openpose import openpose_document
from mcltool_deepfashion.poses import Pose, Size
from mcltool_deepfashion.root import PAGE, SPLITS, WAY_OUT, find_samples
from mcltool_deepfashion.skeleton import CHANNELS, PALETTE, draw, draw_points, draw_points_far

CANVAS = (256, 256)
"""Height, width of the benchmark's photos, on which poses lie whose file does not say."""

_SPEC = ConditionSpec("channels", CHANNELS, PALETTE)
log = logging.getLogger("mcltool.deepfashion")

_EXIF_ORIENTATION, _TURNED_SIDEWAYS = 0x0112, (5, 6, 7, 8)


class DeepFashionPlugin(DatasetPlugin):
    """The In-shop Clothes Retrieval Benchmark of DeepFashion, with the joints of one person a photo.

    Expected below the root: img/CATEGORY/.../id_NUMBER/ITEM_VIEW.jpg; for each photo a pose in pose/, or
    beside it, as OpenPose text or JSON, or in one file of all poses in the root (COCO keypoints, AlphaPose
    results, PATN's annotation table); and perhaps train.txt and val.txt with one photo a line. Without lists,
    about a tenth of the garments is "val".
    """

    name: ClassVar[str] = "deepfashion"
    draw_points = staticmethod(draw_points)
    _told: Size | None = None
    """The canvas of which was said already what is assumed."""
    home_page: ClassVar[str] = PAGE
    # After the published settings; all of those are in the configuration paper-deepfashion.
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
            samples = find_samples(root, split)
        except DataError as error:  # of a file of many poses
            raise UsageError(str(error)) from None
        if self.canvas and self.canvas != self._told and samples and samples[0].photo:
            self._told = self.canvas
            _say_whether_stretched(self.canvas, _photo_size(samples[0].photo, self.follow_exif is not False))
        return samples

    def conditions(self, folder: Path) -> Iterator[ConditionFiles]:
        """OpenPose text pairs, JSON files of one picture, and each pose of files of many."""
        return poses_in(folder, collections=True)

    def read_condition(self, files: Sequence[Path]) -> Condition:
        """One pose: a text pair, or a file with a single pose.

        Its canvas is the file's, else ``self.canvas``, else that of the file's format, else CANVAS.
        """
        return self.read_part(files, "")

    def read_part(self, files: Sequence[Path], part: str) -> Condition:
        """part: of a file of many poses, in the file's own words."""
        pose = read_pose(files, part)
        size, whose = self._canvas(pose)
        return _condition(pose.on(size or CANVAS, whose), size or CANVAS)

    def condition(self, sample: Sample, short_side: int) -> Condition:
        """As it is read, but where nothing says a canvas, it is the photo's; on one that the user says (``canvas``),
        joints are moved as the photo was, if that was stretched."""
        pose = read_pose(sample.condition, sample.part)
        size, whose = self._canvas(pose)
        if sample.photo is None or (size and size is not self.canvas):
            return _condition(pose.on(size or CANVAS, whose), size or CANVAS)
        photo = _photo_size(sample.photo, self.follow_exif is not False)
        joints = pose.on(size or photo, whose or "its photo")
        scale = np.divide(photo, size or photo)[::-1]
        return _condition((joints * scale).astype(np.float32), photo)

    def _canvas(self, pose: Pose) -> tuple[Size | None, str]:
        """The canvas that a pose is known to lie on, and who says so."""
        known = (
            (pose.size, "the canvas in the file"),
            (self.canvas, "--canvas"),
            (pose.usual, "its format's canvas"),
        )
        return next(((size, whose) for size, whose in known if size), (None, ""))

    def doubt(self, condition: Condition) -> str:
        """Of a person in the upper left quarter alone: people stand in the middle of their photos."""
        if (
            self.canvas
            or condition.points is None
            or (np.nanmax(condition.points, 0) * 2 > condition.size[::-1]).any()
        ):
            return ""
        return (
            "all joints lie in the upper left quarter of the picture: --canvas HxW says in how small a picture they "
            "were found"
        )

    def render(self, condition: Condition) -> NDArray[np.float32]:
        """(H, W, 20) float32, see ``skeleton.draw``."""
        return draw(_joints(condition), condition.size)

    def write_condition(self, condition: Condition, stem: Path) -> Path:
        """An OpenPose JSON of 18 joints, STEM_keypoints.json, that says its canvas too."""
        path = stem.with_name(f"{stem.name}{OPENPOSE}.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(openpose_document(_joints(condition), condition.size)))
        temporary.replace(path)
        return path


class DeepFashionFarPlugin(DeepFashionPlugin):
    """The same with distance maps of limbs that reach over the whole picture, as published."""

    name: ClassVar[str] = "deepfashion-far"
    draw_points = staticmethod(draw_points_far)

    def render(self, condition: Condition) -> NDArray[np.float32]:
        return draw(_joints(condition), condition.size, far=True)


def _joints(condition: Condition) -> Joints:
    if condition.points is None or condition.points.shape != (18, 2):
        raise DataError("deepfashion: a condition has 18 points, the joints of a person")
    return condition.points


def _condition(joints: Joints, size: Size) -> Condition:
    return Condition(size, points=joints.copy(), mirror=SIDES)


def _say_whether_stretched(canvas: Size, photo: Size) -> None:
    """What is assumed where the user's canvas has another aspect than the photos."""
    height, width = photo
    if not 0.99 < height * canvas[1] / (width * canvas[0]) < 1.01:
        log.info(
            "deepfashion: photos of %d x %d pixels, joints on a canvas of %d x %d: taken for photos that were "
            "stretched. For photos that were padded or cut, find the poses in the photos themselves",
            width, height, canvas[1], canvas[0],
        )  # fmt: skip


def _photo_size(path: Path, upright: bool) -> Size:
    """Height, width of a photo, turned as EXIF says where ``upright``; its header alone is read."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            sideways = upright and _orientation(image) in _TURNED_SIDEWAYS
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not an image that can be read ({error})") from None
    return (width, height) if sideways else (height, width)


def _orientation(image: Image.Image) -> object:
    try:
        return image.getexif().get(_EXIF_ORIENTATION)
    except Exception:  # of a broken block, which says nothing of the pixels: Pillow raises many kinds
        return None
