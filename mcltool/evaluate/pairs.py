"""Held-out pairs whose exact answer is known, and the scores of a model on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray

from mcltool.core.pixels import to_bytes, to_unit
from mcltool.data.batch import condition_planes
from mcltool.evaluate.truth import MatchScores, psnr, score_matches, true_matches, warp_by_cells
from mcltool.model.correspondence import STRIDE, best_match
from mcltool.model.network import MCLNet
from mcltool.plugin.contract import DatasetPlugin, Sample, Truth


@dataclass(frozen=True, eq=False)
class Pair:
    """A held-out pair: ids of its files, the samples, and the exact answer."""

    name: str
    condition: Sample
    exemplar: Sample
    truth: Truth


def held_out_pairs(plugin: DatasetPlugin, samples: Sequence[Sample], count: int, side: int) -> list[Pair]:
    """``count`` pairs of ``samples`` with their exact answers, one a group: condition and exemplar are two views of it.

    There are none where the plugin knows no truth.
    """
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        if sample.group:
            groups.setdefault(sample.group, []).append(sample)
    pairs = []
    for number, views in enumerate([views for views in groups.values() if len(views) > 1][:count]):
        truth = plugin.truth(views[0], views[1], side)
        if truth is None:
            return []
        pairs.append(Pair(f"pair-{number:03d}", views[0], views[1], truth))
    return pairs


def score(
    net: MCLNet, plugin: DatasetPlugin, pairs: Sequence[Pair], images: Sequence[NDArray[np.uint8]], side: int
) -> tuple[dict[str, float], list[NDArray[np.uint8]]]:
    """Scores of the translated ``images`` and of the correspondence, and each pair's warped exemplar.

    psnr_db, psnr_exemplar_db and oracle_psnr_db count pixels whose source shows in the exemplar.
    """
    grid = (side // STRIDE, side // STRIDE)
    rows: dict[str, list[float]] = {}
    warped = []
    for pair, image in zip(pairs, images, strict=True):
        truth, exemplar = pair.truth, plugin.photo(pair.exemplar, side)
        match, warp = match_and_warp(net, plugin, truth, exemplar)
        best = true_matches(truth, grid)
        found, ceiling = score_matches(truth, match, grid), score_matches(truth, best, grid)
        values = {
            "psnr_db": psnr(image, truth.image, truth.visible),
            "psnr_exemplar_db": psnr(exemplar, truth.image, truth.visible),
            "psnr_warp_db": psnr(warp, truth.image, truth.visible),
            "class_match": found.class_match,
            "background_class_match": found.background_class_match,
            "match_error": found.match_error,
            "oracle_psnr_db": psnr(warp_by_cells(exemplar, best, grid), truth.image, truth.visible),
            "oracle_class_match": ceiling.class_match,
            "oracle_match_error": ceiling.match_error,
        }
        for name, value in values.items():
            rows.setdefault(name, []).append(value)
        warped.append(warp)
    return {name: round(fmean(values), 4) for name, values in rows.items()} | {"pairs": len(pairs)}, warped


def score_correspondence(
    net: MCLNet, plugin: DatasetPlugin, truth: Truth, exemplar: Sample, side: int
) -> MatchScores:
    """How good the correspondence of ``net`` is on one pair of ``side`` x ``side`` pixels."""
    match, _ = match_and_warp(net, plugin, truth, plugin.photo(exemplar, side))
    return score_matches(truth, match, (side // STRIDE, side // STRIDE))


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
