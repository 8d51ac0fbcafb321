"""ade20k in miniature: its folders, with pictures of one colour and label maps of one's choice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Scene = tuple[tuple[int, int, int], NDArray[np.uint8]]
"""The photo's colour, and the label map (H, W), whose size the photo takes."""


def make_scenes(home: Path, scenes: Sequence[Scene], name: str = "{number}") -> Path:
    """The same scenes in both splits; name: of their files, from ``split`` and ``number``."""
    for split in ("training", "validation"):
        for kind in ("images", "annotations"):
            (home / kind / split).mkdir(parents=True)
        for number, (colour, labels) in enumerate(scenes):
            stem = name.format(split=split, number=number)
            Image.fromarray(labels).save(home / "annotations" / split / f"{stem}.png")
            Image.new("RGB", labels.shape[::-1], colour).save(home / "images" / split / f"{stem}.jpg")
    return home
