"""COCO keypoint files: one JSON with the poses of many images. A file is parsed once and kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mcltool import DataError
from mcltool_deepfashion.joints import COCO_17, Joints, count, from_rows
from mcltool_deepfashion.poses import Pose, canvas_of, numbers, read_json

CACHED_FILES = 4


@dataclass(frozen=True, eq=False)
class CocoPose:
    """One annotation. image: its image's name without suffix, "/"-separated.

    pose: None where it is broken; then error says why.
    """

    image: str
    pose: Pose | None
    error: str = ""


@dataclass(frozen=True, eq=False)
class CocoFile:
    """A parsed file. poses: by part (the annotation's id), in file order.

    images: the parts of each image that has poses, the best first: most joints, then the largest person.
    """

    path: Path
    poses: dict[str, CocoPose] = field(default_factory=dict)
    images: dict[str, list[str]] = field(default_factory=dict)

    def pose(self, part: str) -> Pose:
        """Raises DataError where there is no such part, or what it has cannot be used."""
        if part not in self.poses:
            raise DataError(f"{self.path}: no annotation {part} with a person's joints in it")
        found = self.poses[part]
        if found.pose is None:
            raise DataError(found.error)
        return found.pose

    def only_pose(self) -> Pose:
        """The pose of a file with one. Raises DataError where there are none or several."""
        if not self.poses:
            raise DataError(f"{self.path}: no person in it")
        if len(self.poses) > 1:
            raise DataError(f"{self.path}: {len(self.poses)} poses in it, expected one or to be told which")
        return self.pose(next(iter(self.poses)))


def open_coco(path: Path) -> CocoFile:
    """The poses of a file, parsed anew only where it has changed. Raises DataError for any other file."""
    try:
        stat = path.stat()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    return _open(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=CACHED_FILES)
def _open(path: Path, size: int, modified: int) -> CocoFile:
    return parse_coco(read_json(path), path)


def parse_coco(document: dict[str, Any], path: Path) -> CocoFile:
    """Every annotation that has a joint. Raises DataError where the document is not COCO's."""
    images, annotations = document.get("images", []), document.get("annotations")
    if not _are_objects(annotations) or not _are_objects(images):
        raise DataError(f"{path}: expected people (OpenPose), or annotations and images (COCO)")
    named = {str(image.get("id")): image for image in images}
    file = CocoFile(path)
    for number, annotation in enumerate(annotations or []):
        if "keypoints" not in annotation:
            continue
        part = str(annotation.get("id", number))
        if part in file.poses:
            part = f"{part}.{number}"
        found = _read(annotation, named, f"{path}: annotation {part}", path)
        if found is not None:
            file.poses[part] = found
            file.images.setdefault(found.image, []).append(part)
    for parts in file.images.values():
        parts.sort(key=lambda part: _rank(file.poses[part]), reverse=True)
    return file


def _read(
    annotation: dict[str, Any], images: dict[str, dict[str, Any]], where: str, path: Path
) -> CocoPose | None:
    """None for a person without joints, as crowds have them."""
    image = images.get(str(annotation.get("image_id")), {})
    name = image_key(str(image.get("file_name", ""))) or image_key(str(annotation.get("image_id")))
    try:
        joints = _joints(annotation["keypoints"], where)
        size = canvas_of(image, "height", "width", path)
    except DataError as error:
        return CocoPose(name, None, str(error))
    return CocoPose(name, Pose(joints, size)) if count(joints) else None


def _joints(values: Any, where: str) -> Joints:
    """keypoints: 17 times x, y, flag (0: not labelled, 1: hidden, 2: visible)."""
    if not isinstance(values, list) or len(values) != 51:
        has = f"{len(values)} numbers" if isinstance(values, list) else "no list"
        raise DataError(f"{where}: keypoints is {has}, expected 51 (17 joints)")
    rows = numbers(values, where, "keypoints").reshape(17, 3)
    return from_rows(rows[:, :2], rows[:, 2] > 0, COCO_17)


def image_key(name: str) -> str:
    """A name given in a file, without suffix: "/"-separated, with nothing that leads out of a folder."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return PurePosixPath(*parts).with_suffix("").as_posix() if parts else ""


def _rank(found: CocoPose) -> tuple[int, float]:
    if found.pose is None:
        return 0, 0.0
    joints = found.pose.joints
    return count(joints), float(np.prod(np.nanmax(joints, 0) - np.nanmin(joints, 0)))


def _are_objects(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, dict) for value in values)
