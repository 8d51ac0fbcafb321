"""phi: VGG-19's feature layers (torchvision's network) for the perceptual and contextual losses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

LAYERS = {
    "relu1_2": 3, "relu2_2": 8, "relu3_2": 13, "relu4_2": 22, "relu5_2": 31,
}  # fmt: skip
"""Index of each layer in torchvision's ``vgg19().features``."""
DEPTH = 32
"""Layers kept: up to relu5_2."""

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VGGFeatures(nn.Module):
    """The outputs of named layers, frozen. Made with random filters; weights come by ``load_state_dict``."""

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

    def forward(self, image_B3HW: Tensor, layers: Sequence[str]) -> list[Tensor]:
        """image in [-1, 1] -> the features of ``layers`` (names of LAYERS) in that order."""
        h = ((image_B3HW + 1) / 2 - self.mean) / self.deviation
        wanted = {LAYERS[name]: name for name in layers}
        found: dict[str, Tensor] = {}
        for index, layer in enumerate(self.features[: max(wanted) + 1]):
            h = layer(h)
            if index in wanted:
                found[wanted[index]] = h
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
