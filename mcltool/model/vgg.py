"""phi: VGG-19's feature layers (torchvision's network) for the perceptual and contextual losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

LAYERS = {
    "relu1_2": 3, "relu2_2": 8, "relu3_2": 13, "relu4_2": 22, "relu5_2": 31,
}  # fmt: skip
"""Index of each layer in torchvision's ``vgg19().features``."""
DEPTH = 32
"""Layers kept: up to relu5_2."""

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

PUBLISHED_SCALES = {"relu1_2": 25.5, "relu2_2": 8.42, "relu3_2": 12.8, "relu4_2": 4.29, "relu5_2": 0.745}
"""``layer_scales`` of a Caffe network, whose units published loss weights are in. Measured with the VGG-16 filters of
HED (arXiv 1504.06375): Caffe's VGG-19 was not available."""


class VGGFeatures(nn.Module):
    """The outputs of named layers, frozen. Made with random filters; weights come by ``load_state_dict``.

    factors: what each layer's output is multiplied by; 1 where there is none.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.features = make_layers(cfgs["E"])[:DEPTH]  # vgg19() itself also makes 120 M classifier weights
        for layer in self.features:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False  # layers' outputs are kept
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.factors: Mapping[str, float] = {}

    def in_published_units(self, scales: Mapping[str, float]) -> VGGFeatures:
        """This network with each layer brought from its own scale to PUBLISHED_SCALES. scales: ``layer_scales``."""
        self.factors = {name: PUBLISHED_SCALES[name] / scales[name] for name in LAYERS}
        return self

    def forward(self, image_B3HW: Tensor, layers: Sequence[str]) -> list[Tensor]:
        """image in [-1, 1] -> the features of ``layers`` (names of LAYERS) in that order."""
        h = ((image_B3HW + 1) / 2 - self.mean) / self.deviation
        wanted = {LAYERS[name]: name for name in layers}
        found: dict[str, Tensor] = {}
        for index, layer in enumerate(self.features[: max(wanted) + 1]):
            h = layer(h)
            if index in wanted:
                found[wanted[index]] = h * self.factors.get(wanted[index], 1.0)
        return [found[name] for name in layers]


def random_vgg(seed: int = 0) -> VGGFeatures:
    """Fixed random filters (He et al.): a stand-in that needs no download, not the published loss."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = VGGFeatures()
        for layer in network.features:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)
    return network


def layer_scales(network: VGGFeatures) -> dict[str, float]:
    """Mean activation of each layer, as it comes out of the filters, over ``dead_leaves``."""
    with torch.no_grad():
        features = network(dead_leaves(), tuple(LAYERS))
    means = [float(h.mean()) for h in features]
    return {name: mean / network.factors.get(name, 1.0) for name, mean in zip(LAYERS, means, strict=True)}


def dead_leaves(count: int = 4, side: int = 128, discs: int = 300) -> Tensor:
    """(count, 3, side, side) in [-1, 1]: discs that hide one another, always the same.

    With radii of density r^-3, their statistics are close to those of photographs (Lee, Mumford and Huang 2001).
    """
    draw, fine = np.random.default_rng(0), 2 * side
    y, x = np.mgrid[:fine, :fine]
    pictures = np.full((count, fine, fine, 3), 0.5, np.float32)
    for picture in pictures:
        radii = fine / 40 / np.sqrt(1 - draw.random(discs) * (1 - 1 / 15**2))  # up to 15 times the smallest
        for radius in radii:
            column, row = fine * draw.random(2)
            colour = 0.5 + 0.25 * draw.standard_normal() + 0.12 * draw.standard_normal(3)
            picture[(x - column) ** 2 + (y - row) ** 2 < radius**2] = colour.clip(0, 1)
    soft = F.avg_pool2d(
        torch.from_numpy(pictures).permute(0, 3, 1, 2), 4, 2, padding=1, count_include_pad=False
    )
    return 2 * soft - 1
