"""Writing a condition's files."""

from __future__ import annotations

import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def write_image(values: NDArray[np.uint8], stem: Path) -> Path:
    """(H, W) or (H, W, 3) as stem.png."""
    return _whole(stem.with_name(f"{stem.name}.png"), lambda file: Image.fromarray(values).save(file, "PNG"))


def write_array(values: NDArray[np.float32], stem: Path) -> Path:
    """Numbers as stem.npy."""
    return _whole(stem.with_name(f"{stem.name}.npy"), lambda file: np.save(file, values))


def _whole(path: Path, save: Callable[[BytesIO], None]) -> Path:
    """Through a temporary file, which then takes the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    memory = BytesIO()
    save(memory)
    temporary.write_bytes(memory.getvalue())
    temporary.replace(path)
    return path
