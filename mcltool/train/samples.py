"""Sample grids: the same held-out pairs drawn again and again while training."""

from __future__ import annotations

import numpy as np
import torch

from mcltool.data.batches import collate, condition_picture, to_bytes, to_unit
from mcltool.data.dataset import EvaluationData
from mcltool.device import Precision, autocast
from mcltool.model.network import MCLNet
from mcltool.pictures import Picture, contact_sheet

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
        columns = [batch.exemplar, to_bytes(made.warped), to_bytes(made.image), batch.photo]
        pictures = [c.permute(0, 2, 3, 1).cpu().numpy() for c in columns]
        conditions = self.batch.condition
        if self.spec.kind == "channels":
            conditions = conditions.permute(0, 2, 3, 1)
        first = [condition_picture(np.asarray(c), self.spec) for c in conditions]
        return contact_sheet(list(zip(first, *pictures, strict=True)), COLUMNS)
