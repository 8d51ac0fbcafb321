"""Weights of the smallest networks, random, as translate-dir, explain and evaluate take them."""

from __future__ import annotations

from pathlib import Path

import torch
from mcltool_shapes import ShapesPlugin

from mcltool import ConditionSpec
from mcltool.core.config import resolve
from mcltool.core.weights import WeightsHeader, save_weights
from mcltool.model.build import make_network

SPEC = ShapesPlugin().spec
SMALL = {
    "model.encoder_widths": (8, 8, 8),
    "model.generator_widths": (8, 8, 8),
    "model.feature_channels": 8,
    "model.scm_channels": 4,
    "data.size": (32, 32),
}


def make_weights(
    path: Path,
    plugin: str = "shapes",
    spec: ConditionSpec = SPEC,
    seed: int = 0,
    preset: str = "tiny",
    labels: str = "",
) -> Path:
    """preset: whose architecture it is, in the smallest widths. labels: how the data set's files were numbered."""
    torch.manual_seed(seed)
    config = resolve(plugin, preset, {**SMALL, "data.labels": labels})
    network = make_network(config.model, spec.channels, config.data.size)
    save_weights(path, network.state_dict(), WeightsHeader(config, spec, "1", step=1))
    return path
