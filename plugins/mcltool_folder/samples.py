"""The samples of a folder that is described: photos and their conditions, paired by name or by metadata."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from mcltool import IMAGE_SUFFIXES, ConditionFiles, Sample, UsageError, photo_size, walk_files
from mcltool.poses import poses_in
from mcltool_folder.description import Description, Part
from mcltool_folder.layout import ARRAYS, EXPECTED, LOSSY, ending_of
from mcltool_folder.metadata import GROUP, find_metadata, read_metadata


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
        ending = ending_of(found.id)
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
        name = found.id if found.id in photos else found.id.removesuffix(ending_of(found.id))
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
