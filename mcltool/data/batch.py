"""Batches of samples, and the small conversions between stored bytes and what networks see."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mcltool.core.pixels import Size, to_bytes, to_unit
from mcltool.plugin.contract import ConditionSpec, PointDrawing

Item = dict[str, Tensor]
"""One sample: the fields of a HostBatch, or of a Batch, without the first dimension."""

DRAWN_AT_ONCE = 8
"""Samples on a GPU; on a CPU it is one, whose planes stay in its cache."""

ALIGNMENT = 64
"""Bytes; each field of a HostBatch starts at a multiple."""

BACKGROUND = 24
"""Grey level behind pictures of channel conditions."""

CELL = 32
"""Pixels a side of a region in made-up conditions."""


@dataclass(frozen=True, eq=False)
class HostBatch:
    """Samples as worker processes make them and as they go to the device, which makes a Batch of them.

    One piece of memory, because each piece that a worker hands over costs as much as reading a sample does, and so
    that one copy takes it to a GPU. Its fields, ``batch[name]``:

    target: (B, H, W, 3) uint8 RGB. exemplar: likewise.
    condition: (B, H, W) uint8 labels, (B, C, H, W) float32 planes, or (B, K, 2) float32 points yet to be drawn.
    exemplar_condition: likewise.
    augmented: (B, 2, 3) float32: from x, y, 1 of the augmented target to x, y of the target.
    paired: (B,) bool.
    """

    memory: Tensor  # (bytes,) uint8
    layout: dict[str, tuple[torch.dtype, tuple[int, ...], slice]]
    """Type and shape of each field of all samples, and where it lies in the memory."""

    @classmethod
    def of(cls, items: Iterable[Item], count: int, shared: bool = False) -> Self:
        """A batch of ``count`` samples of one size. Each is copied as it comes: its memory can serve the next one.

        shared: in memory that another process can take over.
        """
        for number, item in enumerate(items):
            if number == 0:
                batch = cls._empty(item, count, shared)
                targets = {name: batch[name] for name in batch.layout}
            for name, target in targets.items():
                target[number : number + 1] = item[name].view(1, *target.shape[1:])  # never broadcast
        return batch

    @classmethod
    def _empty(cls, item: Item, count: int, shared: bool) -> Self:
        layout, stop = {}, 0
        for name, one in item.items():
            start = -(-stop // ALIGNMENT) * ALIGNMENT
            stop = start + count * one.nbytes
            layout[name] = one.dtype, (count, *one.shape), slice(start, stop)
        memory = torch.empty(0 if shared else stop, dtype=torch.uint8)
        if shared:  # as torch's own collate does it: share_memory_() would copy what is not there yet
            memory.set_(torch.UntypedStorage._new_shared(stop))  # type: ignore[no-untyped-call]
        return cls(memory, layout)

    def __getitem__(self, name: str) -> Tensor:
        dtype, shape, place = self.layout[name]
        return self.memory[place].view(dtype).view(shape)

    def to(self, device: torch.device) -> Self:
        """On ``device``; from pinned memory to a GPU without waiting for the copy."""
        return type(self)(self.memory.to(device, non_blocking=device.type == "cuda"), self.layout)

    def pin_memory(self) -> Self:
        """In page-locked memory; torch's DataLoader calls this."""
        return type(self)(self.memory.pin_memory(), self.layout)

    def arrive(self, draw_points: PointDrawing | None) -> Batch:
        """What the networks see, made on the device where this one is: poses are drawn, the augmented target warped.

        draw_points: the plugin's.
        """
        target, exemplar = (self[name].permute(0, 3, 1, 2).contiguous() for name in ("target", "exemplar"))
        condition, exemplar_condition = self["condition"], self["exemplar_condition"]
        if draw_points is not None:
            size = target.shape[2], target.shape[3]
            condition, exemplar_condition = (
                drawn_points(draw_points, points, size) for points in (condition, exemplar_condition)
            )
        augmented = warped(target, self["augmented"])
        Y, Z, P = (to_unit(photo) for photo in (target, exemplar, augmented))
        return Batch(condition, Y, Z, P, exemplar_condition, self["paired"])

    def __len__(self) -> int:
        return len(self["target"])


class Batch(NamedTuple):
    """Samples on the device, as the networks see them.

    condition: (B, H, W) uint8 labels, not yet one-hot, or (B, C, H, W) float32 in [0, 1].
    target: (B, 3, H, W) float32 RGB in [-1, 1], the photo that the condition is of. exemplar: likewise.
    augmented: likewise, a geometrically augmented copy of the target.
    exemplar_condition: the exemplar's own, like condition.
    paired: (B,) bool, whether the target is the right answer for (condition, exemplar).
    """

    condition: Tensor
    target: Tensor
    exemplar: Tensor
    augmented: Tensor
    exemplar_condition: Tensor
    paired: Tensor

    def to(self, device: torch.device | str) -> Batch:
        """All on ``device``."""
        return Batch(*(tensor.to(device) for tensor in self))

    def record_stream(self, stream: torch.cuda.Stream) -> None:
        """Say that ``stream`` works on them, so that their memory is not reused too early."""
        for tensor in self:
            tensor.record_stream(stream)  # type: ignore[no-untyped-call]


def warped(photo: Tensor, matrix: Tensor) -> Tensor:
    """``photo`` (B, 3, H, W) uint8 with its pixels taken from elsewhere in it, interpolated linearly; its border is
    reflected.

    matrix: (B, 2, 3) float32, from x, y, 1 of the result to x, y of the photo, in pixels.
    """
    height, width = photo.shape[2:]
    x, y = _pixel_centres((height, width), photo.device)
    places = (
        matrix[:, row, None, None, 0] * x
        + matrix[:, row, None, None, 1] * y[:, None]
        + matrix[:, row, None, None, 2]
        for row in (0, 1)
    )  # x and y, each (B, H, W)
    # To grid_sample -1 and 1 are the centres of the first and the last pixel.
    grid = torch.stack(
        [p * (2 / (side - 1)) - 1 for p, side in zip(places, (width, height), strict=True)], -1
    )
    found = functional.grid_sample(photo.float(), grid, "bilinear", "reflection", align_corners=True)
    return found.round().clamp(0, 255).to(torch.uint8)


def drawn_points(draw_points: PointDrawing, points: Tensor, size: Size) -> Tensor:
    """Planes (B, C, H, W) of points (B, K, 2), a few samples at a time: what drawing needs meanwhile is a multiple."""
    x, y = _pixel_centres(size, points.device)
    at_once = 1 if points.device.type == "cpu" else DRAWN_AT_ONCE
    return torch.cat([draw_points(torch, some, x, y) for some in torch.split(points, at_once)])


def _pixel_centres(size: Size, device: torch.device) -> tuple[Tensor, Tensor]:
    """x (W,) and y (H,)."""
    y, x = (torch.arange(side, dtype=torch.float32, device=device) for side in size)
    return x, y


def condition_planes(condition: Tensor, spec: ConditionSpec) -> Tensor:
    """What a network sees of a condition: (B, K, H, W) float32, K = spec.channels.

    condition: (B, H, W) uint8 labels, which become one-hot; or (B, K, H, W) channels, which pass through.
    """
    if spec.kind == "channels":
        return condition.float()
    batch, height, width = condition.shape
    planes = torch.zeros(batch, spec.channels, height, width, device=condition.device)
    return planes.scatter_(1, condition.long().unsqueeze(1), 1.0)


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


# --- made-up inputs, which need no data set: regions of one class, smooth photos ---


def random_conditions(count: int, size: Size, spec: ConditionSpec, seed: int = 0) -> Tensor:
    """(count, H, W) uint8 labels, or (count, K, H, W) float32 in [0, 1]."""
    draw = torch.Generator().manual_seed(seed)
    cells = _cells(size)
    if spec.kind == "labels":
        labels = torch.randint(spec.channels, (count, *cells), generator=draw, dtype=torch.uint8)
        return labels.repeat_interleave(CELL, 1).repeat_interleave(CELL, 2)[:, : size[0], : size[1]]
    planes = torch.rand(count, spec.channels, *cells, generator=draw)
    return functional.interpolate(planes, size, mode="bilinear", align_corners=False)


def random_photos(count: int, size: Size, seed: int = 0) -> Tensor:
    """(count, 3, H, W) uint8."""
    draw = torch.Generator().manual_seed(seed)
    coarse = 2 * torch.rand(count, 3, *_cells(size), generator=draw) - 1
    fine = 0.1 * torch.randn(count, 3, *size, generator=draw)
    return to_bytes(functional.interpolate(coarse, size, mode="bilinear", align_corners=False) + fine)


def _cells(size: Size) -> Size:
    return -(-size[0] // CELL), -(-size[1] // CELL)


def random_batch(count: int, size: Size, spec: ConditionSpec) -> Batch:
    """A batch of ``count`` samples, whose photo is the right answer."""
    conditions = [random_conditions(count, size, spec, seed) for seed in (0, 1)]
    Y, Z, P = (to_unit(random_photos(count, size, seed)) for seed in (0, 1, 2))
    return Batch(conditions[0], Y, Z, P, conditions[1], torch.ones(count, dtype=torch.bool))
