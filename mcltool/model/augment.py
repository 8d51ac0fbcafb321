"""Differentiable augmentation for the discriminator (DiffAugment, arXiv 2006.10738): with few photos it would learn
them by heart. What it sees, real or generated, is changed at random by operations that gradients pass through.
"""

from __future__ import annotations

import torch
from torch import Tensor

SHIFT, CUTOUT = 1 / 8, 1 / 2
"""Largest translation and side of the cut-out square, as shares of the image's sides."""


def augmented(planes_BCHW: Tensor, image_B3HW: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """The condition's planes and the image, moved and cut alike; colours change in the image only.

    image: in [-1, 1]. The two halves of a batch (real and generated) get the same changes, sample by sample, so that
    their features can still be compared. seed: decides the changes.
    """
    half = image_B3HW.shape[0] // 2
    draw = torch.Generator().manual_seed(seed)
    numbers_7B = torch.rand(7, half, generator=draw).to(image_B3HW.device).repeat(1, 2)
    coloured = _recoloured(image_B3HW, *numbers_7B[:3])
    both = _translated(torch.cat([planes_BCHW, coloured.to(planes_BCHW.dtype)], 1), *numbers_7B[3:5])
    both = both * _uncut(both, *numbers_7B[5:])
    return both[:, :-3], both[:, -3:]


def _recoloured(x_B3HW: Tensor, light: Tensor, colour: Tensor, contrast: Tensor) -> Tensor:
    """Brightness -0.5 to 0.5 added, saturation 0 to 2, contrast 0.5 to 1.5 times what it was."""
    light, colour, contrast = (n.view(-1, 1, 1, 1).to(x_B3HW.dtype) for n in (light, colour, contrast))
    x_B3HW = x_B3HW + (light - 0.5)
    grey = x_B3HW.mean(1, keepdim=True)
    x_B3HW = grey + 2 * colour * (x_B3HW - grey)
    mean = x_B3HW.mean((1, 2, 3), keepdim=True)
    return mean + (0.5 + contrast) * (x_B3HW - mean)


def _translated(x_BCHW: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Each sample moved by up to SHIFT of its sides; what comes in is 0."""
    B, _, H, W = x_BCHW.shape
    y = torch.arange(H, device=x_BCHW.device) + _steps(down, H)
    x = torch.arange(W, device=x_BCHW.device) + _steps(right, W)
    inside = ((y >= 0) & (y < H))[:, None, :, None] & ((x >= 0) & (x < W))[:, None, None, :]
    sample = torch.arange(B, device=x_BCHW.device)[:, None, None]
    moved = x_BCHW.permute(0, 2, 3, 1)[sample, y.clamp(0, H - 1)[:, :, None], x.clamp(0, W - 1)[:, None, :]]
    return moved.permute(0, 3, 1, 2) * inside.to(x_BCHW.dtype)


def _steps(number_B: Tensor, side: int) -> Tensor:
    """(B, 1) whole pixels from -SHIFT to SHIFT of ``side``."""
    most = int(side * SHIFT)
    return (number_B * (2 * most + 1)).floor().long()[:, None] - most


def _uncut(x_BCHW: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """(B, 1, H, W): 0 in a square of CUTOUT of the sides around a random place, else 1."""
    _, _, H, W = x_BCHW.shape
    y, x = (torch.arange(side, device=x_BCHW.device)[None] for side in (H, W))
    cut_y = (y - (down * H)[:, None]).abs() < CUTOUT * H / 2
    cut_x = (x - (right * W)[:, None]).abs() < CUTOUT * W / 2
    return 1 - (cut_y[:, None, :, None] & cut_x[:, None, None, :]).to(x_BCHW.dtype)
