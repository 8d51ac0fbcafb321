"""What a run reads, from a data set's own files or from a pack of it: one way in for training and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mcltool.config import DataConfig
from mcltool.data.contract import DatasetPlugin, Sample
from mcltool.data.dataset import EvaluationData, TrainingData
from mcltool.data.pairs import match_pairs, read_pairs
from mcltool.errors import UsageError


def open_data(
    plugin: DatasetPlugin, root: Path | None, config: DataConfig, seed: int, pairs: Path | None = None
) -> tuple[TrainingData, EvaluationData]:
    """The training samples and the held-out pairs of a data set.

    plugin: a pack takes the place of its plugin (PackedDataset). pairs: a list of exemplars (see
    mcltool.data.pairs), which goes before the one that a pack may hold. Raises UsageError where the data set
    is not there or has no samples, a pack's pictures are too small, or a list names none of the samples.
    """
    train, val = plugin.index(root, "train"), plugin.index(root, "val")
    if pairs is not None:
        retrieved, exemplars = _listed(pairs, train, val)
    else:
        retrieved, exemplars = _packed(plugin, config, val)
    return TrainingData(plugin, train, config, seed, retrieved), EvaluationData(
        plugin, val, config, exemplars
    )


_Lists = tuple[Sequence[Sequence[int]] | None, Sequence[Sample | None] | None]
"""Candidates for training, by number; the exemplar of each held-out sample, where one is named."""


def _listed(path: Path, train: Sequence[Sample], val: Sequence[Sample]) -> _Lists:
    pairs = read_pairs(path)
    retrieved = match_pairs(pairs, train, train)
    if train and not any(retrieved):
        raise UsageError(
            f"{path}: names none of the {len(train)} training samples; expected lines of their ids, "
            f"key,exemplar,..., like {train[0].id},{train[-1].id}"
        )
    both = [*val, *train]  # CoCosNet takes exemplars of held-out photos from the training photos
    held_out = [both[found[0]] if found else None for found in match_pairs(pairs, val, both)]
    return retrieved, held_out


def _packed(plugin: DatasetPlugin, config: DataConfig, val: Sequence[Sample]) -> _Lists:
    from mcltool.data.pack import PackedDataset

    if not isinstance(plugin, PackedDataset):
        return None, None
    plugin.check_size(config)
    found = plugin.retrieved("val")
    held_out = [val[numbers[0]] if numbers else None for numbers in found] if found is not None else None
    return plugin.retrieved("train"), held_out
