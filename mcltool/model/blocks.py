"""Layers that several networks share. Tensors are (B, C, H, W)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps (or, with stride 2, halves) the size."""
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2)


class ResidualBlock(nn.Module):
    """Two group-normalised convolutions beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.GroupNorm(groups(channels), channels) for _ in range(2))
        self.convs = nn.ModuleList(conv(channels, channels) for _ in range(2))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        h = x_BCHW
        for norm, layer in zip(self.norms, self.convs, strict=True):
            h = layer(F.leaky_relu(norm(h), 0.2))
        return x_BCHW + h


class SelfAttention(nn.Module):
    """Self-attention over positions (SAGAN, arXiv 1805.08318), its output scaled by a learned gain from 0."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = max(channels // 8, 8)
        self.query, self.key = conv(channels, width, 1), conv(channels, width, 1)
        self.value, self.out = conv(channels, channels // 2, 1), conv(channels // 2, channels, 1)
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        q, k, v = (positions(f(x_BCHW)) for f in (self.query, self.key, self.value))
        h = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        out: Tensor = self.out(planes(h, x_BCHW.shape[-2:]))
        return x_BCHW + self.gain * out


def positional_norm(x_BCHW: Tensor) -> Tensor:
    """Mean 0 and deviation 1 over the channels of each position (PONO, arXiv 1907.04312), in float32 inside.

    That is a layer norm over the last axis of (B, H, W, C), which is how channels_last tensors lie in memory.
    """
    with torch.autocast(x_BCHW.device.type, enabled=False):
        h = F.layer_norm(x_BCHW.permute(0, 2, 3, 1).float(), (x_BCHW.shape[1],), eps=1e-5)
        x: Tensor = h.permute(0, 3, 1, 2).to(x_BCHW.dtype)
    return x


def positions(x_BCHW: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, N, C), N = H W positions in reading order."""
    return x_BCHW.flatten(2).transpose(1, 2)


def planes(x_BNC: Tensor, grid: tuple[int, int] | torch.Size) -> Tensor:
    """(B, N, C) -> (B, C, H, W) for grid (H, W)."""
    return x_BNC.transpose(1, 2).view(x_BNC.shape[0], x_BNC.shape[2], *grid)


def groups(channels: int) -> int:
    """The most groups, up to 8, that divide ``channels``."""
    return next(n for n in (8, 6, 4, 3, 2, 1) if channels % n == 0)
