"""A model's correspondence on a pair whose exact answer is known."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from mcltool.data.batches import condition_planes, to_bytes, to_unit
from mcltool.data.contract import DatasetPlugin, Truth
from mcltool.evaluate.truth import score_matches
from mcltool.model.correspondence import best_match
from mcltool.model.encoder import STRIDE
from mcltool.model.network import MCLNet


def match_and_warp(
    net: MCLNet, plugin: DatasetPlugin, truth: Truth, exemplar: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Best exemplar cell of each cell of the condition, (N,), and the warped exemplar (H, W, 3)."""
    device = next(net.parameters()).device
    X = condition_planes(torch.from_numpy(truth.labels)[None], plugin.spec).to(device)
    Z = to_unit(torch.from_numpy(exemplar.copy()).permute(2, 0, 1)[None]).to(device)
    with torch.inference_mode():
        u, v = net.condition_features(X), net.photo_features(Z)
        match, _ = best_match(u, v)
        warped = to_bytes(net.warp(u, v, Z, truth.labels.shape))
    return match[0].cpu().numpy(), warped[0].permute(1, 2, 0).cpu().numpy()


def correspondence_scores(
    net: MCLNet, plugin: DatasetPlugin, truth: Truth, exemplar: NDArray[np.uint8]
) -> dict[str, float]:
    """class_match, background_class_match and match_error (MatchScores); NaN for a score over no cells."""
    height, width = truth.labels.shape
    match, _ = match_and_warp(net, plugin, truth, exemplar)
    found = score_matches(truth, match, (height // STRIDE, width // STRIDE))
    names = ("class_match", "background_class_match", "match_error")
    return {name: getattr(found, name) for name in names}
