"""The folders of CelebAMask-HQ as its archive unpacks, and the samples in them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import overload

from mcltool import IMAGE_SUFFIXES, Sample, UsageError
from mcltool_celebahq.classes import PARTS
from mcltool_celebahq.masks import split_name
from mcltool_celebahq.splits import choose

PAGE = "https://github.com/switchablenorms/CelebAMask-HQ"
ARCHIVE = "CelebAMask-HQ"
PHOTOS = "CelebA-HQ-img"
MASKS = "CelebAMask-HQ-mask-anno"
MASKS_A_FOLDER = 2000
COCOSNET = f"{MASKS}/all_parts_except_glasses"
MAPS = (COCOSNET, MASKS, "CelebAMask-HQ-mask", "CelebAMaskHQ-mask", "masks", "labels")
"""Where label maps may lie, one N.png or 0000N.png a photo."""

_WAY_OUT = (
    f"get {ARCHIVE}.zip at {PAGE} (for non-commercial research and education only), unpack it and give its "
    f"folder as --root, which has {PHOTOS}/N.jpg and {MASKS}/{{N // {MASKS_A_FOLDER}}}/NNNNN_part.png"
)


class Faces(Sequence[Sample]):
    """The samples of a split. They are made when asked for: the paths of all their part masks, 400 thousand
    in the whole data set, would take 150 MB in every process.

    home: the folder with the photos' and the masks' folders. names: the photos' file names.
    parts: for each of them the parts that have a mask, bit i for PARTS[i].
    with_photo: whether the photo is one of the condition's files (the last).
    """

    def __init__(self, home: Path, names: Sequence[str], parts: Sequence[int], with_photo: bool) -> None:
        self._home, self._names, self._parts = home, tuple(names), tuple(parts)
        self._with_photo, self._photos = with_photo, home / PHOTOS
        self._folders: dict[int, Path] = {}

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> Faces: ...

    def __getitem__(self, index: int | slice) -> Sample | Faces:
        if isinstance(index, slice):
            return Faces(self._home, self._names[index], self._parts[index], self._with_photo)
        photo = self._photos / self._names[index]
        number = int(photo.stem)
        folder, prefix = self._folder(number // MASKS_A_FOLDER), f"{number:05d}_"
        bits = self._parts[index]
        masks = tuple(folder / f"{prefix}{part}.png" for i, part in enumerate(PARTS) if bits >> i & 1)
        return Sample(photo.stem, photo, (*masks, photo) if self._with_photo else masks)

    def _folder(self, number: int) -> Path:
        if number not in self._folders:
            self._folders[number] = self._home / MASKS / str(number)
        return self._folders[number]


def index_faces(root: Path | None, split: str, with_photo: bool, numbering: str = "") -> Sequence[Sample]:
    """The samples of ``split`` in the order of their numbers; ids are the photos' names without suffix.

    numbering: of label maps, where a user named it. Raises UsageError where folders or photos are missing. A photo
    may be without masks: who reads it says so.
    """
    home = _find_home(root)
    names = _scan_photos(home / PHOTOS)
    parts = _scan_masks(home / MASKS)
    numbers = choose(sorted(names), [folder for folder in (root, home) if folder], split)
    if parts:
        return Faces(home, [names[n] for n in numbers], [parts.get(n, 0) for n in numbers], with_photo)
    folder, maps = _scan_maps(home)
    if folder == home / COCOSNET and not numbering:
        raise UsageError(
            f"{folder}: CoCosNet's label maps: give --labels cocosnet (or standard, if they are not)"
        )
    samples = []
    for photo in (home / PHOTOS / names[number] for number in numbers):
        if int(photo.stem) not in maps:
            raise UsageError(f"{photo}: no label map, expected {folder / photo.stem}.png")
        files = (folder / maps[int(photo.stem)], photo)
        samples.append(Sample(photo.stem, photo, files if with_photo else files[:1]))
    return samples


def mask_pattern(photo: Path) -> Path:
    """The files that the part masks of ``photo`` are, with "*" for the part."""
    number = int(photo.stem)
    return photo.parents[1] / MASKS / str(number // MASKS_A_FOLDER) / f"{number:05d}_*.png"


def _find_home(root: Path | None) -> Path:
    if root is None:
        raise UsageError(f"celebahq: --root is missing; {_WAY_OUT}")
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder; {_WAY_OUT}")
    home = root / ARCHIVE if (root / ARCHIVE).is_dir() else root
    if not (home / PHOTOS).is_dir():
        raise UsageError(f"{home / PHOTOS}: no such folder; {_WAY_OUT}")
    if not any((home / name).is_dir() for name in MAPS):
        raise UsageError(f"{home / MASKS}: no such folder; {_WAY_OUT}")
    return home


def _scan_photos(folder: Path) -> dict[int, str]:
    """As ``_by_number``; there must be some."""
    names = _by_number(folder)
    if not names:
        raise UsageError(f"{folder}: no photos named by numbers (N.jpg) in it; {_WAY_OUT}")
    return names


def _scan_maps(home: Path) -> tuple[Path, dict[int, str]]:
    """The folder with label maps, and their names by number. Raises UsageError where there are none."""
    for folder in (home / name for name in MAPS):
        if folder.is_dir() and (names := _by_number(folder)):
            return folder, names
    expected = home / MASKS / "0" / "00000_skin.png"
    raise UsageError(f"{home / MASKS}: no part masks such as {expected} in it; {_WAY_OUT}")


def _by_number(folder: Path) -> dict[int, str]:
    """Picture files by number. What is not named by a number is not one of the data set."""
    names: dict[int, str] = {}
    for name in sorted(os.listdir(folder)):
        path = Path(name)
        if path.suffix.lower() in IMAGE_SUFFIXES and path.stem.isascii() and path.stem.isdecimal():
            number = int(path.stem)
            if number in names:
                raise UsageError(f"{folder}: {names[number]} and {name} are both photo {number}")
            names[number] = name
    return names


def _scan_masks(folder: Path) -> dict[int, int]:
    """The parts that have a mask, as bits, by number; none where there are no part masks."""
    bits = {part: 1 << i for i, part in enumerate(PARTS)}
    parts: dict[int, int] = {}
    for inner in os.listdir(folder) if folder.is_dir() else ():
        if not (inner.isascii() and inner.isdecimal() and (folder / inner).is_dir()):
            continue
        for name in os.listdir(folder / inner):
            named = split_name(name)
            if named and int(named[0]) // MASKS_A_FOLDER == int(inner):
                number = int(named[0])
                parts[number] = parts.get(number, 0) | bits[named[1]]
    return parts
