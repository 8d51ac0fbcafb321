"""The feature encoders E_x (condition) and E_z (photo): one architecture, METHOD section "Notation"."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mcltool.model.blocks import ResidualBlock, conv, groups

STRIDE = 4
"""Pixels a side of one position of the features."""


class FeatureEncoder(nn.Module):
    """Image to features at stride 4: down to the coarsest width, then back up to 1/4 beside finer features.

    inputs: image channels. stem: pixels a side that the first layer takes at once, 1, 2 or 4. widths: channels at
    1 / stem, 1 / (2 stem), ... of the size. outputs: C. position: append each pixel's coordinates in [-1, 1].
    """

    def __init__(
        self, inputs: int, widths: Sequence[int], outputs: int, position: bool, stem: int = 1
    ) -> None:
        super().__init__()
        self.position, self.unshuffle = position, stem
        quarter = STRIDE.bit_length() - stem.bit_length()  # index of the features' resolution in widths
        self.stem = conv((inputs + 2 * position) * stem**2, widths[0])
        self.down = nn.ModuleList(
            nn.Sequential(_activation(a), conv(a, b, 3, 2), ResidualBlock(b)) for a, b in pairwise(widths)
        )
        steps_up = range(len(widths) - 1, quarter, -1)
        self.up = nn.ModuleList(
            nn.Sequential(conv(widths[i] + widths[i - 1], widths[i - 1]), ResidualBlock(widths[i - 1]))
            for i in steps_up
        )
        self.head = nn.Sequential(_activation(widths[quarter]), conv(widths[quarter], outputs, 1))

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, C, H/4, W/4); H and W multiples of 32."""
        if self.position:
            image_BCHW = torch.cat([image_BCHW, coordinates(image_BCHW)], 1)
        if self.unshuffle > 1:
            image_BCHW = F.pixel_unshuffle(image_BCHW, self.unshuffle)
        levels = [self.stem(image_BCHW)]
        for step in self.down:
            levels.append(step(levels[-1]))
        h = levels[-1]
        for step, finer in zip(self.up, reversed(levels[-1 - len(self.up) : -1]), strict=True):
            h = F.interpolate(h, size=finer.shape[-2:], mode="nearest")
            h = step(torch.cat([h, finer], 1))
        features: Tensor = self.head(h)
        return features


def coordinates(image_BCHW: Tensor) -> Tensor:
    """(B, 2, H, W): the y and x of each pixel centre, -1 and 1 at the image's edges."""
    B, _, H, W = image_BCHW.shape
    y = (torch.arange(H, device=image_BCHW.device) + 0.5) * (2 / H) - 1
    x = (torch.arange(W, device=image_BCHW.device) + 0.5) * (2 / W) - 1
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij")).to(image_BCHW.dtype)
    return grid.expand(B, 2, H, W)


def _activation(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.GroupNorm(groups(channels), channels), nn.LeakyReLU(0.2))
