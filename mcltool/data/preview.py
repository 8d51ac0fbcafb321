"""A contact sheet of training samples as the trainer sees them, after all augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from mcltool.core.config import DataConfig
from mcltool.core.pictures import Picture, contact_sheet, save_png
from mcltool.data.batch import Item, condition_picture
from mcltool.data.dataset import TrainingData
from mcltool.plugin.contract import ConditionSpec, DatasetPlugin, Sample

COLUMNS = ("condition", "target", "exemplar", "its condition", "augmented")
CELL = 256
"""Pixels a picture on the sheet is high at most."""


def save_preview(
    plugin: DatasetPlugin, samples: Sequence[Sample], config: DataConfig, seed: int, count: int, out: Path
) -> int:
    """Draw the first ``count`` samples that a run of ``seed`` trains on; returns how many were drawn.

    Columns: condition, target (its photo), exemplar, the exemplar's own condition, and the augmented target.
    Raises McltoolError where a sample cannot be read.
    """
    data = TrainingData(plugin, samples, config, seed)
    rows = [_row(data[number], plugin.spec) for number in range(min(count, len(data)))]
    save_png(out, contact_sheet(rows, COLUMNS, min(CELL, config.size[0])))
    return len(rows)


def _row(item: Item, spec: ConditionSpec) -> list[Picture]:
    return [
        _condition(item["condition"], spec),
        _photo(item["target"]),
        _photo(item["exemplar"]),
        _condition(item["exemplar_condition"], spec),
        _photo(item["augmented"]),
    ]


def _photo(photo: Tensor) -> Picture:
    """(3, H, W) bytes as a picture."""
    return np.asarray(photo.permute(1, 2, 0).numpy(), np.uint8)


def _condition(planes: Tensor, spec: ConditionSpec) -> Picture:
    """(H, W) labels or (C, H, W) channels as a picture."""
    rendered = planes if spec.kind == "labels" else planes.permute(1, 2, 0)
    return condition_picture(rendered.numpy(), spec)
