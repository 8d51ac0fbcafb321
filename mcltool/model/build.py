"""The networks of a configuration: one place that knows them all."""

from __future__ import annotations

from functools import partial

from torch.utils.checkpoint import checkpoint

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
"""What ``recompute_blocks`` computes again."""


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


def recompute_blocks(net: MCLNet) -> None:
    """Have the large blocks keep only their inputs, and compute the rest again in the backward pass."""
    for block in net.modules():
        if isinstance(block, LARGE_BLOCKS):
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)  # type: ignore[method-assign]
