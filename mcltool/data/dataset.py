"""Samples for training and evaluation.

A training sample is a function of (seed, its global number n): the order of the epoch n falls in, the
exemplar and all geometry are drawn from generators seeded with these and a purpose. Nothing is carried from
one sample to the next, so that a resumed run, and one with other workers, sees the same batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from mcltool.config import DataConfig
from mcltool.data.batches import Item, condition_tensor, photo_tensor
from mcltool.data.contract import DatasetPlugin, Sample
from mcltool.data.transforms import (
    Photo,
    evaluation_geometry,
    pseudo_exemplar,
    pseudo_view,
    read_short_side,
    training_geometry,
)
from mcltool.data.views import View, read_view
from mcltool.errors import UsageError


class Purpose(IntEnum):
    """What a generator draws. The values are part of what makes a run repeatable: never renumber them."""

    ORDER = 0
    EXEMPLAR = 1
    PHOTO_GEOMETRY = 2
    EXEMPLAR_GEOMETRY = 3
    EXEMPLAR_COPY = 4
    PSEUDO = 5


class TrainingData(Dataset[Item]):
    """Training samples by global number n = 0, 1, 2, ... without end; ``len`` is the length of an epoch.

    An item has the fields of a Batch. Its exemplar is another member of the photo's group; without one, a
    retrieved candidate; with the probability ``config.exemplar_self`` instead of either, and where there is
    neither, the photo itself, cropped anew and augmented.

    retrieved: for each of ``samples``, indices of its candidate exemplars, or none.
    Raises UsageError where there are no samples; items raise DataError for what cannot be read or used.
    """

    def __init__(
        self,
        plugin: DatasetPlugin,
        samples: Sequence[Sample],
        config: DataConfig,
        seed: int,
        retrieved: Sequence[Sequence[int]] | None = None,
    ) -> None:
        if retrieved is not None and len(retrieved) != len(samples):
            raise ValueError(f"{len(retrieved)} lists of retrieved exemplars for {len(samples)} samples")
        _check_samples(plugin, samples)
        self.plugin, self.samples, self.config, self.seed = plugin, samples, config, seed
        self._retrieved = retrieved
        self._groups = _groups(samples)
        self._order: tuple[int, NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, number: int) -> Item:
        epoch, place = divmod(number, len(self.samples))
        target = int(self._epoch_order(epoch)[place])
        chosen = self._choose_exemplar(target, self._generator(number, Purpose.EXEMPLAR))

        short_side = read_short_side(self.config)
        read = read_view(self.plugin, self.samples[target], short_side)
        view = training_geometry(*read, self.config, self._draw(number, Purpose.PHOTO_GEOMETRY))
        pseudo = pseudo_exemplar(view[0], self._draw(number, Purpose.PSEUDO), self.config.flip)
        if chosen != target:
            read = read_view(self.plugin, self.samples[chosen], short_side)
        exemplar = training_geometry(*read, self.config, self._draw(number, Purpose.EXEMPLAR_GEOMETRY))
        if chosen == target:
            exemplar = pseudo_view(*exemplar, self._draw(number, Purpose.EXEMPLAR_COPY), self.config.flip)
        paired = _is_right(self.samples[target], self.samples[chosen])
        return _item(self.plugin, view, exemplar, pseudo, paired)

    def _epoch_order(self, epoch: int) -> NDArray[np.int64]:
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, self._generator(epoch, Purpose.ORDER).permutation(len(self.samples))
        return self._order[1]

    def _choose_exemplar(self, target: int, generator: np.random.Generator) -> int:
        """Index of the exemplar's sample; the target's own for the augmented copy."""
        group = self._groups.get(self.samples[target].group, ())
        candidates: Sequence[int] = [member for member in group if member != target]
        if not candidates and self._retrieved is not None:
            candidates = self._retrieved[target]
        if len(candidates) == 0 or generator.random() < self.config.exemplar_self:
            return target
        return candidates[int(generator.integers(len(candidates)))]

    def _generator(self, number: int, purpose: Purpose) -> np.random.Generator:
        return np.random.default_rng([self.seed, number, purpose])

    def _draw(self, number: int, purpose: Purpose) -> int:
        """A seed for a transform."""
        return int(self._generator(number, purpose).integers(1 << 32))


class EvaluationData(Dataset[Item]):
    """Held-out pairs, fixed: item i has the condition and photo of sample i.

    Its exemplar is the one in ``exemplars``; without one, the next member of the sample's group (after the
    last the first), else the sample after it in the list. Items are like those of TrainingData, not augmented;
    pseudo is the photo. Errors likewise.

    exemplars: for each of ``samples``, its exemplar or None; they may be of another split.
    """

    def __init__(
        self,
        plugin: DatasetPlugin,
        samples: Sequence[Sample],
        config: DataConfig,
        exemplars: Sequence[Sample | None] | None = None,
    ) -> None:
        _check_samples(plugin, samples)
        self.plugin, self.samples, self.config = plugin, samples, config
        self._exemplars = exemplars
        self._groups = _groups(samples)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Item:
        sample, chosen = self.samples[index], self.exemplar_of(index)
        view = self._view(sample)
        return _item(self.plugin, view, self._view(chosen), view[0], _is_right(sample, chosen))

    def exemplar_of(self, index: int) -> Sample:
        """The exemplar of sample ``index``."""
        named = self._exemplars[index] if self._exemplars is not None else None
        if named is not None:
            return named
        group = self._groups.get(self.samples[index].group, [index])
        if len(group) > 1:
            return self.samples[group[(group.index(index) + 1) % len(group)]]
        return self.samples[(index + 1) % len(self.samples)]

    def _view(self, sample: Sample) -> View:
        read = read_view(self.plugin, sample, read_short_side(self.config))
        return evaluation_geometry(*read, self.config.size)


def _check_samples(plugin: DatasetPlugin, samples: Sequence[Sample]) -> None:
    if not samples:
        raise UsageError(f"{plugin.name}: the data set has no samples")


def _groups(samples: Sequence[Sample]) -> dict[str, list[int]]:
    """The indices of each named group's members."""
    groups: dict[str, list[int]] = {}
    for index, sample in enumerate(samples):
        if sample.group:
            groups.setdefault(sample.group, []).append(index)
    return groups


def _is_right(target: Sample, exemplar: Sample) -> bool:
    """Whether the target's photo is the right answer for its condition and this exemplar."""
    return target == exemplar or (target.group != "" and target.group == exemplar.group)


def _item(plugin: DatasetPlugin, target: View, exemplar: View, pseudo: Photo, paired: bool) -> Item:
    return {
        "condition": condition_tensor(plugin, target[1]),
        "photo": photo_tensor(target[0]),
        "exemplar": photo_tensor(exemplar[0]),
        "exemplar_condition": condition_tensor(plugin, exemplar[1]),
        "pseudo": photo_tensor(pseudo),
        "paired": torch.tensor(paired),
    }
