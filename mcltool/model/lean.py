"""The lean network of the presets base, hd and tiny: one encoder architecture, a SPADE block a size (section 8)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mcltool.core.config import ModelConfig
from mcltool.model.attention import SelfAttention
from mcltool.model.blocks import (
    ConditionEmbedding,
    Modulation,
    Padding,
    ResidualBlock,
    conv,
    cropped,
    groups,
    padded,
    pyramid,
    working_dtype,
)
from mcltool.model.correspondence import STRIDE, CorrespondenceFeatures
from mcltool.model.network import MCLNet


class LeanNet(MCLNet):
    """Encoders that go down to 1/32 or so and back up to 1/4, and a generator with a SPADE block a size."""

    def __init__(self, config: ModelConfig, condition_channels: int, size: tuple[int, int]) -> None:
        super().__init__(config)
        self.embed_condition = ConditionEmbedding(condition_channels, config.condition_embedding)
        planes = self.embed_condition.channels
        shape = (config.encoder_widths, config.feature_channels, config.position, config.encoder_stem)
        self.encode_condition = FeatureEncoder(planes, *shape)
        self.encode_photo = FeatureEncoder(3, *shape)
        grid = (size[0] // STRIDE, size[1] // STRIDE)
        self.correspondence = CorrespondenceFeatures(config.scm_channels, grid, place=config.place)
        modulation = config.spade_hidden, config.spade_kernel, config.spade_shared
        outside = config.generator_padding
        self.generator = Generator(planes, config.generator_widths, *modulation, config.residual, outside)


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
        """(B, inputs, H, W) -> (B, C, H/4, W/4); H and W multiples of 4."""
        height, width = image_BCHW.shape[2:]
        if self.position:
            image_BCHW = torch.cat([image_BCHW, coordinates(image_BCHW)], 1)
        image_BCHW = padded(image_BCHW)
        if self.unshuffle > 1:
            image_BCHW = F.pixel_unshuffle(image_BCHW, self.unshuffle)
        levels = [self.stem(image_BCHW)]
        for step in self.down:
            levels.append(step(levels[-1]))
        h = levels[-1]
        for step, finer in zip(self.up, reversed(levels[-1 - len(self.up) : -1]), strict=True):
            h = F.interpolate(h, size=finer.shape[-2:], mode="nearest")
            h = step(torch.cat([h, finer], 1))
        return cropped(self.head(h), height // STRIDE, width // STRIDE)


def coordinates(image_BCHW: Tensor) -> Tensor:
    """(B, 2, H, W): the y and x of each pixel centre, -1 and 1 at the image's edges."""
    B, _, H, W = image_BCHW.shape
    y = (torch.arange(H, device=image_BCHW.device) + 0.5) * (2 / H) - 1
    x = (torch.arange(W, device=image_BCHW.device) + 0.5) * (2 / W) - 1
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij")).to(image_BCHW.dtype)
    return grid.expand(B, 2, H, W)


def _activation(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.GroupNorm(groups(channels), channels), nn.LeakyReLU(0.2))


class SpadeBlock(nn.Module):
    """A residual block whose normalisations are modulated by the guide, each by layers of its own or ``shared``."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        guide: int,
        hidden: int,
        kernel: int,
        shared: bool,
        padding: Padding = "zeros",
    ) -> None:
        super().__init__()
        middle = min(inputs, outputs)
        self.shared = conv(guide, hidden, padding=padding) if shared else None
        self.modulation_1 = Modulation(inputs, guide, hidden, kernel, shared, padding)
        self.conv_1 = conv(inputs, middle, padding=padding)
        self.modulation_2 = Modulation(middle, guide, hidden, kernel, shared, padding)
        self.conv_2 = conv(middle, outputs, padding=padding)
        self.shortcut = conv(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x_BCHW: Tensor, guide_BGHW: Tensor) -> Tensor:
        if self.shared is not None:
            guide_BGHW = F.relu(self.shared(guide_BGHW))
        h = self.conv_1(F.leaky_relu(self.modulation_1(x_BCHW, guide_BGHW), 0.2))
        h = self.conv_2(F.leaky_relu(self.modulation_2(h, guide_BGHW), 0.2))
        out: Tensor = self.shortcut(x_BCHW) + h
        return out


class Generator(nn.Module):
    """From the guide at the coarsest size up to the image, a SPADE block a size, self-attention at 1/4.

    widths: channels at 1, 1/2, 1/4, ... of the size. hidden, kernel, shared, residual, padding: see ModelConfig.
    """

    def __init__(
        self,
        condition_channels: int,
        widths: Sequence[int],
        hidden: int,
        kernel: int,
        shared: bool = False,
        residual: bool = False,
        padding: Padding = "zeros",
    ) -> None:
        super().__init__()
        self.residual = residual
        guide = 3 + condition_channels
        coarse_to_fine = list(reversed(widths))
        self.start = conv(guide, coarse_to_fine[0], padding=padding)
        self.blocks = nn.ModuleList(
            SpadeBlock(a, b, guide, hidden, kernel, shared, padding)
            for a, b in zip([coarse_to_fine[0], *coarse_to_fine], coarse_to_fine, strict=False)
        )
        self.attention = SelfAttention(widths[2])
        self.to_image = conv(widths[0], 3, padding=padding)

    def forward(self, warped_B3HW: Tensor, condition_BKHW: Tensor) -> Tensor:
        """-> image (B, 3, H, W) in [-1, 1]; H and W multiples of 4."""
        height, width = warped_B3HW.shape[2:]
        dtype, levels = working_dtype(warped_B3HW), len(self.blocks)
        guide = torch.cat([warped_B3HW.to(dtype), condition_BKHW.to(dtype)], 1)
        guides = pyramid(padded(guide).contiguous(memory_format=torch.channels_last), levels)[::-1]
        h = self.start(guides[0])
        for i, (block, guide_here) in enumerate(zip(self.blocks, guides, strict=True)):
            if i:
                h = F.interpolate(h, scale_factor=2.0, mode="nearest")
            h = block(h, guide_here)
            if i == levels - 3:
                h = self.attention(h)
        image = cropped(self.to_image(F.leaky_relu(h, 0.2)).float(), height, width)
        if self.residual:
            image = image + cell_logits(warped_B3HW)
        return torch.tanh(image)


def cell_logits(warped_B3HW: Tensor) -> Tensor:
    """(B, 3, H, W) float32 whose tanh is the mean colour of each cell, smooth from one cell to the next."""
    means_B3hw = F.avg_pool2d(warped_B3HW.float(), STRIDE).clamp(-0.98, 0.98)  # at 1 atanh is infinite
    return F.interpolate(means_B3hw.atanh(), scale_factor=float(STRIDE), mode="bilinear", align_corners=False)
