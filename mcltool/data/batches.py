"""Batches of samples, and the small conversions between stored bytes and what networks see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcltool.data.contract import Condition, ConditionSpec, DatasetPlugin
from mcltool.data.views import rendered

Item = dict[str, Tensor]
"""One sample: the fields of a Batch without the first dimension."""

BACKGROUND = 24
"""Grey level behind pictures of channel conditions."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples as they are stored and sent to the device: bytes, labels not yet one-hot.

    condition: (B, H, W) uint8 labels, or (B, C, H, W) float32 in [0, 1].
    photo: (B, 3, H, W) uint8 RGB, the condition's ground truth.
    exemplar: (B, 3, H, W) uint8. exemplar_condition: the exemplar's own, like condition.
    pseudo: (B, 3, H, W) uint8, a geometrically augmented copy of the photo.
    paired: (B,) bool, whether the photo is the right answer for (condition, exemplar).
    """

    condition: Tensor
    photo: Tensor
    exemplar: Tensor
    exemplar_condition: Tensor
    pseudo: Tensor
    paired: Tensor

    def to(self, device: torch.device | str) -> Batch:
        """The batch on ``device``; from pinned memory to a GPU without waiting for the copies."""
        target = torch.device(device)
        tensors = (getattr(self, field.name) for field in fields(self))
        return Batch(*(tensor.to(target, non_blocking=target.type == "cuda") for tensor in tensors))

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory; torch's DataLoader calls this."""
        return Batch(*(getattr(self, field.name).pin_memory() for field in fields(self)))

    def record_stream(self, stream: torch.cuda.Stream) -> None:
        """Say that ``stream`` works on the batch, so that its memory is not used anew before."""
        for field in fields(self):
            getattr(self, field.name).record_stream(stream)

    def __len__(self) -> int:
        return len(self.photo)


def collate(items: Sequence[Item]) -> Batch:
    """Stack samples of one size into a batch."""
    return Batch(**{field.name: torch.stack([item[field.name] for item in items]) for field in fields(Batch)})


def photo_tensor(photo: NDArray[np.uint8]) -> Tensor:
    """(H, W, 3) uint8 as a tensor of its own, (3, H, W)."""
    return torch.from_numpy(np.array(photo.transpose(2, 0, 1), order="C"))


def condition_tensor(plugin: DatasetPlugin, condition: Condition) -> Tensor:
    """A condition rendered: (H, W) uint8 labels, or (C, H, W) float32 in [0, 1].

    Raises DataError where the plugin's planes are not what its spec and the contract say.
    """
    planes = rendered(plugin, condition)
    return torch.from_numpy(np.array(planes if planes.ndim == 2 else planes.transpose(2, 0, 1), order="C"))


def condition_planes(condition: Tensor, spec: ConditionSpec) -> Tensor:
    """What a network sees of a condition: (B, K, H, W) float32, K = spec.channels.

    condition: (B, H, W) uint8 labels, which become one-hot; or (B, K, H, W) channels, which pass through.
    """
    if spec.kind == "channels":
        return condition.float()
    batch, height, width = condition.shape
    planes = torch.zeros(batch, spec.channels, height, width, device=condition.device)
    return planes.scatter_(1, condition.long().unsqueeze(1), 1.0)


def to_unit(photo: Tensor) -> Tensor:
    """Bytes 0..255 to float32 in [-1, 1], any shape."""
    return photo.float() / 127.5 - 1.0


def to_bytes(image: Tensor) -> Tensor:
    """Floats in [-1, 1] to the nearest of the bytes 0..255, any shape; what lies outside is clamped."""
    return ((image.float() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)


def condition_picture(rendered: NDArray[Any], spec: ConditionSpec) -> NDArray[np.uint8]:
    """A picture of a condition in its palette's colours: (H, W, 3) uint8 RGB.

    rendered: as DatasetPlugin.render gives it, (H, W) uint8 labels or (H, W, C) float in [0, 1]. Channels
    shine on a dark ground; where several are on, the brightest of each primary colour shows.
    """
    palette = np.asarray(spec.palette, np.uint8)
    if spec.kind == "labels":
        return np.asarray(palette[rendered])
    picture = np.full((*rendered.shape[:2], 3), BACKGROUND, np.float32)
    for channel, colour in enumerate(palette.astype(np.float32)):
        np.maximum(picture, rendered[..., channel, None] * colour, out=picture)
    return picture.round().astype(np.uint8)
