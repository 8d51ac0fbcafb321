"""The published network: CoCosNet's encoders and generator, with the self-correlation map beside (section 7).

Written from arXiv 2004.05571, 1903.07291 and 1805.08318; no MCL-Net that runs was ever published. Section 7 also says
what these leave open and is ours by choice.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mcltool.core.config import ModelConfig
from mcltool.model.attention import SelfAttention
from mcltool.model.blocks import (
    ConditionEmbedding,
    Modulation,
    SpectralConv,
    cropped,
    padded,
    working_dtype,
)
from mcltool.model.correspondence import STRIDE, CorrespondenceFeatures
from mcltool.model.network import MCLNet

WINDOW = 3
"""Positions a side whose features are compared together."""
TAIL = 4
"""Residual blocks that both domains share."""
XAVIER_GAIN = 0.02
"""Of weights whose length counts. Those that are divided by their norm, or whose output is, have a gain of 1: their
length only says how far a step of Adam turns them, and at 0.02 the first steps replace them (docs/ablation.md)."""


class PublishedNet(MCLNet):
    """An encoder each for condition and photo, a tail that both share, a projection each, and the generator.

    The tail reads the condition's planes beside its features where ``config.mix_condition`` says so; a photo's
    planes are then 0 (ours), so that an exemplar needs no mask.
    """

    def __init__(self, config: ModelConfig, condition_channels: int, size: tuple[int, int]) -> None:
        super().__init__(config)
        K, C, hidden = condition_channels, config.feature_channels, config.spade_hidden
        self.mixed = K if config.mix_condition else 0
        self.embed_condition = ConditionEmbedding(K, 0)
        self.encode_condition = Encoder(K, config.encoder_widths, C, hidden, config.encoder_kernel)
        self.encode_photo = Encoder(3, config.encoder_widths, C, hidden, config.encoder_kernel)
        self.tail = nn.Sequential(*(TailBlock(C + self.mixed) for _ in range(TAIL)))
        self.project_condition = nn.Conv2d(C + self.mixed, C, 1)
        self.project_photo = nn.Conv2d(C + self.mixed, C, 1)
        grid = (size[0] // STRIDE, size[1] // STRIDE)
        self.correspondence = CorrespondenceFeatures(config.scm_channels, grid, WINDOW)
        self.generator = Generator(3 + K, config.generator_widths, hidden)
        for module in self.modules():
            xavier(module, 1.0 if isinstance(module, SpectralConv) else XAVIER_GAIN)
        for module in (self.project_condition, self.project_photo):
            xavier(module, 1.0)

    def match_condition(self, x_BChw: Tensor, X_BEHW: Tensor) -> Tensor:
        """u: (B, N, D) unit vectors of the condition's positions, from its features and its planes."""
        if self.mixed:
            x_BChw = torch.cat([x_BChw, every(X_BEHW, STRIDE).to(x_BChw.dtype)], 1)
        u_BND: Tensor = self.correspondence(self.project_condition(self.tail(x_BChw)))
        return u_BND

    def match_photo(self, z_BChw: Tensor) -> Tensor:
        """v: (B, M, D) unit vectors of a photo's positions, from its features."""
        z_BChw = F.pad(z_BChw, (0, 0, 0, 0, 0, self.mixed))  # planes of 0 behind the features
        v_BMD: Tensor = self.correspondence(self.project_photo(self.tail(z_BChw)))
        return v_BMD


class Encoder(nn.Module):
    """E_x or E_z: convolutions to 1/4 of the size, then three SPADE blocks that the input guides.

    widths: of the convolutions; every second one halves the size, with ``kernel``. outputs: C.
    """

    def __init__(self, inputs: int, widths: Sequence[int], outputs: int, hidden: int, kernel: int) -> None:
        super().__init__()
        kernels = [kernel if i % 2 else 3 for i in range(len(widths))]
        self.convs = nn.ModuleList(
            SpectralConv(a, b, k, stride=1 + i % 2, padding=1)
            for i, (a, b, k) in enumerate(zip([inputs, *widths], widths, kernels, strict=False))
        )
        deep = widths[-1]
        self.blocks = nn.ModuleList(SpadeBlock(deep, b, inputs, hidden) for b in (deep, deep, outputs))

    def forward(self, image_BIHW: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, C, H/4, W/4), each position of length 1: what L_cons compares."""
        h = image_BIHW
        for layer in self.convs:
            h = F.leaky_relu(F.instance_norm(layer(h)), 0.2)
        guide_BIhw = every(image_BIHW, STRIDE).to(h.dtype)
        for block in self.blocks:
            h = block(h, guide_BIhw)
        return F.normalize(h, dim=1)


class TailBlock(nn.Module):
    """Two convolutions, each instance-normalised, beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(SpectralConv(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        first, second = self.convs
        h = F.leaky_relu(F.instance_norm(first(x_BCHW)), 0.2)
        out: Tensor = x_BCHW + F.instance_norm(second(h))
        return out


class SpadeBlock(nn.Module):
    """SPADE's residual block (arXiv 1903.07291, figure 4): where the width changes, the shortcut is modulated too."""

    def __init__(self, inputs: int, outputs: int, guide: int, hidden: int) -> None:
        super().__init__()
        middle = min(inputs, outputs)
        self.modulation_1, self.conv_1 = modulation(inputs, guide, hidden), reflected(inputs, middle)
        self.modulation_2, self.conv_2 = modulation(middle, guide, hidden), reflected(middle, outputs)
        self.modulation_s, self.conv_s = None, None
        if inputs != outputs:
            self.modulation_s = modulation(inputs, guide, hidden)
            self.conv_s = SpectralConv(inputs, outputs, 1, bias=False)

    def forward(self, x_BCHW: Tensor, guide_BGHW: Tensor) -> Tensor:
        h = self.conv_1(F.leaky_relu(self.modulation_1(x_BCHW, guide_BGHW), 0.2))
        h = self.conv_2(F.leaky_relu(self.modulation_2(h, guide_BGHW), 0.2))
        if self.modulation_s is not None and self.conv_s is not None:
            x_BCHW = self.conv_s(self.modulation_s(x_BCHW, guide_BGHW))
        out: Tensor = x_BCHW + h
        return out


class Generator(nn.Module):
    """From the guide at 1/32 up to the image: two SPADE blocks at 1/16, one at each other size, self-attention at 1/2.

    guide: channels of warped exemplar and condition together. widths: channels at 1, 1/2, ... 1/32 of the size.
    """

    def __init__(self, guide: int, widths: Sequence[int], hidden: int) -> None:
        super().__init__()
        coarse_to_fine = list(reversed(widths))
        self.start = nn.Conv2d(guide, coarse_to_fine[0], 3, padding=1)
        pairs = list(zip([coarse_to_fine[0], *coarse_to_fine], coarse_to_fine, strict=False))
        pairs.insert(2, (coarse_to_fine[1], coarse_to_fine[1]))
        self.blocks = nn.ModuleList(SpadeBlock(a, b, guide, hidden) for a, b in pairs)
        self.attention = SelfAttention(widths[2], layer=SpectralConv, pooled=True)
        self.to_image = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, warped_B3HW: Tensor, condition_BKHW: Tensor) -> Tensor:
        """-> image (B, 3, H, W) in [-1, 1]; H and W multiples of 4, at least 64."""
        height, width = warped_B3HW.shape[2:]
        dtype = working_dtype(warped_B3HW)
        guide = torch.cat([warped_B3HW.to(dtype), condition_BKHW.to(dtype)], 1)
        guide = padded(guide).contiguous(memory_format=torch.channels_last)
        sizes = len(self.blocks) - 1
        step = 2 ** (sizes - 1)
        h = self.start(every(guide, step))
        for i, block in enumerate(self.blocks):
            if i not in (0, 2):  # the second block at 1/16
                h, step = F.interpolate(h, scale_factor=2.0, mode="nearest"), step // 2
                if step == 2:
                    h = self.attention(h)
            h = block(h, every(guide, step))
        return cropped(torch.tanh(self.to_image(F.leaky_relu(h, 0.2)).float()), height, width)


def modulation(channels: int, guide: int, hidden: int) -> Modulation:
    return Modulation(channels, guide, hidden, 3, padding="reflect")


def reflected(inputs: int, outputs: int) -> SpectralConv:
    """A block's 3 x 3 convolution."""
    return SpectralConv(inputs, outputs, 3, padding=1, padding_mode="reflect")


def every(x_BCHW: Tensor, step: int) -> Tensor:
    """Every ``step``-th pixel: ``x`` reduced by nearest neighbour."""
    return x_BCHW[:, :, ::step, ::step]


def xavier(module: nn.Module, gain: float) -> None:
    """Glorot's normal weights for a convolution, and biases of 0 but where a scale is around 1."""
    if isinstance(module, nn.Conv2d) and not module.weight.is_meta:
        nn.init.xavier_normal_(module.weight, gain)
        if module.bias is not None:
            module.bias.data[module.bias.data != 1] = 0
