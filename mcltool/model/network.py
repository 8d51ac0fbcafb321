"""MCL-Net for inference and training (arXiv 2204.00442): what the networks of all presets have in common."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mcltool.core.config import ModelConfig
from mcltool.model.blocks import ConditionEmbedding
from mcltool.model.correspondence import STRIDE, VALUES, CorrespondenceFeatures, attention_warp, mixture_warp


class Translation(NamedTuple):
    """image: (B, 3, H, W) in [-1, 1], the result. warped: of the same shape, the warped exemplar."""

    image: Tensor
    warped: Tensor


class EncodedExemplar(NamedTuple):
    """All that translating takes of a photo. v: (M, D) its features. values: (M, V) its values (V of section 3)."""

    v: Tensor
    values: Tensor


class EncodedMixture(NamedTuple):
    """Several photos for one condition. weights_EN: at least 0, see ``mixture_features``."""

    exemplars: Sequence[EncodedExemplar]
    weights_EN: Tensor


class MCLNet(nn.Module):
    """Everything inference needs. A subclass makes the parts; ``mcltool.model.build`` has them all.

    embed_condition: a condition to planes X (B, E, H, W). encode_condition, encode_photo: E_x and E_z, from those
    and from photos to features (B, C, h, w) at stride 4. correspondence: features to unit vectors (B, N, D).
    generator: warped exemplar (B, 3, H, W) and X to an image (B, 3, H, W).

    Conditions are (B, K, H, W) planes, or where these are one-hot (B, H, W) labels, which is faster. Photos are
    (B, 3, H', W') in [-1, 1]. All sides are multiples of 4; encoders and generator
    repeat the edge up to multiples of 32 and take it off again.
    """

    embed_condition: ConditionEmbedding
    encode_condition: nn.Module
    encode_photo: nn.Module
    correspondence: CorrespondenceFeatures
    generator: nn.Module

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.temperature = config.temperature
        self.values, self.from_values = VALUES[config.values]

    def match_condition(self, x_BChw: Tensor, X_BEHW: Tensor) -> Tensor:
        """u: (B, N, D) unit vectors of the condition's positions, from its features and its planes."""
        u_BND: Tensor = self.correspondence(x_BChw)
        return u_BND

    def match_photo(self, z_BChw: Tensor) -> Tensor:
        """v: (B, M, D) unit vectors of a photo's positions, from its features."""
        v_BMD: Tensor = self.correspondence(z_BChw)
        return v_BMD

    def condition_features(self, condition: Tensor) -> Tensor:
        """u: (B, N, D) unit vectors of the condition's positions."""
        X_BEHW = self.embed_condition(condition)
        return self.match_condition(self.encode_condition(X_BEHW), X_BEHW)

    def photo_features(self, photo_B3HW: Tensor) -> Tensor:
        """v: (B, M, D) unit vectors of the photo's positions."""
        return self.match_photo(self.encode_photo(photo_B3HW))

    def warp(self, u_BND: Tensor, v_BMD: Tensor, image_B3HW: Tensor, size: tuple[int, int]) -> Tensor:
        """T V (section 3): ``image`` (of the positions v) seen from the positions u: (B, 3, *size)."""
        values_BNV = attention_warp(u_BND, v_BMD, self.values(image_B3HW), self.temperature)
        return self.from_values(values_BNV, (size[0] // STRIDE, size[1] // STRIDE))

    def forward(self, condition: Tensor, exemplar_B3HW: Tensor) -> Translation:
        """The image with the structure of ``condition`` and the style of ``exemplar``."""
        X_BEHW = self.embed_condition(condition)
        u_BND = self.match_condition(self.encode_condition(X_BEHW), X_BEHW)
        v_BMD = self.photo_features(exemplar_B3HW)
        warped = self.warp(u_BND, v_BMD, exemplar_B3HW, (X_BEHW.shape[2], X_BEHW.shape[3]))
        return Translation(self.generator(warped, X_BEHW), warped)

    def encode_exemplars(self, photo_B3HW: Tensor) -> list[EncodedExemplar]:
        """What ``translate`` takes of each photo, each with memory of its own."""
        v_BMD, values_BMV = self.photo_features(photo_B3HW), self.values(photo_B3HW)
        return [EncodedExemplar(v.clone(), p.clone()) for v, p in zip(v_BMD, values_BMV, strict=True)]

    def translate(
        self, condition: Tensor, exemplars: Sequence[EncodedExemplar | EncodedMixture]
    ) -> Translation:
        """As ``forward``, with an encoded exemplar a condition, or several, of any sizes.

        Neighbours with the same exemplar (the same object) are warped together; its features are not copied.
        """
        X_BEHW = self.embed_condition(condition)
        u_BND = self.match_condition(self.encode_condition(X_BEHW), X_BEHW)
        parts, first = [], 0
        for _, group in groupby(exemplars, key=id):
            alike = list(group)
            u_KD = u_BND[first : first + len(alike)].flatten(0, 1)
            parts.append(self._warp_encoded(u_KD, alike[0], len(alike)))
            first += len(alike)
        size = (X_BEHW.shape[2] // STRIDE, X_BEHW.shape[3] // STRIDE)
        values_BNV = torch.cat(parts).view(len(exemplars), -1, parts[0].shape[1])
        warped = self.from_values(values_BNV, size)
        return Translation(self.generator(warped, X_BEHW), warped)

    def _warp_encoded(self, u_KD: Tensor, exemplar: EncodedExemplar | EncodedMixture, times: int) -> Tensor:
        """(K, V), for the positions of ``times`` conditions."""
        if isinstance(exemplar, EncodedExemplar):
            v, values = exemplar.v[None], exemplar.values[None]
            return attention_warp(u_KD[None], v, values, self.temperature)[0]
        keys, patches = [one.v for one in exemplar.exemplars], [one.values for one in exemplar.exemplars]
        return mixture_warp(u_KD, keys, patches, exemplar.weights_EN.repeat(1, times), self.temperature)
