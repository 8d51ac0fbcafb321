"""Files that hold poses: of one picture, or of many, each with its image's name. A file is parsed once and kept.

Of many pictures are COCO's keypoint files, lists of results (COCO's, AlphaPose's), AlphaPose's JSON by image, lists
of OpenPose documents (ComfyUI), and the annotation tables of PATN.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcltool.core.errors import DataError
from mcltool.poses.openpose import flat_pose, instances, one_picture
from mcltool.poses.pose import BODY_18, Pose, Size, canvas_of, count, numbers, pose_of, read_bytes

CACHED_FILES = 4
HEAD_BYTES = 4096
PATN_HEADER = "name:keypoints_y:keypoints_x"
PATN_CANVASES = ((128, 64), (256, 176))
"""Of PATN's two tables, Market-1501 and DeepFashion."""

_ONE_PICTURE = re.compile(rb'\A\s*\{(?!\s*"[^"]+\.\w{3,4}"\s*:).*"(?:people|bodies)"\s*:\s*\[', re.DOTALL)
"""The beginning of a document of one picture; what has an image's name for its first key holds several."""


@dataclass(frozen=True, eq=False)
class Found:
    """One pose of a file. image: its image's name without suffix, "/"-separated; empty where the file is of one.

    pose: None where it is broken; then error says why.
    """

    image: str
    pose: Pose | None
    error: str = ""


@dataclass(frozen=True, eq=False)
class PoseFile:
    """A parsed file. poses: by part, in file order.

    images: the parts of each image that has poses, the best first: most joints, then the largest person.
    """

    path: Path
    poses: dict[str, Found] = field(default_factory=dict)
    images: dict[str, list[str]] = field(default_factory=dict)

    @property
    def of_many(self) -> bool:
        """Whether it says of which image each pose is."""
        return "" not in self.images and bool(self.images)

    def pose(self, part: str) -> Pose:
        """The pose of a part; "" is the only one. Raises DataError where there is no such part, or it is broken."""
        if not part:
            return self._only_pose()
        if part not in self.poses:
            raise DataError(f"{self.path}: no annotation {part} with a person's joints in it")
        found = self.poses[part]
        if found.pose is None:
            raise DataError(found.error)
        return found.pose

    def _only_pose(self) -> Pose:
        if not self.poses:
            raise DataError(f"{self.path}: no person in it")
        if len(self.poses) > 1:
            raise DataError(f"{self.path}: {len(self.poses)} poses in it, expected one or to be told which")
        return self.pose(next(iter(self.poses)))

    def add(self, kind: str, part: str, image: str, read: Callable[[str], Pose]) -> None:
        """read: makes the pose, given what messages call it. A person without joints is left out, as crowds are."""
        if part in self.poses:
            part = f"{part}.{len(self.poses)}"
        try:
            found = Found(image, read(f"{self.path}: {kind} {part}"))
        except DataError as error:
            found = Found(image, None, str(error))
        if found.pose is None or count(found.pose.joints):
            self.poses[part] = found
            self.images.setdefault(image, []).append(part)

    def ranked(self) -> PoseFile:
        for parts in self.images.values():
            parts.sort(key=lambda part: _rank(self.poses[part]), reverse=True)
        return self


def is_collection(path: Path) -> bool:
    """Whether a .json or .csv may hold poses of many pictures, by its beginning."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return False
    return is_patn(head) if path.suffix.lower() == ".csv" else not _ONE_PICTURE.match(head)


def is_patn(head: bytes) -> bool:
    return head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(PATN_HEADER.encode())


def open_poses(path: Path) -> PoseFile:
    """The poses of a file, parsed again only where it has changed. Raises DataError for any other file."""
    try:
        stat = path.stat()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    return _open(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=CACHED_FILES)
def _open(path: Path, size: int, modified: int) -> PoseFile:
    return parse(path)


def parse(path: Path) -> PoseFile:
    """Every pose of a file that has a joint. Raises DataError where it is no file of poses."""
    content = read_bytes(path)
    if path.suffix.lower() == ".csv":
        return _patn(content, path)
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON ({error})") from None
    if isinstance(document, list):
        return _list(document, path)
    if not isinstance(document, dict):
        raise DataError(f"{path}: expected a JSON object or list of poses")
    if "annotations" in document:
        return _coco(document, path)
    if document and all(
        isinstance(value, dict) and {"people", "bodies"} & value.keys() for value in document.values()
    ):
        return _pictures(document.items(), path)
    if not {"people", "bodies", "keypoints", "instance_info"} & document.keys():
        raise DataError(f"{path}: expected people (OpenPose), keypoints, or annotations and images (COCO)")
    return _alone(path, one_picture(document, str(path)))


def image_key(name: str) -> str:
    """A name given in a file, without suffix: "/"-separated, with nothing that leads out of a folder."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return PurePosixPath(*parts).with_suffix("").as_posix() if parts else ""


def _alone(path: Path, pose: Pose) -> PoseFile:
    return PoseFile(path, {"0": Found("", pose)}, {"": ["0"]})


def _list(document: list[Any], path: Path) -> PoseFile:
    """Results with image_id; or a document a picture, in order; or the people of one picture; or a person's rows."""
    if document and all(isinstance(row, list) for row in document):
        return _alone(path, one_picture({"keypoints": document}, str(path)))
    if not document or not all(isinstance(entry, dict) for entry in document):
        raise DataError(
            f"{path}: expected a list of poses, found {'an empty one' if not document else 'other values'}"
        )
    if all({"people", "bodies"} & entry.keys() for entry in document):
        if len(document) == 1:
            return _alone(path, one_picture(document[0], str(path)))
        return _pictures(((str(number), entry) for number, entry in enumerate(document)), path)
    if not any("image_id" in entry for entry in document):
        return _alone(path, instances(document, str(path)))
    file = PoseFile(path)
    for number, entry in enumerate(document):
        image = image_key(str(entry.get("image_id", ""))) or str(number)
        file.add("result", str(number), image, partial(flat_pose, entry.get("keypoints"), None))
    return file.ranked()


def _pictures(documents: Iterable[tuple[str, Any]], path: Path) -> PoseFile:
    """A document of one picture each, by the picture's name."""
    file = PoseFile(path)
    for name, document in documents:
        file.add("picture", name, image_key(name) or name, partial(one_picture, document))
    return file


def _coco(document: dict[str, Any], path: Path) -> PoseFile:
    images, annotations = document.get("images", []), document.get("annotations")
    if not _are_objects(annotations) or not _are_objects(images):
        raise DataError(f"{path}: expected people (OpenPose), or annotations and images (COCO)")
    named = {str(image.get("id")): image for image in images}
    file = PoseFile(path)
    for number, annotation in enumerate(annotations or []):
        if "keypoints" not in annotation:
            continue
        image = named.get(str(annotation.get("image_id")), {})
        name = image_key(str(image.get("file_name", ""))) or image_key(str(annotation.get("image_id")))
        part = str(annotation.get("id", number))
        file.add("annotation", part, name or part, partial(_annotated, annotation, image))
    return file.ranked()


def _annotated(annotation: dict[str, Any], image: dict[str, Any], where: str) -> Pose:
    return flat_pose(annotation["keypoints"], canvas_of(image, "height", "width", where), where)


def _patn(content: bytes, path: Path) -> PoseFile:
    """Lines NAME: [18 y]: [18 x], -1 where a joint is absent. The canvas is the smallest of PATN's that holds all."""
    if not is_patn(content):
        raise DataError(f"{path}: expected a table of poses that begins with {PATN_HEADER}")
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{path}: expected text") from None
    tables = [(line.rsplit(":", 2)[0].strip(), _columns(line)) for line in lines[1:] if line.strip()]
    x, y = np.vstack([np.zeros(2), *(table for _, table in tables if not isinstance(table, str))]).max(0)
    usual = next(((height, width) for height, width in PATN_CANVASES if y <= height and x <= width), None)
    file = PoseFile(path)
    for name, table in tables:
        file.add("pose", name, image_key(name) or name, partial(_row, table, usual))
    return file.ranked()


def _row(table: NDArray[np.float64] | str, usual: Size | None, where: str) -> Pose:
    if isinstance(table, str):
        raise DataError(f"{where}: {table}")
    return pose_of(table, np.ones(18), BODY_18, where, usual=usual)


def _columns(line: str) -> NDArray[np.float64] | str:
    """x, y (18, 2) of a line; what is wrong with it, as text."""
    try:
        y, x = (json.loads(column) for column in line.split(":")[-2:])
        table = np.stack([numbers(x, "", "keypoints"), numbers(y, "", "keypoints")], 1)
        return table if table.shape == (18, 2) else f"{len(table)} joints, expected 18"
    except (ValueError, TypeError, RecursionError, DataError):
        return "expected NAME: [18 numbers y]: [18 numbers x]"


def _rank(found: Found) -> tuple[int, float]:
    if found.pose is None:
        return 0, 0.0
    joints = found.pose.joints
    return count(joints), float(np.prod(np.nanmax(joints, 0) - np.nanmin(joints, 0)))


def _are_objects(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, dict) for value in values)
