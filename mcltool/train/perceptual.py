"""The network whose features the perceptual losses compare (train.perceptual)."""

from __future__ import annotations

from typing import Literal

from mcltool.core.config import Config
from mcltool.core.errors import UsageError
from mcltool.core.pretrained import CAFFE_VGG, NETWORKS, load_scales, load_vgg
from mcltool.model.vgg import VGGFeatures, layer_scales, random_vgg

Choice = Literal["vgg", "caffe", "random", "none"]

_WAYS_OUT = {
    "vgg": "get them with 'mcltool weights get vgg19', or choose --perceptual random or --perceptual none",
    "caffe": "'mcltool weights convert' a vgg19_conv.pth with them, or choose --perceptual vgg",
}


def perceptual_choice(config: Config) -> Choice:
    """The network that ``train.perceptual`` means for this configuration."""
    choice = config.train.perceptual
    if choice == "auto":
        choice = "none" if config.preset in ("tiny", "small") else "vgg"
    return choice if config.loss.perc or config.loss.feat or config.loss.ctx else "none"


def perceptual_network(config: Config) -> tuple[VGGFeatures | None, Choice]:
    """The network for ``train.perceptual``, in the units that loss weights are in, and which one it is.

    Raises UsageError where its weights, or their feature scales, are missing.
    """
    choice = perceptual_choice(config)
    if choice == "none":
        return None, choice
    if choice == "random":
        network = random_vgg()
        return network.in_published_units(layer_scales(network)), choice
    kind = CAFFE_VGG if choice == "caffe" else NETWORKS["vgg19"]
    if not kind.path.exists():
        name = kind.title.removesuffix(" weights").removeprefix("torchvision's ")
        raise UsageError(
            f"{kind.path}: the {name} weights of the perceptual loss are missing; {_WAYS_OUT[choice]}"
        )
    network = load_vgg(kind.path)
    # Caffe's features have the published units as they are.
    return network if choice == "caffe" else network.in_published_units(load_scales(kind.path)), choice
