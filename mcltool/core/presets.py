"""The presets: what each sets otherwise than sections.py's defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Settings = Mapping[str, Any]
"""Settings by address, e.g. {"loss.mcl": 0.05}."""

# Losses and schedule that work on real photographs (docs/recipe.md). The published ones, which collapse there, are the
# defaults of sections.py and the configurations paper-*.
_RECIPE: Settings = {
    "model.temperature": 0.03,
    "model.place": 0.3,
    "model.residual": True,
    "model.generator_padding": "replicate",
    "train.beta1": 0.5,
    "train.beta2": 0.99,
    "train.clip_gradient": 5.0,
    "train.generator_start": 0.15,
    "train.gan_start": 0.25,
    "loss.rec": 10.0,
    "loss.tone": 10.0,
    "loss.detach_warp": True,
    "loss.mcl": 0.1,
    "loss.mask": 10.0,
    "loss.mask_balance": 0.5,
    "loss.gan": 1.0,
    "loss.fm": 5.0,
    "loss.cons": 0.1,
    "loss.pse": 0.0,
    "loss.feat": 1.0,
    "loss.ctx": 0.1,
}

_BASE: Settings = {
    **_RECIPE,
    "model.condition_embedding": 32,
    "model.encoder_stem": 2,
    "model.encoder_widths": (64, 128, 256, 384),
    "model.feature_channels": 192,
    "model.scm_channels": 64,
    "model.generator_widths": (48, 96, 256, 384, 512, 512),
    "model.spade_hidden": 64,
    "model.spade_kernel": 1,
    "model.spade_shared": True,
    "train.lr": 5e-4,
    "train.lr_discriminator": 5e-4,
}

# base: the default for real data, a quarter of paper's operations. paper: CoCosNet's network, to compare with.
# hd: base for 512 px, its encoders a level deeper, so that a cell sees as much of the picture. small: 128 px, learns
# from a few hundred photos on a CPU in a quarter of an hour. tiny: 64 px, learns made-up shapes there in minutes.
# docs/method.md has their operations.
PRESETS: dict[str, Settings] = {
    "base": _BASE,
    "paper": {"model.network": "published", "model.values": "averages", "model.mix_condition": True},
    "hd": {
        **_BASE,
        "data.size": (512, 512),
        "model.encoder_widths": (64, 128, 256, 384, 384),
        "train.batch_size": 1,
        "train.lr": 2e-4,
        "train.lr_discriminator": 2e-4,
    },
    "small": {
        **_RECIPE,
        "model.condition_embedding": 16,
        "model.encoder_stem": 2,
        "model.encoder_widths": (32, 64, 96, 128, 128),
        "model.feature_channels": 96,
        "model.scm_channels": 32,
        "model.generator_widths": (24, 48, 96, 160),
        "model.spade_hidden": 40,
        "model.spade_kernel": 1,
        "model.spade_shared": True,
        "model.discriminator_widths": (32, 64, 128),
        "data.size": (128, 128),
        "data.load_scale": 1.0,
        "data.exemplar_self": 0.3,
        "data.workers": 1,
        "train.batch_size": 8,
        "train.lr": 2e-3,
        "train.lr_discriminator": 2e-3,
        "train.ema": 0.995,
        "train.checkpoint_every": 150,
    },
    "tiny": {
        "model.encoder_widths": (24, 48, 64, 96, 96),
        "model.feature_channels": 64,
        "model.temperature": 0.03,
        "model.scm_channels": 32,
        "model.generator_widths": (16, 32, 64, 96),
        "model.spade_hidden": 32,
        "model.spade_kernel": 1,
        "model.discriminator_widths": (24, 48, 96),
        "data.size": (64, 64),
        "data.load_scale": 1.0,
        "data.workers": 1,
        "train.batch_size": 8,
        "train.lr": 2e-3,
        "train.lr_discriminator": 2e-3,
        "train.beta1": 0.5,
        "train.beta2": 0.99,
        "train.generator_start": 0.3,
        "train.gan_start": 0.7,
        "train.ema": 0.99,
        "train.checkpoint_every": 150,
        "loss.rec": 10.0,
        "loss.mcl": 0.1,
        "loss.mask": 10.0,
        "loss.gan": 0.1,
        "loss.fm": 1.0,
        "loss.cons": 0.1,
        "loss.pse": 0.0,
    },
}
