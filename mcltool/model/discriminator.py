"""The discriminator of (condition, image): PatchGAN (arXiv 1611.07004) at several scales, spectral norm (section 5).

With few photos it would learn them by heart. Differentiable augmentation (DiffAugment, arXiv 2006.10738) changes what
it sees, real or generated, at random by operations that gradients pass through.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from mcltool.model.attention import SelfAttention
from mcltool.model.blocks import ConditionEmbedding, pyramid

SHIFT, CUTOUT = 1 / 8, 1 / 2
"""Largest translation and side of the cut-out square, as shares of the image's sides."""


class PatchDiscriminator(nn.Module):
    """Strided convolutions to a map of scores, one a patch; gives every layer's output, the scores last."""

    def __init__(self, inputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        strides = [2] * (len(widths) - 1) + [1]
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv2d(a, b, 4, stride, padding=3 - stride))
            for a, b, stride in zip([inputs, *widths], widths, strides, strict=False)
        )
        self.score = spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        outputs = []
        for layer in self.layers:
            x_BCHW = F.leaky_relu(layer(x_BCHW), 0.2)
            outputs.append(x_BCHW)
        return [*outputs, self.score(x_BCHW)]


class PublishedPatchDiscriminator(PatchDiscriminator):
    """The same with instance norm but in its first layer, self-attention on its last, and 4 x 4 scores (section 7)."""

    def __init__(self, inputs: int, widths: Sequence[int]) -> None:
        super().__init__(inputs, widths)
        for i, layer in enumerate(self.layers):
            if i:
                self.layers[i] = nn.Sequential(layer, nn.InstanceNorm2d(widths[i]))
        # Queries and keys of half the width, as of a non-local block (1711.07971), make up the published size.
        self.attention = SelfAttention(widths[-1], widths[-1] // 2)
        self.score = spectral_norm(nn.Conv2d(widths[-1], 1, 4, padding=2))

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        outputs = []
        for layer in self.layers:
            x_BCHW = F.leaky_relu(layer(x_BCHW), 0.2)
            outputs.append(x_BCHW)
        outputs[-1] = self.attention(outputs[-1])
        return [*outputs, self.score(outputs[-1])]


class Discriminator(nn.Module):
    """The same PatchGAN (with weights of its own) at the image's size, half of it, ..."""

    def __init__(
        self,
        condition_channels: int,
        widths: Sequence[int],
        scales: int,
        embedding: int = 0,
        judge: type[PatchDiscriminator] = PatchDiscriminator,
    ) -> None:
        super().__init__()
        self.embed_condition = ConditionEmbedding(condition_channels, embedding)
        inputs = self.embed_condition.channels + 3
        self.scales = nn.ModuleList(judge(inputs, widths) for _ in range(scales))

    def forward(
        self, condition: Tensor, image_B3HW: Tensor, augmentation: int | None = None
    ) -> list[list[Tensor]]:
        """The outputs of every layer, a list a scale; the scores are each list's last.

        condition: as MCLNet takes it. augmentation: a seed to change both halves of the batch by; None: as they are.
        """
        X_BEHW = self.embed_condition(condition)
        image_B3HW = image_B3HW.to(X_BEHW.dtype)
        if augmentation is not None:
            X_BEHW, image_B3HW = augmented(X_BEHW, image_B3HW, augmentation)
        x = torch.cat([X_BEHW, image_B3HW], 1)
        sizes = pyramid(x.contiguous(memory_format=torch.channels_last), len(self.scales))
        return [d(part) for d, part in zip(self.scales, sizes, strict=True)]


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
