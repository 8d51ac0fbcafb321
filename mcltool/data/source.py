"""What a run reads, from a data set's own files or from a pack of it: one way in for training and evaluation."""

from __future__ import annotations

from pathlib import Path

from mcltool.config import DataConfig
from mcltool.data.contract import DatasetPlugin
from mcltool.data.dataset import EvaluationData, TrainingData


def open_data(
    plugin: DatasetPlugin, root: Path | None, config: DataConfig, seed: int
) -> tuple[TrainingData, EvaluationData]:
    """The training samples and the held-out pairs of a data set.

    Raises UsageError where the data set is not there or has no samples.
    """
    training = TrainingData(plugin, plugin.index(root, "train"), config, seed)
    return training, EvaluationData(plugin, plugin.index(root, "val"), config)
