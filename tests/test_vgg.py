"""VGG-19's feature layers (docs/method.md, section 5)."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mcltool.model.vgg import DEPTH, LAYERS, VGGFeatures, random_vgg


@pytest.fixture(autouse=True)
def _same_numbers_every_time() -> None:
    torch.manual_seed(0)


def test_vggs_layers_are_the_ones_their_names_say() -> None:
    """reluB_N comes after the N-th convolution since the (B-1)-th pooling."""
    named, block, number = {}, 1, 0
    for index, layer in enumerate(VGGFeatures().features):
        if isinstance(layer, nn.MaxPool2d):
            block, number = block + 1, 0
        number += isinstance(layer, nn.Conv2d)
        if isinstance(layer, nn.ReLU):
            named[f"relu{block}_{number}"] = index
    assert {name: named[name] for name in LAYERS} == LAYERS
    assert max(LAYERS.values()) == DEPTH - 1


def test_vgg_sees_images_normalised_as_on_imagenet_and_gives_layers_in_the_order_asked_for() -> None:
    phi = random_vgg(3)
    image = torch.rand(1, 3, 32, 32) * 2 - 1
    h = (image + 1) / 2
    h = (h - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
        :, None, None
    ]
    deep, shallow = phi(image, ["relu2_2", "relu1_2"])
    torch.testing.assert_close(shallow, phi.features[:4](h))
    torch.testing.assert_close(deep, phi.features[:9](h))


def test_random_filters_are_those_of_the_seed_and_do_not_disturb_other_randomness() -> None:
    before = torch.get_rng_state()
    one, same, other = random_vgg(1), random_vgg(1), random_vgg(2)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.features[0].weight, same.features[0].weight)
    assert not torch.equal(one.features[0].weight, other.features[0].weight)
    assert not any(parameter.requires_grad for parameter in one.parameters())
