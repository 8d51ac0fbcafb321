"""The data set ``two-tone``: photos, each with a black-and-white mask of the thing in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mcltool import (
    IMAGE_SUFFIXES,
    Condition,
    ConditionSpec,
    DataError,
    DatasetPlugin,
    Sample,
    UsageError,
    read_photo,
    walk_files,
)

SPLITS = ("train", "val")
EVERY = 10
"""Without val.txt, one thing in so many is held out."""
EXPECTED = "expected ROOT/images/X.jpg with ROOT/masks/X.png"
SPEC = ConditionSpec("labels", ("background", "thing"), ((24, 26, 36), (240, 240, 236)))


class TwoTonePlugin(DatasetPlugin):
    """Photos in images/, masks of the same names in masks/; two classes."""

    name: ClassVar[str] = "two-tone"
    home_page: ClassVar[str] = "https://example.org/two-tone"
    defaults: ClassVar[Mapping[str, Any]] = {"data.flip": True}

    @property
    def spec(self) -> ConditionSpec:
        return SPEC

    def index(self, root: Path | None, split: str) -> Sequence[Sample]:
        """A sample a photo that has a mask; its group is the part of its name before the last "_"."""
        if split not in SPLITS:
            raise UsageError(f"two-tone: no split {split!r}; there are {', '.join(SPLITS)}")
        if root is None:
            raise UsageError(f"two-tone: --root is missing; {EXPECTED}")
        for folder in (root / "images", root / "masks"):
            if not folder.is_dir():
                raise UsageError(f"{folder}: no such folder; {EXPECTED}")
        masks = {path.stem: path for path in walk_files(root / "masks", IMAGE_SUFFIXES)}
        photos = [path for path in walk_files(root / "images", IMAGE_SUFFIXES) if path.stem in masks]
        held_out = _held_out(root, [photo.stem for photo in photos])
        samples = [
            Sample(photo.stem, photo, (masks[photo.stem],), group=_thing(photo.stem))
            for photo in photos
            if (photo.stem in held_out) == (split == "val")
        ]
        if not samples:
            raise UsageError(f"{root}: no photos with masks for {split}; {EXPECTED}")
        return samples

    def read_condition(self, files: Sequence[Path]) -> Condition:
        """One mask of any image format; what is lighter than middle grey is the thing."""
        if len(files) != 1:
            raise DataError(f"two-tone: a condition is one mask, not {len(files)} files")
        grey = read_photo(files[0]).mean(axis=2)
        return Condition((grey.shape[0], grey.shape[1]), (grey > 127).astype(np.uint8))


def _thing(name: str) -> str:
    """What the photo shows: car07 for car07_3, nothing for a name without "_"."""
    return name.rpartition("_")[0]


def _held_out(root: Path, names: Sequence[str]) -> set[str]:
    """The names in val.txt, else those of one thing in EVERY, at least one: the same on every machine."""
    listed = root / "val.txt"
    if listed.is_file():
        return set(listed.read_text().split())
    things = sorted({_thing(name) or name for name in names})
    chosen = set(things[::EVERY])
    return {name for name in names if (_thing(name) or name) in chosen}
