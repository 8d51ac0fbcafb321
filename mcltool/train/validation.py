"""Held-out samples while training: pictures of fixed pairs, and scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch

from mcltool.core.device import Precision, autocast
from mcltool.core.pictures import Picture, contact_sheet
from mcltool.data.batch import Batch, collate, condition_picture, to_bytes, to_unit
from mcltool.data.dataset import EvaluationData, TrainingData
from mcltool.evaluate.pairs import Pair, held_out_pairs, score_correspondence
from mcltool.model.losses import l1
from mcltool.model.network import MCLNet
from mcltool.plugin.contract import ConditionSpec, DatasetPlugin

COLUMNS = ("condition", "exemplar", "warped", "result", "photo")


class FixedPairs:
    """The first ``count`` held-out pairs (one a group where there are groups), loaded once."""

    def __init__(self, data: EvaluationData, count: int) -> None:
        seen: dict[str, int] = {}
        for index, sample in enumerate(data.samples):
            seen.setdefault(sample.group or sample.id, index)
            if len(seen) == count:
                break
        self.spec = data.plugin.spec
        self.batch = collate([data[index] for index in seen.values()])

    def picture(self, net: MCLNet, device: torch.device, precision: Precision) -> Picture:
        """Condition, exemplar, warped exemplar, result and photo of each pair."""
        batch = self.batch.to(device)
        with torch.inference_mode(), autocast(device, precision):
            made = net(batch.condition, to_unit(batch.exemplar))
        columns = [batch.exemplar, to_bytes(made.warped), to_bytes(made.image), batch.target]
        pictures = [c.permute(0, 2, 3, 1).cpu().numpy() for c in columns]
        conditions = self.batch.condition
        if self.spec.kind == "channels":
            conditions = conditions.permute(0, 2, 3, 1)
        first = [condition_picture(np.asarray(c), self.spec) for c in conditions]
        return contact_sheet(list(zip(first, *pictures, strict=True)), COLUMNS)


TRUTH_PAIRS = 24
"""Pairs whose correspondence is scored where the plugin knows the truth."""


@dataclass(frozen=True, eq=False)
class Validation:
    """Held-out samples, the same at every call, each with an exemplar that makes its photo the right answer.

    That is another view of the photo's group, or where there is none the photo itself, augmented.
    """

    spec: ConditionSpec
    batches: Sequence[Batch]
    plugin: DatasetPlugin
    pairs: Sequence[Pair]
    side: int

    @classmethod
    def of(cls, data: TrainingData, count: int, batch_size: int) -> Validation:
        """The first ``count`` samples of ``data``, which is over the held-out split."""
        numbers, side = range(min(count, len(data))), min(data.config.size)
        parts = [numbers[at : at + batch_size] for at in range(0, len(numbers), batch_size)]
        pairs = held_out_pairs(data.plugin, data.samples, TRUTH_PAIRS, side) if parts else []
        return cls(
            data.plugin.spec, [collate([data[n] for n in part]) for part in parts], data.plugin, pairs, side
        )

    def scores(self, net: MCLNet, device: torch.device, precision: Precision) -> dict[str, float]:
        """val_l1_warp: |warp - photo|_1 in [0, 2]; and val_class_match, val_match_error where the truth is known."""
        if not self.batches:
            return {}
        found = [(len(batch), self._l1_warp(batch, net, device, precision)) for batch in self.batches]
        scores = {"val_l1_warp": sum(n * value for n, value in found) / sum(n for n, _ in found)}
        matches = [score_correspondence(net, self.plugin, pair, self.side) for pair in self.pairs]
        if matches:
            scores["val_class_match"] = fmean(match.class_match for match in matches)
            scores["val_match_error"] = fmean(match.match_error for match in matches)
        return scores

    def _l1_warp(self, batch: Batch, net: MCLNet, device: torch.device, precision: Precision) -> float:
        batch = batch.to(device)
        with torch.inference_mode(), autocast(device, precision):
            X, Z = batch.condition, to_unit(batch.exemplar)
            u, v = net.condition_features(X), net.photo_features(Z)
            warped = net.warp(u, v, Z, (X.shape[-2], X.shape[-1]))
            return float(l1(warped, to_unit(batch.target)))
