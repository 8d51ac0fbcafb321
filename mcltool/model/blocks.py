"""Layers that several networks share. Tensors are (B, C, H, W), or (B, N, D) of N positions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm

Padding = Literal["zeros", "reflect", "replicate"]
"""What lies outside a picture, for convolutions."""


def conv(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, padding: Padding = "zeros"
) -> nn.Conv2d:
    """A convolution that keeps (or, with stride 2, halves) the size. padding: outside."""
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, padding_mode=padding)


def normal_parameter(*shape: int, deviation: float = 1.0) -> nn.Parameter:
    """A parameter of normal numbers around 0; on the meta device, which holds none, nothing is drawn.

    (Drawing there would import torch's compiler: seconds, for every command that loads weights.)
    """
    weight = torch.empty(shape)
    return nn.Parameter(weight if weight.is_meta else weight.normal_(std=deviation))


EMBEDDING_DEVIATION = 0.1
"""Of an embedding's numbers at the start. At 1 they drown the three colours beside them, and a discriminator takes
hundreds of steps to tell a blur from a photo (docs/recipe.md)."""


class ConditionEmbedding(nn.Module):
    """A condition as the planes that networks read: E learned numbers a class, or with ``width`` 0 one-hot.

    Both are linear: an area's average of them is that of its class shares, so coarser levels just average.
    """

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.classes, self.channels = classes, width or classes
        self.weight = normal_parameter(classes, width, deviation=EMBEDDING_DEVIATION) if width else None

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


class Modulation(nn.Module):
    """SPADE (arXiv 1903.07291): positional normalisation, then scale and shift read off a guide.

    shared: whether the guide comes as the block's hidden layer instead of being read here. padding: of its
    convolutions, as in torch.
    """

    def __init__(
        self,
        channels: int,
        guide: int,
        hidden: int,
        kernel: int,
        shared: bool = False,
        padding: Padding = "zeros",
    ) -> None:
        super().__init__()
        self.shared = None if shared else conv(guide, hidden, padding=padding)
        self.scale_shift = conv(hidden, 2 * channels, kernel, padding=padding)
        assert self.scale_shift.bias is not None
        nn.init.ones_(self.scale_shift.bias.data[:channels])  # the scale is around 1

    def forward(self, x_BCHW: Tensor, guide_BGHW: Tensor) -> Tensor:
        hidden = guide_BGHW if self.shared is None else F.relu(self.shared(guide_BGHW))
        scale, shift = self.scale_shift(hidden).chunk(2, 1)
        return torch.addcmul(shift, positional_norm(x_BCHW), scale)


class SpectralConv(nn.Conv2d):
    """A convolution that is trained with its weight over its largest singular value (arXiv 1802.05957).

    ``divide_by_spectral_norms`` makes it so; without, as for inference, it is a plain convolution.
    """


def divide_by_spectral_norms(network: nn.Module) -> None:
    """Train every SpectralConv of ``network`` with its weight over its largest singular value."""
    for module in list(network.modules()):
        if isinstance(module, SpectralConv):
            spectral_norm(module)


@contextmanager
def divided_once(network: nn.Module) -> Iterator[None]:
    """While this lasts, the weights of the SpectralConvs of ``network`` are those of its beginning: there is one power
    iteration, and what is computed again in the backward pass has the weights of the forward pass."""
    divided = [m for m in network.modules() if isinstance(m, SpectralConv) and parametrize.is_parametrized(m)]
    if not divided:
        yield
        return
    with parametrize.cached():  # type: ignore[no-untyped-call]
        for module in divided:
            _ = module.weight
        yield


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


MULTIPLE = 32
"""Of a network's sides: its coarsest level is at 1/32."""


def padded(x_BCHW: Tensor) -> Tensor:
    """``x`` with its last row and column repeated until both sides are multiples of MULTIPLE."""
    bottom, right = (-side % MULTIPLE for side in x_BCHW.shape[2:])
    return F.pad(x_BCHW, (0, right, 0, bottom), mode="replicate") if bottom or right else x_BCHW


def cropped(x_BCHW: Tensor, height: int, width: int) -> Tensor:
    """What ``padded`` added, taken off again."""
    return x_BCHW if x_BCHW.shape[2:] == (height, width) else x_BCHW[:, :, :height, :width]


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
