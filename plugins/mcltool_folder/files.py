"""Writing a condition's files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mcltool import replacing


def write_image(values: NDArray[np.uint8], stem: Path) -> Path:
    """Write (H, W) or (H, W, 3) to stem.png; returns it."""
    path = stem.with_name(f"{stem.name}.png")
    with replacing(path) as temporary:
        Image.fromarray(values).save(temporary, "PNG")
    return path


def write_array(values: NDArray[np.float32], stem: Path) -> Path:
    """Write numbers to stem.npy; returns it."""
    path = stem.with_name(f"{stem.name}.npy")
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, values)
    return path
