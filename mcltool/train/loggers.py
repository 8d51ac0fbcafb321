"""TensorBoard's event files, where a run asks for them (extra mcltool[tensorboard])."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from mcltool.core.errors import UsageError
from mcltool.core.pictures import Picture


class Board:
    """Writes scalars and pictures to ``folder``. Raises UsageError where TensorBoard is not installed."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError:
            raise UsageError(
                "train.tensorboard: TensorBoard is not installed; pip install 'mcltool[tensorboard]'"
            ) from None
        self.writer = SummaryWriter(str(folder))

    def add(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            kind, _, rest = name.partition("_")
            tag = f"{kind}/{rest}" if kind in ("loss", "val") else name
            self.writer.add_scalar(tag, value, step)
        self.writer.flush()

    def add_picture(self, step: int, picture: Picture) -> None:
        self.writer.add_image("samples", torch.from_numpy(picture.copy()), step, dataformats="HWC")
