"""Where the perceptual and contextual losses get their network from."""

from __future__ import annotations

from typing import Literal

from mcltool.config import Config
from mcltool.errors import UsageError
from mcltool.feature_weights import load_vgg, vgg_file
from mcltool.model.vgg import VGGFeatures, random_vgg

Choice = Literal["vgg", "random", "none"]


def perceptual_choice(config: Config) -> Choice:
    """The network that ``train.perceptual`` means for this configuration."""
    choice = config.train.perceptual
    if choice == "auto":
        choice = "none" if config.preset == "tiny" else "vgg"
    return choice if config.loss.perc or config.loss.feat or config.loss.ctx else "none"


def perceptual_network(config: Config) -> tuple[VGGFeatures | None, Choice]:
    """The network for ``train.perceptual`` and the name of what it is ("vgg", "random" or "none").

    Raises UsageError where VGG-19 is asked for and its weights are not there.
    """
    choice = perceptual_choice(config)
    if choice == "none":
        return None, choice
    if choice == "random":
        return random_vgg(), choice
    file = vgg_file()
    if not file.exists():
        raise UsageError(
            f"{file}: the VGG-19 weights of the perceptual loss are missing; get them with "
            "'mcltool weights get vgg19', or choose --perceptual random or --perceptual none"
        )
    return load_vgg(file), choice
