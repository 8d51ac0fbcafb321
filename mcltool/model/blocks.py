"""Layers that several networks share. Tensors are (B, C, H, W)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mcltool.model.attention import attention


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps (or, with stride 2, halves) the size."""
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2)


def normal_parameter(*shape: int, deviation: float = 1.0) -> nn.Parameter:
    """A parameter of normal numbers around 0; on the meta device, which holds none, nothing is drawn.

    (Drawing there would import torch's compiler: seconds, for every command that loads weights.)
    """
    weight = torch.empty(shape)
    return nn.Parameter(weight if weight.is_meta else weight.normal_(std=deviation))


class ConditionEmbedding(nn.Module):
    """A condition as the planes that networks read: E learned numbers a class, or with ``width`` 0 one-hot.

    Both are linear: an area's average of them is that of its class shares, so coarser levels just average.
    """

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.classes, self.channels = classes, width or classes
        self.weight = normal_parameter(classes, width) if width else None

    def forward(self, condition: Tensor) -> Tensor:
        """(B, H, W) labels, which are looked up, or their (B, K, H, W) planes -> (B, channels, H, W)."""
        dtype = working_dtype(condition)
        if condition.ndim == 4:
            if self.weight is None:
                return condition.to(dtype)
            return F.conv2d(condition, self.weight.T[:, :, None, None])
        labels_BHW = condition.long()
        if self.weight is None:
            planes_BHWK = torch.zeros(*labels_BHW.shape, self.classes, dtype=dtype, device=labels_BHW.device)
            planes_BHWK.scatter_(3, labels_BHW[..., None], 1)
        else:
            planes_BHWK = F.embedding(labels_BHW, self.weight).to(dtype)
        return planes_BHWK.permute(0, 3, 1, 2)  # which lies in memory as channels_last does


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
        if x_BCHW.device.type == "cpu":
            h = attention(q, k, v, q.shape[2] ** -0.5)
        else:  # with kernels that store no weights
            h = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        out: Tensor = self.out(planes(h, x_BCHW.shape[-2:]))
        return x_BCHW + self.gain * out


def positional_norm(x_BCHW: Tensor) -> Tensor:
    """Mean 0 and deviation 1 over the channels of each position (PONO, arXiv 1907.04312), in float32 inside.

    That is a layer norm over the last axis of (B, H, W, C), which is how channels_last tensors lie in memory;
    torch's takes any format and sums in float32.
    """
    with torch.autocast(x_BCHW.device.type, enabled=False):
        h = F.layer_norm(x_BCHW.permute(0, 2, 3, 1), (x_BCHW.shape[1],), eps=1e-5)
    return h.permute(0, 3, 1, 2)


def pyramid(x_BCHW: Tensor, levels: int) -> list[Tensor]:
    """``x`` averaged to 1, 1/2, 1/4, ... of its size, the finest first."""
    found = [x_BCHW]
    while len(found) < levels:
        found.append(F.avg_pool2d(found[-1], 2))
    return found


def working_dtype(x: Tensor) -> torch.dtype:
    """The number format that convolutions of ``x`` run in here: autocast's, else its own (float32 for labels)."""
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return x.dtype if x.is_floating_point() else torch.float32


def positions(x_BCHW: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, N, C), N = H W positions in reading order."""
    return x_BCHW.flatten(2).transpose(1, 2)


def planes(x_BNC: Tensor, grid: tuple[int, int] | torch.Size) -> Tensor:
    """(B, N, C) -> (B, C, H, W) for grid (H, W)."""
    return x_BNC.transpose(1, 2).view(x_BNC.shape[0], x_BNC.shape[2], *grid)


def groups(channels: int) -> int:
    """The most groups, up to 8, that divide ``channels``."""
    return next(n for n in (8, 6, 4, 3, 2, 1) if channels % n == 0)
