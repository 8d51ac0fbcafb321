"""The discriminator of (condition, image): PatchGAN (arXiv 1611.07004) at several scales, spectral norm."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from mcltool.core.config import ModelConfig
from mcltool.model.blocks import ConditionEmbedding, pyramid


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


class Discriminator(nn.Module):
    """The same PatchGAN (with weights of its own) at the image's size, half of it, ..."""

    def __init__(
        self, condition_channels: int, widths: Sequence[int], scales: int, embedding: int = 0
    ) -> None:
        super().__init__()
        self.embed_condition = ConditionEmbedding(condition_channels, embedding)
        inputs = self.embed_condition.channels + 3
        self.scales = nn.ModuleList(PatchDiscriminator(inputs, widths) for _ in range(scales))

    @classmethod
    def of(cls, config: ModelConfig, condition_channels: int) -> Discriminator:
        """The discriminator of a configuration. condition_channels: K planes of a condition."""
        widths, scales = config.discriminator_widths, config.discriminator_scales
        return cls(condition_channels, widths, scales, config.condition_embedding)

    def forward(self, condition: Tensor, image_B3HW: Tensor) -> list[list[Tensor]]:
        """The outputs of every layer, a list a scale; the scores are each list's last.

        condition: as MCLNet takes it.
        """
        X_BEHW = self.embed_condition(condition)
        x = torch.cat([X_BEHW, image_B3HW.to(X_BEHW.dtype)], 1)
        sizes = pyramid(x.contiguous(memory_format=torch.channels_last), len(self.scales))
        return [d(part) for d, part in zip(self.scales, sizes, strict=True)]
