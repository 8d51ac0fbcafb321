"""MCL-Net for inference and training: encoders, correspondence and generator in one module."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mcltool.core.config import ModelConfig
from mcltool.model.blocks import ConditionEmbedding
from mcltool.model.correspondence import CorrespondenceFeatures, attention_warp, from_patches, patches
from mcltool.model.encoder import STRIDE, FeatureEncoder
from mcltool.model.generator import Generator


class Translation(NamedTuple):
    """image: (B, 3, H, W) in [-1, 1], the result. warped: of the same shape, the warped exemplar."""

    image: Tensor
    warped: Tensor


class EncodedExemplar(NamedTuple):
    """All that translating takes of a photo. v: (M, D) its features. values: (M, V) its patches."""

    v: Tensor
    values: Tensor


class MCLNet(nn.Module):
    """Everything inference needs (arXiv 2204.00442).

    condition_channels: K planes of a condition. size: height and width in pixels that the self-correlation
    map's layer is made for; other sizes resample it.

    Conditions are (B, K, H, W) planes, or where these are one-hot (B, H, W) labels, which is faster.
    """

    def __init__(self, config: ModelConfig, condition_channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.temperature = config.temperature
        self.embed_condition = ConditionEmbedding(condition_channels, config.condition_embedding)
        planes = self.embed_condition.channels
        shape = (config.encoder_widths, config.feature_channels, config.position, config.encoder_stem)
        self.encode_condition = FeatureEncoder(planes, *shape)
        self.encode_photo = FeatureEncoder(3, *shape)
        grid = (size[0] // STRIDE, size[1] // STRIDE)
        self.correspondence = CorrespondenceFeatures(config.scm_channels, grid)
        self.generator = Generator(
            planes, config.generator_widths, config.spade_hidden, config.spade_kernel, config.spade_shared
        )

    def forward(self, condition: Tensor, exemplar_B3HW: Tensor) -> Translation:
        """condition (B, K, H, W) or (B, H, W), exemplar (B, 3, H', W') in [-1, 1]; all sides multiples of 32."""
        X_BEHW = self.embed_condition(condition)
        u_BND = self.correspondence(self.encode_condition(X_BEHW))
        v_BMD = self.photo_features(exemplar_B3HW)
        warped = self.warp(u_BND, v_BMD, exemplar_B3HW, (X_BEHW.shape[2], X_BEHW.shape[3]))
        return Translation(self.generator(warped, X_BEHW), warped)

    def encode_exemplars(self, photo_B3HW: Tensor) -> list[EncodedExemplar]:
        """What ``translate`` takes of each photo (B, 3, H, W) in [-1, 1], each with memory of its own."""
        v_BMD, values_BMV = self.photo_features(photo_B3HW), patches(photo_B3HW)
        return [EncodedExemplar(v.clone(), p.clone()) for v, p in zip(v_BMD, values_BMV, strict=True)]

    def translate(self, condition: Tensor, exemplars: Sequence[EncodedExemplar]) -> Translation:
        """As ``forward``, with an encoded exemplar a condition, of any sizes.

        Neighbours with the same exemplar (the same object) are warped together; its features are not copied.
        """
        X_BEHW = self.embed_condition(condition)
        u_BND = self.correspondence(self.encode_condition(X_BEHW))
        parts, first = [], 0
        for _, group in groupby(exemplars, key=id):
            alike = list(group)
            u_1KD = u_BND[first : first + len(alike)].flatten(0, 1)[None]
            v, values = alike[0].v[None], alike[0].values[None]
            parts.append(attention_warp(u_1KD, v, values, self.temperature)[0])
            first += len(alike)
        size = (X_BEHW.shape[2] // STRIDE, X_BEHW.shape[3] // STRIDE)
        values_BNV = torch.cat(parts).view(len(exemplars), -1, parts[0].shape[1])
        warped = from_patches(values_BNV, size)
        return Translation(self.generator(warped, X_BEHW), warped)

    def condition_features(self, condition: Tensor) -> Tensor:
        """u: (B, N, D) unit vectors of the condition's positions."""
        u: Tensor = self.correspondence(self.encode_condition(self.embed_condition(condition)))
        return u

    def photo_features(self, photo_B3HW: Tensor) -> Tensor:
        """v: (B, M, D) unit vectors of the photo's positions."""
        v: Tensor = self.correspondence(self.encode_photo(photo_B3HW))
        return v

    def warp(self, u_BND: Tensor, v_BMD: Tensor, image_B3HW: Tensor, size: tuple[int, int]) -> Tensor:
        """``image`` (of the positions v) seen from the positions u: (B, 3, *size)."""
        values = attention_warp(u_BND, v_BMD, patches(image_B3HW), self.temperature)
        return from_patches(values, (size[0] // STRIDE, size[1] // STRIDE))
