"""The networks of a configuration: one place that knows them all."""

from __future__ import annotations

from mcltool.core.config import ModelConfig
from mcltool.model import lean, published
from mcltool.model.blocks import ResidualBlock
from mcltool.model.discriminator import Discriminator, PatchDiscriminator, PublishedPatchDiscriminator
from mcltool.model.network import MCLNet

NETWORKS: dict[str, type[lean.LeanNet | published.PublishedNet]] = {
    "lean": lean.LeanNet,
    "published": published.PublishedNet,
}
JUDGES: dict[str, type[PatchDiscriminator]] = {
    "lean": PatchDiscriminator,
    "published": PublishedPatchDiscriminator,
}
LARGE_BLOCKS = (ResidualBlock, lean.SpadeBlock, published.SpadeBlock, published.TailBlock)
"""What training may compute again in the backward pass instead of keeping it."""


def make_network(config: ModelConfig, condition_channels: int, size: tuple[int, int]) -> MCLNet:
    """All that inference needs.

    condition_channels: K planes of a condition. size: height and width in pixels that the self-correlation map's
    layer is made for; other sizes resample it.
    """
    return NETWORKS[config.network](config, condition_channels, size)


def make_discriminator(config: ModelConfig, condition_channels: int) -> Discriminator:
    """What training needs besides. condition_channels: K planes of a condition."""
    widths, scales = config.discriminator_widths, config.discriminator_scales
    return Discriminator(
        condition_channels, widths, scales, config.condition_embedding, JUDGES[config.network]
    )
