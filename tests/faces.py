"""What tests of the plugins celebahq and celebahq-mask share: faces of boxes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from mcltool_celebahq import CelebAHQMaskPlugin, CelebAHQPlugin
from numpy.typing import NDArray
from PIL import Image

EDGES, MASKS = CelebAHQPlugin(), CelebAHQMaskPlugin()
CLASS = {name: index for index, name in enumerate(MASKS.spec.names)}

Box = tuple[int, int, int, int]
"""Top, left, bottom, right in mask pixels, the last two not included."""
FACE: Mapping[str, Box] = {
    "hair": (0, 8, 20, 56),
    "skin": (12, 16, 56, 48),
    "l_eye": (28, 20, 32, 28),
    "r_eye": (28, 36, 32, 44),
    "l_lip": (46, 26, 50, 38),
    "ear_r": (40, 48, 44, 50),
}


def box_mask(box: Box, size: int = 64) -> NDArray[np.uint8]:
    mask = np.zeros((size, size), np.uint8)
    mask[box[0] : box[2], box[1] : box[3]] = 255
    return mask


def add(root: Path, number: int, parts: Mapping[str, Box], photo: NDArray[np.uint8] | None = None) -> None:
    """One face: a photo of 128 px and part masks of 64 px as RGB files of 0 and 255."""
    photos, masks = root / "CelebA-HQ-img", root / "CelebAMask-HQ-mask-anno" / str(number // 2000)
    for folder in (photos, masks):
        folder.mkdir(parents=True, exist_ok=True)
    grey = np.full((128, 128, 3), 128, np.uint8)
    Image.fromarray(grey if photo is None else photo).save(photos / f"{number}.jpg", quality=95)
    for part, box in parts.items():
        mask = np.stack([box_mask(box)] * 3, axis=2)
        Image.fromarray(mask).save(masks / f"{number:05d}_{part}.png")


def rim(box: Box) -> NDArray[np.uint8]:
    """The outermost pixels of a box, by hand."""
    lines = box_mask(box)
    lines[box[0] + 1 : box[2] - 1, box[1] + 1 : box[3] - 1] = 0
    return lines


def make_root(root: Path) -> Path:
    """Three faces, of which 10 is to validate."""
    for number in (2994, 10, 14721):
        add(root, number, FACE)
    (root / "val.txt").write_text("10\n")
    return root


def ids(root: Path) -> tuple[list[str], list[str]]:
    train, val = ([sample.id for sample in MASKS.index(root, split)] for split in ("train", "val"))
    return train, val


def read(plugin: CelebAHQPlugin | CelebAHQMaskPlugin, root: Path, short_side: int = 0) -> NDArray[np.uint8]:
    raster = plugin.condition(plugin.index(root, "val")[0], short_side).raster
    assert raster is not None
    return raster
