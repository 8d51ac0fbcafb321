"""Which files in a folder are poses, and reading one of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mcltool.core.errors import DataError
from mcltool.plugin.contract import ConditionFiles, walk_files
from mcltool.poses.documents import PoseFile, is_collection, open_poses, parse
from mcltool.poses.openpose import CANDIDATE, SUBSET, read_text_pose
from mcltool.poses.pose import Pose

OPENPOSE = "_keypoints"
"""How the names end that OpenPose gives its JSON files, before the suffix."""


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
