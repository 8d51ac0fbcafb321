"""Recognise the layout of a folder by the names in it: where photos are, and where which conditions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mcltool import IMAGE_SUFFIXES, UsageError
from mcltool_folder.metadata import file_columns, find_metadata, photo_column, read_metadata

PHOTOS = ("images", "image", "photos", "imgs", "img", "targets")
KINDS = {
    "labels": ("masks", "mask", "labels", "label", "annotations", "segmentations", "segmentation", "seg"),
    "edges": ("edges", "edge", "sketches", "sketch", "lines", "line", "drawings"),
    "depth": ("depth", "depths"),
    "normals": ("normals", "normal"),
    "poses": ("poses", "pose"),
    "": ("inputs", "input", "conditions", "condition", "conditioning", "sources", "source"),
}
"""Names of condition folders, by kind; "": told by what is in them."""
TRAIN = ("train", "training")
VAL = ("val", "valid", "validation", "test")
LOSSY = frozenset({".jpg", ".jpeg", ".webp", ".avif", ".jfif", ".heic"})
ARRAYS = frozenset({".npy"})
KNOWN = {
    "ADEChallengeData2016": "ade20k", "annotations/training": "ade20k", "CelebA-HQ-img": "celebahq",
    "CelebAMask-HQ": "celebahq", "img_highres": "deepfashion", "img/WOMEN": "deepfashion",
}  # fmt: skip
"""What tells the folder of a data set that has a plugin of its own."""
EXPECTED = (
    "expected images/ and masks/ (or edges/, depth/, normals/, poses/), also below train/ and val/, or with train/ and "
    "val/ in them; x.jpg with x_mask.png; or metadata.csv"
)


@dataclass(frozen=True)
class Layout:
    """How a folder is laid out. conditions: kinds of its conditions ("": not told by a name), by Part.files."""

    layout: Literal["folders", "beside", "metadata"]
    train: str
    val: str | float
    photos: str
    conditions: Mapping[str, str]
    ignored: tuple[str, ...] = ()


def find_layout(root: Path) -> Layout:
    """Recognise the layout of ``root``. Raises UsageError where there is none, with what is expected."""
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder")
    for mark, plugin in KNOWN.items():
        if (root / mark).exists():
            raise UsageError(f"{root}: has {mark}, as the data set {plugin}: give --plugin {plugin}")
    inside = _split_inside(root)
    where = inside or root
    train = next((name for name in TRAIN if (where / name).is_dir()), ".")
    splits = [name for name in VAL if (where / name).is_dir()]
    val: str | float = splits[0] if train != "." and splits else 0.1
    unused = tuple(f"{name}/" for name in splits[1:]) if train != "." else ()
    base = root if inside else root / train
    metadata = find_metadata(base) or find_metadata(root)
    if metadata:
        columns = file_columns(read_metadata(metadata)[0])
        photos = photo_column(dict.fromkeys(columns, "")) or ""
        kinds = {name: _kind_of(name.removesuffix("_file_name")) or "" for name in columns if name != photos}
        return Layout("metadata", train, val, photos, kinds)
    folders = sorted(path.name for path in base.iterdir() if path.is_dir() and not path.name.startswith("."))
    photo_folders = [name for name in folders if name.lower() in PHOTOS]
    if len(photo_folders) > 1:
        raise UsageError(f"{base}: are the photos in {' or in '.join(photo_folders)}? rename one of them")
    if photo_folders:
        found = {name: _kind_of(name) for name in folders if name != photo_folders[0]}
        kinds = {name: kind for name, kind in found.items() if kind is not None}
        ignored = tuple(f"{name}/" for name, kind in found.items() if kind is None)
        return Layout("folders", train, val, photo_folders[0], kinds, (*ignored, *unused))
    files = [path for path in base.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES | ARRAYS]
    if not files:
        raise UsageError(f"{base}: no photos found; {EXPECTED}")
    return Layout("beside", train, val, "", _endings(files))


def _split_inside(root: Path) -> Path | None:
    """The folder of photos where that holds the splits: images/train rather than train/images."""
    folders = [path for path in root.iterdir() if path.name.lower() in PHOTOS]
    return next((path for path in folders for name in TRAIN if (path / name).is_dir()), None)


def _kind_of(name: str) -> str | None:
    """By the name of a folder, column or ending; None: it is not a condition's."""
    return next((kind for kind, names in KINDS.items() if name.lower() in names), None)


def _endings(files: Sequence[Path]) -> dict[str, str]:
    """Of conditions beside photos: "*_mask" and its kind, or "*" where x.png is the condition of x.jpg."""
    found = {
        f"*{ending}": kind
        for path in files
        if (ending := ending_of(path.stem))
        for kind in [_kind_of(ending[1:])]
    }
    lossy = {path.stem for path in files if path.suffix.lower() in LOSSY}
    if any(path.stem in lossy for path in files if path.suffix.lower() not in LOSSY):
        found["*"] = ""
    return {name: kind or "" for name, kind in found.items()}


def ending_of(stem: str) -> str:
    """ "_mask" of "x_mask"; "" where a name does not end in the word for a condition."""
    word = re.search(r"[_-]([A-Za-z]+)$", stem)
    return word[0] if word and _kind_of(word[1]) is not None else ""
