"""The generation network: SPADE (arXiv 1903.07291) on (warped exemplar, condition), METHOD section 5."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mcltool.model.blocks import SelfAttention, conv, positional_norm, pyramid, working_dtype


class Modulation(nn.Module):
    """Positional normalisation, then scale and shift read off the guide (warped exemplar, condition).

    shared: whether the guide comes as the block's hidden layer instead of being read here.
    """

    def __init__(self, channels: int, guide: int, hidden: int, kernel: int, shared: bool) -> None:
        super().__init__()
        self.shared = None if shared else conv(guide, hidden)
        self.scale_shift = conv(hidden, 2 * channels, kernel)
        assert self.scale_shift.bias is not None
        nn.init.ones_(self.scale_shift.bias.data[:channels])  # the scale is around 1

    def forward(self, x_BCHW: Tensor, guide_BGHW: Tensor) -> Tensor:
        hidden = guide_BGHW if self.shared is None else F.relu(self.shared(guide_BGHW))
        scale, shift = self.scale_shift(hidden).chunk(2, 1)
        return torch.addcmul(shift, positional_norm(x_BCHW), scale)


class SpadeBlock(nn.Module):
    """A residual block whose normalisations are modulated by the guide, each by layers of its own or ``shared``."""

    def __init__(self, inputs: int, outputs: int, guide: int, hidden: int, kernel: int, shared: bool) -> None:
        super().__init__()
        middle = min(inputs, outputs)
        self.shared = conv(guide, hidden) if shared else None
        self.modulation_1 = Modulation(inputs, guide, hidden, kernel, shared)
        self.conv_1 = conv(inputs, middle)
        self.modulation_2 = Modulation(middle, guide, hidden, kernel, shared)
        self.conv_2 = conv(middle, outputs)
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

    widths: channels at 1, 1/2, 1/4, ... of the size. hidden, kernel, shared: of the modulations, see ModelConfig.
    """

    def __init__(
        self, condition_channels: int, widths: Sequence[int], hidden: int, kernel: int, shared: bool = False
    ) -> None:
        super().__init__()
        guide = 3 + condition_channels
        coarse_to_fine = list(reversed(widths))
        self.start = conv(guide, coarse_to_fine[0])
        self.blocks = nn.ModuleList(
            SpadeBlock(a, b, guide, hidden, kernel, shared)
            for a, b in zip([coarse_to_fine[0], *coarse_to_fine], coarse_to_fine, strict=False)
        )
        self.attention = SelfAttention(widths[2])
        self.to_image = conv(widths[0], 3)

    def forward(self, warped_B3HW: Tensor, condition_BKHW: Tensor) -> Tensor:
        """-> image (B, 3, H, W) in [-1, 1]; H and W multiples of 32."""
        dtype, levels = working_dtype(warped_B3HW), len(self.blocks)
        guide = torch.cat([warped_B3HW.to(dtype), condition_BKHW.to(dtype)], 1)
        guides = pyramid(guide.contiguous(memory_format=torch.channels_last), levels)[::-1]
        h = self.start(guides[0])
        for i, (block, guide_here) in enumerate(zip(self.blocks, guides, strict=True)):
            if i:
                h = F.interpolate(h, scale_factor=2.0, mode="nearest")
            h = block(h, guide_here)
            if i == levels - 3:
                h = self.attention(h)
        return torch.tanh(self.to_image(F.leaky_relu(h, 0.2)).float())
