"""What every data set of poses shares: which files of a folder are poses, how one is read, and how it is drawn."""

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
from mcltool.plugin.contract import (
    Condition,
    ConditionFiles,
    ConditionSpec,
    DatasetPlugin,
    Sample,
    walk_files,
)
from mcltool.poses.documents import PoseFile, is_collection, open_poses, parse
from mcltool.poses.openpose import CANDIDATE, SUBSET, openpose_document, read_text_pose
from mcltool.poses.pose import SIDES, Joints, Pose, Size
from mcltool.poses.skeleton import CHANNELS, PALETTE, draw, draw_points

CANVAS = (256, 256)
"""Height, width in pixels of the canvas of poses where neither file, format nor user says it."""

OPENPOSE = "_keypoints"
"""How the names end that OpenPose gives its JSON files, before the suffix."""

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


def poses_in(folder: Path, collections: bool) -> Iterator[ConditionFiles]:
    """The poses below ``folder``, sorted by file.

    X_candidate.txt with X_subset.txt, and X_keypoints.json or X.json, are the pose X.
    collections: files of many pictures may be among them: F has the poses F/IMAGE, or F/IMAGE_PART where an
    image has several. Otherwise no file is opened. What is no pose after all fails when it is read.
    """
    for path in walk_files(folder, frozenset({".txt", ".json", ".csv"})):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if path.suffix.lower() == ".txt":
            yield from _text_pose(path, folder)
        elif collections and (file := _collection(path)):
            for part, found in file.poses.items():
                alone = len(file.images[found.image]) == 1
                image = found.image if alone else f"{found.image}_{part}"
                yield ConditionFiles(f"{name}/{image}", (path,), part)
        elif path.suffix.lower() == ".csv":
            continue
        elif name.endswith(OPENPOSE):
            short = path.with_name(path.stem.removesuffix(OPENPOSE))
            rivals = (short.with_name(short.name + end) for end in (CANDIDATE, SUBSET, ".json"))
            is_free = short.name and not any(rival.exists() for rival in rivals)
            yield ConditionFiles(name.removesuffix(OPENPOSE) if is_free else name, (path,))
        else:
            yield ConditionFiles(name, (path,))


def read_pose(files: Sequence[Path], part: str = "") -> Pose:
    """The pose in the files of one condition. Raises DataError."""
    if len(files) == 1 and files[0].suffix.lower() in (".json", ".csv"):
        return open_poses(files[0]).pose(part) if part else parse(files[0]).pose("")
    by_end = {end: path for path in files for end in (CANDIDATE, SUBSET) if path.name.endswith(end)}
    if len(files) == 2 and len(by_end) == 2:
        return read_text_pose(by_end[CANDIDATE], by_end[SUBSET])
    if len(files) == 1 and by_end:
        end = next(iter(by_end))
        other = SUBSET if end == CANDIDATE else CANDIDATE
        raise DataError(f"{files[0]}: expected {files[0].name.removesuffix(end)}{other} beside it")
    raise DataError(
        f"{', '.join(map(str, files)) or 'no file'}: a pose is one .json, or X{CANDIDATE} and X{SUBSET}"
    )


def _text_pose(path: Path, folder: Path) -> Iterator[ConditionFiles]:
    """The pose that one of its two files stands for: the first, or the one that is there."""
    for end, other in ((CANDIDATE, SUBSET), (SUBSET, CANDIDATE)):
        if path.name.endswith(end):
            short = path.name.removesuffix(end)
            beside = path.with_name(short + other)
            files = (path, beside) if beside.is_file() else (path,)
            if end == CANDIDATE or len(files) == 1:
                yield ConditionFiles(path.with_name(short).relative_to(folder).as_posix(), files)


def _collection(path: Path) -> PoseFile | None:
    """The poses of a file of many pictures; None for any other."""
    if not is_collection(path):
        return None
    try:
        found = open_poses(path)
    except DataError:
        return None
    return found if found.of_many else None
