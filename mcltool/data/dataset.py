"""Samples for training and evaluation.

A training sample is a function of (seed, its global number n): the order of the epoch n falls in is drawn from
one generator, the exemplar and all geometry from another. Nothing is carried from one sample to the next, so that
a resumed run, and one with other workers, sees the same batches.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from mcltool.core.config import DataConfig
from mcltool.core.errors import UsageError
from mcltool.core.pictures import Picture, contact_sheet, save_png
from mcltool.core.pixels import colour_change, recoloured, to_bytes
from mcltool.data.batch import Batch, HostBatch, Item, condition_picture
from mcltool.data.geometry import (
    RandomState,
    augmented_target,
    evaluation_geometry,
    read_short_side,
    training_geometry,
)
from mcltool.data.reading import View, device_input, distinct, read_view
from mcltool.plugin.contract import DatasetPlugin, Sample

PREVIEWED = {
    "condition": "condition",
    "target": "target",
    "exemplar": "exemplar",
    "exemplar_condition": "its condition",
    "augmented": "augmented",
}
"""The columns of a preview: the part of a sample, and its name."""
PREVIEW_HEIGHT = 256
"""Pixels a picture there is high at most."""


class Purpose(IntEnum):
    """What a generator draws. The values are part of what makes a run repeatable: never renumber them."""

    ORDER = 0
    SAMPLE = 1


class Samples(Dataset[Item], ABC):
    """Samples of a data set by number: ``item`` as they go to the device, ``[number]`` as they arrive there.

    Raises UsageError where there are none or two have the same id; items raise DataError for what cannot be read or
    used.
    """

    def __init__(self, plugin: DatasetPlugin, samples: Sequence[Sample], config: DataConfig) -> None:
        if not samples:
            raise UsageError(f"{plugin.name}: the data set has no samples")
        self.plugin, self.samples, self.config = plugin, samples, config
        self._groups: dict[str, list[int]] = {}
        """The numbers of each named group's members."""
        for number, sample in enumerate(distinct(plugin, samples)):
            if sample.group:
                self._groups.setdefault(sample.group, []).append(number)

    def __len__(self) -> int:
        return len(self.samples)

    @abstractmethod
    def item(self, number: int) -> Item:
        """A sample with the fields of a HostBatch."""

    def arrive(self, batch: HostBatch) -> Batch:
        """What the networks see of a batch, on its device."""
        return batch.arrive(self.plugin.draw_points)

    def __getitem__(self, number: int) -> Item:
        """A sample with the fields of a Batch, to look at: photos are (3, H, W) uint8."""
        batch = self.arrive(HostBatch.of([self.item(number)], 1))
        photos = {name: to_bytes(getattr(batch, name)) for name in ("target", "exemplar", "augmented")}
        return {name: tensor[0] for name, tensor in (batch._asdict() | photos).items()}

    def _item(self, target: View, exemplar: View, augmented: NDArray[np.float32], paired: bool) -> Item:
        return {
            "condition": _tensor(device_input(self.plugin, target[1])),
            "target": _tensor(target[0]),
            "exemplar": _tensor(exemplar[0]),
            "exemplar_condition": _tensor(device_input(self.plugin, exemplar[1])),
            "augmented": _tensor(augmented),
            "paired": torch.tensor(paired),
        }


class TrainingData(Samples):
    """Training samples by global number n = 0, 1, 2, ... without end; ``len`` is the length of an epoch.

    An item has the fields of a Batch. Its exemplar is another member of the photo's group; without one, a
    retrieved candidate (see DataConfig.exemplar_last); with the probability ``config.exemplar_self`` instead of
    either, and where there is neither, the photo itself, cropped again and augmented.

    retrieved: for each of ``samples``, indices of its candidate exemplars, or none.
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
        super().__init__(plugin, samples, config)
        self.seed, self._retrieved = seed, retrieved
        self._order: tuple[int, NDArray[np.int64]] | None = None

    def item(self, number: int) -> Item:
        epoch, place = divmod(number, len(self.samples))
        target, state = int(self._epoch_order(epoch)[place]), RandomState([self.seed, number, Purpose.SAMPLE])
        chosen = self._choose_exemplar(target, state.numpy)
        short_side, size = read_short_side(self.config), self.config.size
        own = read_view(self.plugin, self.samples[target], short_side)
        other = own if chosen == target else read_view(self.plugin, self.samples[chosen], short_side)
        view = training_geometry(*own, self.config, state)
        exemplar = training_geometry(
            *other, self.config, state, augment=chosen == target and self.config.exemplar_affine
        )
        augmented = augmented_target(size, self.config.flip, state)
        if self.config.colour_jitter:  # target and exemplar alike: a right answer stays one
            colours = colour_change(self.config.colour_jitter, state.numpy)
            view, exemplar = ((recoloured(photo, colours), shown) for photo, shown in (view, exemplar))
        return self._item(view, exemplar, augmented, _is_right(self.samples[target], self.samples[chosen]))

    def _epoch_order(self, epoch: int) -> NDArray[np.int64]:
        if self._order is None or self._order[0] != epoch:
            generator = np.random.default_rng([self.seed, epoch, Purpose.ORDER])
            self._order = epoch, generator.permutation(len(self.samples))
        return self._order[1]

    def _choose_exemplar(self, target: int, generator: np.random.Generator) -> int:
        """Index of the exemplar's sample; the target's own for the augmented copy."""
        group = self._groups.get(self.samples[target].group, ())
        candidates: Sequence[int] = [member for member in group if member != target]
        if not candidates and self._retrieved is not None:
            candidates = self._retrieved[target]
        own, last = self.config.exemplar_self, self.config.exemplar_last
        if len(candidates) == 0 or (drawn := generator.random()) < own:
            return target
        if last is None or self._retrieved is None or candidates is not self._retrieved[target]:
            return candidates[int(generator.integers(len(candidates)))]
        return candidates[-1 if drawn < own + last else 0]


class EvaluationData(Samples):
    """Held-out pairs, fixed: item i has the condition and photo of sample i.

    Its exemplar is the one in ``exemplars``; without one, the next member of the sample's group (after the
    last the first), else the sample after it in the list. Items are like those of TrainingData, not augmented;
    augmented is the photo.

    exemplars: for each of ``samples``, its exemplar or None; they may be of another split. lacking: by sample
    number, why a list has no exemplar where it should have one.
    """

    def __init__(
        self,
        plugin: DatasetPlugin,
        samples: Sequence[Sample],
        config: DataConfig,
        exemplars: Sequence[Sample | None] | None = None,
        lacking: Mapping[int, str] | None = None,
    ) -> None:
        super().__init__(plugin, samples, config)
        self._exemplars, self.lacking = exemplars, lacking or {}

    def item(self, number: int) -> Item:
        sample, chosen = self.samples[number], self.exemplar_of(number)
        view, exemplar = self._view(sample), self._view(chosen)
        return self._item(view, exemplar, np.eye(2, 3, dtype=np.float32), _is_right(sample, chosen))

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
        read = read_view(
            self.plugin, sample, max(self.config.size)
        )  # so that nothing drawn is shrunk afterwards
        return evaluation_geometry(*read, self.config.size)


def save_preview(
    plugin: DatasetPlugin, samples: Sequence[Sample], config: DataConfig, seed: int, count: int, out: Path
) -> int:
    """Draw the first ``count`` samples that a run of ``seed`` trains on, after all augmentation; returns how many.

    A row has condition, target (its photo), exemplar, the exemplar's own condition, and the augmented target. Raises
    McltoolError where a sample cannot be read.
    """
    data = TrainingData(plugin, samples, config, seed)
    rows: list[list[Picture]] = []
    for item in map(data.__getitem__, range(min(count, len(data)))):
        row = []
        for name in PREVIEWED:
            part = item[name].numpy()
            part = part if part.ndim == 2 else part.transpose(1, 2, 0)
            row.append(condition_picture(part, plugin.spec) if "condition" in name else part)
        rows.append(row)
    save_png(out, contact_sheet(rows, list(PREVIEWED.values()), min(PREVIEW_HEIGHT, config.size[0])))
    return len(rows)


def _is_right(target: Sample, exemplar: Sample) -> bool:
    """Whether the target's photo is the right answer for its condition and this exemplar."""
    return target == exemplar or (target.group != "" and target.group == exemplar.group)


def _tensor(array: NDArray[Any]) -> Tensor:
    """Shares memory with an array that is contiguous and writable, as torch needs it; else a copy."""
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))
