"""Samples for training and evaluation, and which exemplars they take.

A training sample is a function of (seed, its global number n): the order of the epoch n falls in is drawn from
one generator, the exemplar and all geometry from another. Nothing is carried from one sample to the next, so that
a resumed run, and one with other workers, sees the same batches.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mcltool.core.config import DataConfig
from mcltool.core.errors import UsageError
from mcltool.core.pixels import colour_change, recoloured, to_bytes
from mcltool.data.batch import Batch, HostBatch, Item
from mcltool.data.geometry import (
    RandomState,
    augmented_target,
    evaluation_geometry,
    load_size,
    training_geometry,
)
from mcltool.data.pack import PackedDataset
from mcltool.data.pairs import Names, match_names, read_pairs
from mcltool.data.reading import View, device_input, distinct, read_view
from mcltool.plugin.contract import DatasetPlugin, Sample

ORDER, SAMPLE = 0, 1
"""What a generator draws. The values are part of what makes a run repeatable: never change them."""

log = logging.getLogger(__name__)


def open_data(
    plugin: DatasetPlugin, root: Path | None, config: DataConfig, seed: int, pairs: Path | None = None
) -> tuple[TrainingData, EvaluationData]:
    """The training samples and the held-out pairs of a data set.

    plugin: a pack takes the place of its plugin (PackedDataset). pairs: a list of exemplars (see
    mcltool.data.pairs), which goes before the one that a pack may hold. Raises UsageError where the data set
    is not there or has no samples, a pack's pictures are too small, or a list names none of the samples.
    """
    if isinstance(plugin, PackedDataset):
        plugin.check_size(config)
    train, val = plugin.index(root, "train"), plugin.index(root, "val")
    retrieved: Sequence[Sequence[int]] | None = None
    exemplars: Sequence[Sample | None] | None = None
    lacking: Mapping[int, str] = {}
    if pairs is not None:
        retrieved, exemplars, lacking = _listed(pairs, train, val)
    elif isinstance(plugin, PackedDataset):
        retrieved, found = plugin.retrieved("train"), plugin.retrieved("val")
        exemplars = [val[numbers[0]] if numbers else None for numbers in found] if found is not None else None
    exemplars = exemplars or _other_views(train, val)
    held_out = EvaluationData(plugin, val, config, exemplars, lacking)
    return TrainingData(plugin, train, config, seed, retrieved), held_out


def _listed(
    path: Path, train: Sequence[Sample], val: Sequence[Sample]
) -> tuple[Sequence[Sequence[int]], Sequence[Sample | None], Mapping[int, str]]:
    """Candidates for training; the first exemplar of each held-out sample's line; and why there is none, by the
    sample's number."""
    pairs, called, held_out = read_pairs(path), Names.of(train), Names.of(val)
    retrieved, several = match_names(pairs, called, called)
    # CoCosNet takes exemplars of held-out photos from the training photos.
    matched, more = match_names(pairs, held_out, held_out + called)
    firsts = [(line or [-1])[0] for line in matched]
    if several := several | more:
        many = f"{len(several)} names may be of several photos, such as {min(several)}"
        log.warning("%s: %s, and are left out; give their paths", path, many)
    if train and not any(retrieved) and all(n == -1 for n in firsts):
        raise UsageError(
            f"{path}: names none of the {len(train) + len(val)} samples; expected lines of their ids, "
            f"key,exemplar,..., like {train[0].id},{train[-1].id}"
        )
    lacking = {i: "has a first exemplar that is not there" for i, n in enumerate(firsts) if n is None}
    views = Counter(sample.group for sample in val if sample.group)  # whoever has another view needs no line
    lacking |= {i: "has no line" for i, n in enumerate(firsts) if n == -1 and views[val[i].group] < 2}
    unknown = sum(n is None for line in retrieved for n in line)
    if unknown:
        log.warning("%s: %d exemplars of training photos are not there, and are left out", path, unknown)
    chosen = [None if n is None or n < 0 else val[n] if n < len(val) else train[n - len(val)] for n in firsts]
    return [[n for n in line if n is not None] for line in retrieved], chosen, lacking


def _other_views(train: Sequence[Sample], val: Sequence[Sample]) -> Sequence[Sample | None] | None:
    """For held-out samples whose group has no other member there, one of the training samples."""
    sizes = Counter(sample.group for sample in val if sample.group)
    if 1 not in sizes.values():
        return None
    views = {sample.group: sample for sample in train if sizes[sample.group] == 1}
    return [views.get(sample.group) for sample in val]


class Samples(ABC):
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
        arrays = {
            "condition": device_input(self.plugin, target[1]),
            "target": target[0],
            "exemplar": exemplar[0],
            "exemplar_condition": device_input(self.plugin, exemplar[1]),
            "augmented": augmented,
        }
        # torch takes arrays that are contiguous and writable: others are copied.
        item = {n: torch.from_numpy(np.require(a, requirements=["C", "W"])) for n, a in arrays.items()}
        return item | {"paired": torch.tensor(paired)}


class TrainingData(Samples):
    """Training samples by global number n = 0, 1, 2, ... without end; ``len`` is the length of an epoch.

    An item's exemplar is another member of the photo's group; without one, a retrieved candidate (see
    DataConfig.exemplar_last); with the probability ``config.exemplar_self`` instead of either, and where there is
    neither, the photo itself, cropped again and augmented.

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

    def item(self, number: int) -> Item:
        epoch, place = divmod(number, len(self))
        target = int(_order_of(self.seed, epoch, len(self))[place])
        state = RandomState([self.seed, number, SAMPLE])
        chosen = self._choose_exemplar(target, state.numpy)
        short_side = max(load_size(self.config))  # enough for any aspect
        own = read_view(self.plugin, self.samples[target], short_side)
        other = own if chosen == target else read_view(self.plugin, self.samples[chosen], short_side)
        view = training_geometry(*own, self.config, state)
        affine = chosen == target and self.config.exemplar_affine
        exemplar = training_geometry(*other, self.config, state, affine)
        augmented = augmented_target(self.config.size, self.config.flip, state)
        if self.config.colour_jitter:  # target and exemplar alike: a right answer stays one
            colours = colour_change(self.config.colour_jitter, state.numpy)
            view, exemplar = ((recoloured(photo, colours), shown) for photo, shown in (view, exemplar))
        return self._item(view, exemplar, augmented, _is_right(self.samples[target], self.samples[chosen]))

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
    last the first), else the sample after it in the list. The augmented target is the target.

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
        sample, chosen, size = self.samples[number], self.exemplar_of(number), self.config.size
        read = [read_view(self.plugin, one, max(size)) for one in (sample, chosen)]  # enough for any aspect
        view, exemplar = (evaluation_geometry(*each, size) for each in read)
        return self._item(view, exemplar, np.eye(2, 3, dtype=np.float32), _is_right(sample, chosen))

    def exemplar_of(self, index: int) -> Sample:
        """The exemplar of sample ``index``."""
        if self._exemplars and (named := self._exemplars[index]):
            return named
        group = self._groups.get(self.samples[index].group, [index])
        if len(group) > 1:
            return self.samples[group[(group.index(index) + 1) % len(group)]]
        return self.samples[(index + 1) % len(self.samples)]


def _is_right(target: Sample, exemplar: Sample) -> bool:
    """Whether the target's photo is the right answer for its condition and this exemplar."""
    return target == exemplar or (target.group != "" and target.group == exemplar.group)


@lru_cache(maxsize=2)
def _order_of(seed: int, epoch: int, samples: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch, ORDER]).permutation(samples)
