"""The data set in its folder: photos, their poses, splits, and which photos show one garment."""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from mcltool import Sample, UsageError, walk_files
from mcltool.poses import image_key, is_collection, open_poses, poses_in

log = logging.getLogger("mcltool.deepfashion")

SPLITS = ("train", "val")
VAL_SHARE = 0.1
PAGE = "https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html"
WAY_OUT = (
    f"get the photos of the In-shop Clothes Retrieval Benchmark (img/) at {PAGE} (for non-commercial "
    "research only), find their poses with OpenPose or another tool, and give as --root the folder that has "
    "img/**/X.jpg with pose/**/X_candidate.txt and X_subset.txt, or pose/**/X_keypoints.json, or one file of all "
    "poses: COCO keypoints or AlphaPose results (.json), or PATN's annotation (.csv)"
)

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
_Pose = tuple[tuple[Path, ...], str]
"""Files and part."""


def find_samples(root: Path, split: str) -> Sequence[Sample]:
    """The samples of a split, sorted by photo. Raises UsageError naming what is missing where."""
    photos = _photos(root)
    chosen = _split(root, split, photos)
    poses = _poses(root, chosen)
    bare = [name for name in photos if name in chosen and name not in poses]
    if bare:
        raise UsageError(
            f"{photos[bare[0]]}: no pose, expected {root / 'pose' / bare[0]}_candidate.txt and _subset.txt, "
            f"or _keypoints.json, or the photo in a COCO .json or PATN .csv in {root} ({len(bare)} of {len(chosen)} "
            "lack theirs; train.txt and val.txt can list the photos to use)"
        )
    return [
        Sample(name, path, poses[name][0], garment_group(name), poses[name][1])
        for name, path in photos.items()
        if name in chosen
    ]


_FLAT = re.compile(r"(.*id\d{8})(\d\d)_\d")
"""PATN's names, which have no folders: fashionWOMENDressesid0000024402_1front."""


def garment(name: str) -> str:
    """The garment that the photo ``name`` (below img/, without suffix) shows: its folder, .../id_00000244."""
    flat = _FLAT.match(name)
    return flat[1] if flat else PurePosixPath(name).parent.as_posix()


def garment_group(name: str) -> str:
    """Garment and item: photos 02_1_front and 02_2_side of a folder show one item from two sides.

    01_1_front is the same garment in another colour, which is no right exemplar for them. A photo whose name
    starts with no number is alone.
    """
    if flat := _FLAT.match(name):
        return flat[1] + flat[2]
    path = PurePosixPath(name)
    numbered = re.match(r"\d+(?=_)", path.name)
    return (path.parent / (numbered[0] if numbered else path.name)).as_posix()


def _photos(root: Path) -> dict[str, Path]:
    """Photos by their name below img/ without suffix."""
    folder = root / "img"
    for place in (root, folder):
        if not place.is_dir():
            raise UsageError(f"{place}: no such folder; {WAY_OUT}")
    photos: dict[str, Path] = {}
    for path in walk_files(folder, _SUFFIXES):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in photos:
            raise UsageError(f"{path}: the photo {photos[name]} has the same name")
        photos[name] = path
    if not photos:
        raise UsageError(f"{folder}: no photos in it; {WAY_OUT}")
    return photos


def _poses(root: Path, wanted: Collection[str]) -> dict[str, _Pose]:
    """Poses by the name of their photo. Files of all poses are for the photos that have no file of their own."""
    poses: dict[str, _Pose] = {}
    for folder in (root / "img", root / "pose"):
        if folder.is_dir():
            poses.update({pose.id: (pose.files, "") for pose in poses_in(folder, collections=False)})
    if not poses.keys() >= set(wanted):
        by_end = _alone_by_end(wanted)
        for path in sorted((*root.glob("*.json"), *filter(is_collection, root.glob("*.csv")))):
            for image, parts in open_poses(path).images.items():
                name = image.removeprefix("img/")
                poses.setdefault(name if name in wanted else by_end.get(name, name), ((path,), parts[0]))
    return poses | _dresscode(poses, wanted)


def _alone_by_end(names: Iterable[str]) -> dict[str, str]:
    """Names by their last part, where it is of one alone: AlphaPose's results name photos without their folders."""
    counts = Counter(PurePosixPath(name).name for name in names)
    return {end: name for name in names if counts[end := PurePosixPath(name).name] == 1}


def _dresscode(poses: Mapping[str, _Pose], wanted: Collection[str]) -> dict[str, _Pose]:
    """DressCode's photo X_0 has the pose X_2."""
    alike = {
        name: f"{name.removesuffix('_0')}_2" for name in wanted if name.endswith("_0") and name not in poses
    }
    return {name: poses[pose] for name, pose in alike.items() if pose in poses and pose not in wanted}


def _split(root: Path, split: str, photos: Mapping[str, Path]) -> Collection[str]:
    """Names of a split's photos: from its list; else all that the other's list leaves; else by garment."""
    lists = {name: root / f"{name}.txt" for name in SPLITS}
    if lists[split].is_file():
        return _listed(lists[split], photos)
    other = SPLITS[1 - SPLITS.index(split)]
    if lists[other].is_file():
        left = photos.keys() - _listed(lists[other], photos)
        log.info("%s is alone: the other %d photos are for %s", lists[other], len(left), split)
        if not left:
            raise UsageError(
                f"{lists[other]}: lists all photos, none are left for {split}; expected {lists[split]}"
            )
        return left
    keys = {name: garment(name) for name in photos}
    if len(set(keys.values())) < 2:
        keys = {name: garment_group(name) for name in photos}
    inside = _keys_of_split(split, set(keys.values()))
    return {name for name, key in keys.items() if key in inside}


def _keys_of_split(split: str, keys: set[str]) -> set[str]:
    """About VAL_SHARE of the keys are "val", by their hashes alone; of two or more at least one is in either.

    A single key serves both splits.
    """
    if len(keys) == 1:
        return keys
    ranked = sorted(keys, key=_hash)
    val = {key for key in ranked if _hash(key) < VAL_SHARE} or {ranked[0]}
    val.discard(ranked[-1])
    return val if split == "val" else keys - val


def _hash(key: str) -> float:
    """Evenly spread over [0, 1)."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") / 2**64


def _listed(path: Path, photos: Mapping[str, Path]) -> set[str]:
    """The photos that a split's list has, one a line, below the root or below img/."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as text ({error})") from None
    names = set()
    for number, line in enumerate(lines, 1):
        name = image_key(line.strip()).removeprefix("img/")
        if name and name not in photos:
            raise UsageError(f"{path}, line {number}: no photo {line.strip()} below {path.parent / 'img'}")
        names.add(name)
    names.discard("")
    if not names:
        raise UsageError(f"{path}: lists no photos")
    return names
