"""Part masks: which files they are, and the label map that those of one face make together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mcltool import IMAGE_SUFFIXES, ConditionFiles, DataError, read_photo, walk_files
from mcltool_celebahq.classes import BACK_TO_FRONT, NAMES, PARTS

_FILE = re.compile(rf"(\d{{5}}|[1-9]\d{{5,}})_({'|'.join(PARTS)})\.png")


def split_name(name: str) -> tuple[str, str] | None:
    """Number (its digits) and part of a file name like "02994_l_eye.png"; None for another file."""
    found = _FILE.fullmatch(name)
    return (found[1], found[2]) if found else None


def read_parts(files: Sequence[Path]) -> NDArray[np.uint8]:
    """The labels (H, W) of one face from the masks of its parts, painted BACK_TO_FRONT over background.

    files: at least one, of names like "02994_l_eye.png"; each holds two values, the higher of them inside.
    Raises DataError where one cannot be read or masks differ in size.
    """
    by_part = {part: path for path in files for _, part in [split_name(path.name) or ("", "")]}
    labels: NDArray[np.uint8] | None = None
    for part in BACK_TO_FRONT:
        if part not in by_part:
            continue
        mask = read_photo(by_part[part])[..., 0]  # the files are RGB of three equal channels
        if labels is None:
            labels = np.zeros(mask.shape, np.uint8)
        if mask.shape != labels.shape:
            (height, width), (high, wide) = mask.shape, labels.shape
            raise DataError(
                f"{by_part[part]}: {width} x {height} pixels, expected {wide} x {high} as in its other masks"
            )
        # "Above the middle" takes 0 and 255 as well as 0 and 1; a mask of zeros has nothing inside.
        np.copyto(labels, np.uint8(NAMES.index(part)), where=mask > mask.max() // 2)
    if labels is None:
        raise DataError(f"expected part masks like 02994_skin.png, found {', '.join(map(str, files))}")
    return labels


def face_conditions(folder: Path) -> Iterator[ConditionFiles]:
    """The conditions below ``folder``: the part masks of one number are one, any other image file is one."""

    def face(path: Path) -> tuple[Path, bool]:
        named = split_name(path.name)
        return (path.with_name(named[0]), True) if named else (path, False)

    # Sorted, the names of one number are neighbours: nothing has to be kept of a folder however large.
    for (path, grouped), files in groupby(walk_files(folder, IMAGE_SUFFIXES, every=True), face):
        name = path.relative_to(folder)
        yield ConditionFiles((name if grouped else name.with_suffix("")).as_posix(), tuple(files))
