"""What every data set of poses shares: all but which photos there are, and with which poses."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mcltool.core.errors import DataError
from mcltool.core.files import write_text
from mcltool.core.images import photo_size
from mcltool.plugin.contract import Condition, ConditionFiles, ConditionSpec, DatasetPlugin, Sample
from mcltool.poses.folders import OPENPOSE, poses_in, read_pose
from mcltool.poses.joints import SIDES, Joints
from mcltool.poses.openpose import openpose_document
from mcltool.poses.pose import Pose, Size
from mcltool.poses.skeleton import CHANNELS, PALETTE, draw, draw_points

CANVAS = (256, 256)
"""Height, width in pixels of the canvas of poses where neither file, format nor user says it."""

_SPEC = ConditionSpec("channels", CHANNELS, PALETTE)


class PosePlugin(DatasetPlugin):
    """Poses are read from OpenPose's text and JSON, COCO and others, and drawn as a skeleton and distance maps."""

    draw_points = staticmethod(draw_points)
    far: ClassVar[bool] = False
    """Whether distance maps reach over the whole picture; goes with ``draw_points_far``."""

    @property
    def spec(self) -> ConditionSpec:
        return _SPEC

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
        photo = photo_size(sample.photo, self.follow_exif is not False)
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
        return draw(_joints(condition), condition.size, self.far)

    def write_condition(self, condition: Condition, stem: Path) -> Path:
        """An OpenPose JSON of 18 joints, STEM_keypoints.json, that says its canvas too."""
        path = stem.with_name(f"{stem.name}{OPENPOSE}.json")
        write_text(path, json.dumps(openpose_document(_joints(condition), condition.size)))
        return path


def _joints(condition: Condition) -> Joints:
    if condition.points is None or condition.points.shape != (18, 2):
        raise DataError("a pose has 18 points, the joints of a person")
    return condition.points


def _condition(joints: Joints, size: Size) -> Condition:
    return Condition(size, points=joints.copy(), mirror=SIDES)
