"""Where photos and conditions lie in a folder: recognised by names, and paired by names."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mcltool import IMAGE_SUFFIXES, ConditionFiles, Sample, UsageError, photo_size, walk_files
from mcltool.poses import poses_in
from mcltool_folder.description import Description, Part
from mcltool_folder.metadata import GROUP, file_columns, find_metadata, photo_column, read_metadata

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
        if (ending := _ending(path.stem))
        for kind in [_kind_of(ending[1:])]
    }
    lossy = {path.stem for path in files if path.suffix.lower() in LOSSY}
    if any(path.stem in lossy for path in files if path.suffix.lower() not in LOSSY):
        found["*"] = ""
    return {name: kind or "" for name, kind in found.items()}


def _ending(stem: str) -> str:
    """ "_mask" of "x_mask"; "" where a name does not end in the word for a condition."""
    word = re.search(r"[_-]([A-Za-z]+)$", stem)
    return word[0] if word and _kind_of(word[1]) is not None else ""


def find_samples(root: Path, description: Description, split: str) -> list[Sample]:
    """The samples of a split, sorted. Raises UsageError for what lacks its other half or has two."""
    if isinstance(description.val, str):
        folder = description.train if split == "train" else description.val
        return _of_size(_paired(root, description, folder), description)
    samples = _of_size(_paired(root, description, description.train), description)
    held_out = _held_out(samples, description.val)
    return [sample for sample in samples if (_unit(sample) in held_out) == (split == "val")]


def _of_size(samples: list[Sample], description: Description) -> list[Sample]:
    if description.short_side is None:
        return samples
    least, most = description.short_side
    return [sample for sample in samples if sample.photo and least <= min(photo_size(sample.photo)) <= most]


def _held_out(samples: Sequence[Sample], share: float) -> set[str]:
    """Of every unit (a thing, or a photo) the same share by a hash of its name, at least one of two."""
    units = sorted({_unit(sample) for sample in samples}, key=_hash)
    count = sum(_hash(unit) < share for unit in units)
    return set(units[: max(count, 1)]) if len(units) > 1 else set()


def _unit(sample: Sample) -> str:
    return sample.group or sample.id


def _hash(text: str) -> float:
    """0 to 1, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) / 2**64


def _paired(root: Path, description: Description, folder: str) -> list[Sample]:
    base = root / folder
    if not base.is_dir() and not (root / description.photos / folder).is_dir():
        raise UsageError(f"{base}: no such folder; dataset.toml or the folder is wrong")
    if description.layout == "metadata":
        return list(_from_metadata(root, base, description))
    photos, conditions = _candidates(root, folder, description)
    _check_single(photos, "photo")
    complete = set(photos)
    bare: list[str] = []
    stray: list[str] = []
    for part, found in conditions.items():
        what = f"{part.kind} ({part.files})"
        _check_single(found, what)
        bare, stray = sorted(photos.keys() - found.keys()), sorted(found.keys() - photos.keys())
        if (bare or stray) and description.unpaired == "refuse":
            raise UsageError(_unpaired(what, bare, stray, photos, found))
        complete &= found.keys()
    samples = []
    for name in sorted(complete):
        mine = [found[name][0] for found in conditions.values()]
        files = tuple(path for condition in mine for path in condition.files)
        group = group_of(name, description.group)
        samples.append(Sample(name, photos[name][0].files[0], files, group, "".join(c.part for c in mine)))
    if not samples and (bare or stray):
        raise UsageError(_unpaired(what, bare, stray, photos, found))
    if not samples:
        raise UsageError(f"{base}: no photos with conditions; {EXPECTED}")
    return samples


_Found = dict[str, list[ConditionFiles]]
"""Candidates by id."""


def _candidates(root: Path, folder: str, description: Description) -> tuple[_Found, dict[Part, _Found]]:
    """folder: of the split, which is in ``root`` or, in a layout of folders, in those of photos and conditions."""
    base, parts = root / folder, [part for part in description.condition if part.files]
    if description.layout == "folders":

        def place(name: str) -> Path:
            return base / name if (base / name).is_dir() else root / name / folder

        photos = _by_id(_images(place(description.photos)))
        return photos, {part: _matched(find_conditions(place(part.files), part), photos) for part in parts}
    endings = {part.files.removeprefix("*"): part for part in parts}
    photos = defaultdict(list)
    conditions: dict[Part, _Found] = {part: defaultdict(list) for part in parts}
    files = list(_images(base, IMAGE_SUFFIXES | ARRAYS))
    lossy = {found.id for found in files if found.files[0].suffix.lower() in LOSSY}
    for found in files:
        ending = _ending(found.id)
        if ending and ending in endings:
            conditions[endings[ending]][found.id.removesuffix(ending)].append(found)
        elif "" in endings and found.id in lossy and found.files[0].suffix.lower() not in LOSSY:
            conditions[endings[""]][found.id].append(found)
        elif not ending:
            photos[found.id].append(found)
    return photos, conditions


def find_conditions(folder: Path, part: Part, every: bool = False) -> Iterator[ConditionFiles]:
    """The files of one kind of condition below ``folder``, sorted. every: see mcltool.walk_files."""
    if part.kind == "poses":
        return poses_in(folder, collections=True)
    return _images(folder, IMAGE_SUFFIXES | ARRAYS, every)


def _images(
    folder: Path, suffixes: frozenset[str] = IMAGE_SUFFIXES, every: bool = False
) -> Iterator[ConditionFiles]:
    for path in walk_files(folder, suffixes, every):
        yield ConditionFiles(path.relative_to(folder).with_suffix("").as_posix(), (path,))


def _by_id(found: Iterator[ConditionFiles]) -> _Found:
    by_id: _Found = defaultdict(list)
    for one in found:
        by_id[one.id].append(one)
    return by_id


def _matched(conditions: Iterator[ConditionFiles], photos: _Found) -> _Found:
    """By the ids of their photos: x.png, or x_mask.png where no photo has that name."""
    by_id: _Found = defaultdict(list)
    for found in conditions:
        name = found.id if found.id in photos else found.id.removesuffix(_ending(found.id))
        by_id[name].append(found)
    return by_id


def _check_single(found: _Found, what: str) -> None:
    for candidates in found.values():
        if len(candidates) > 1:
            one, other = candidates[0].files[0], candidates[1].files[0]
            raise UsageError(f"{one}: and {other.name}: two candidates for one {what}; remove one of them")


def _unpaired(what: str, bare: list[str], stray: list[str], photos: _Found, found: _Found) -> str:
    words = []
    if bare:
        words.append(f"{len(bare)} of {len(photos)} photos have no {what}")
    if stray:
        words.append(f"{len(stray)} of {len(found)} {what} have no photo")
    first = photos[bare[0]][0].files[0] if bare else found[stray[0]][0].files[0]
    way_out = (
        "add or remove files, or write unpaired = \"leave out\" in dataset.toml ('mcltool data describe')"
    )
    return f"{first}: {' and '.join(words)}: {way_out}"


def _from_metadata(root: Path, base: Path, description: Description) -> Iterator[Sample]:
    path = find_metadata(base) or find_metadata(root)
    if path is None:
        raise UsageError(f"{base}: no metadata.csv, metadata.jsonl or metadata.parquet")
    columns = [part.files for part in description.condition if part.files]
    seen: set[str] = set()
    for row in read_metadata(path):
        try:
            photo, *files = (path.parent / row[column] for column in (description.photos, *columns))
        except KeyError as error:
            raise UsageError(f"{path}: a row has no {error.args[0]}") from None
        if not photo.is_relative_to(base):
            continue
        name = photo.relative_to(base).with_suffix("").as_posix()
        if name in seen:
            raise UsageError(f"{path}: {name} has two rows; keep one of them")
        seen.add(name)
        yield Sample(name, photo, tuple(files), row.get(GROUP) or group_of(name, description.group))


def group_of(name: str, rule: str) -> str:
    """What the photo ``name`` shows by the rule of Description.group; "" where it shows something of its own."""
    if rule == "folder":
        return name.rpartition("/")[0]
    found = re.search(rule, name) if rule else None
    return (found[1] or "" if found.re.groups else found[0]) if found else ""
