"""What tests of geometry share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcltool.core.config import DataConfig
from mcltool.data.geometry import RandomState, training_geometry
from mcltool.plugin.contract import Condition


def augmented(
    photo: NDArray[np.uint8], condition: Condition, seed: int, flip: bool = False
) -> tuple[NDArray[np.uint8], Condition]:
    """A view turned, scaled, shifted and sheared at the size that it has."""
    config = DataConfig(size=(photo.shape[0], photo.shape[1]), load_scale=1.0, flip=flip)
    return training_geometry(photo, condition, config, RandomState(seed), augment=True)
