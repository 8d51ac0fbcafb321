"""The discriminator of (condition, image): PatchGAN (arXiv 1611.07004) at several scales, spectral norm (section 5)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from mcltool.model.attention import SelfAttention
from mcltool.model.augment import augmented
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
