"""Samples for training and evaluation, and the loader that brings them to the trainer as batches.

A training sample is a function of (seed, its global number n): the order of the epoch n falls in, the
exemplar and all geometry are drawn from generators seeded with these and a purpose. Nothing is carried from
one sample to the next, so that a resumed run, and one with other workers, sees the same batches.
"""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from mcltool.config import DataConfig
from mcltool.data.batches import Batch, Item, collate, condition_tensor, photo_tensor
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
from mcltool.errors import McltoolError, UsageError

T = TypeVar("T")


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


@dataclass(frozen=True)
class SampleStream:
    """The numbers of a rank's batches, from step ``start`` to before ``stop``: a batch sampler.

    Step k is the samples from k * batch_size on, over all ``world`` ranks; each takes its share of them in
    ``parts`` batches. Another number of ranks or parts sees the same samples in a step.
    """

    start: int
    stop: int
    rank: int
    world: int
    batch_size: int
    parts: int = 1

    def __post_init__(self) -> None:
        if self.batch_size % (self.world * self.parts):
            parts = f" in {self.parts} parts (train.accumulate)" if self.parts > 1 else ""
            raise UsageError(
                f"train.batch_size: a batch of {self.batch_size} does not divide among {self.world} processes{parts}"
            )

    def __iter__(self) -> Iterator[list[int]]:
        size = self.batch_size // (self.world * self.parts)
        for step in range(self.start, self.stop):
            for part in range(self.parts):
                first = step * self.batch_size + (self.rank * self.parts + part) * size
                yield list(range(first, first + size))

    def __len__(self) -> int:
        return max(0, self.stop - self.start) * self.parts


def training_loader(
    data: Dataset[Item], stream: SampleStream, workers: int, device_type: str
) -> Generator[Batch, None, None]:
    """The batches of ``stream`` in order, loaded ahead by ``workers`` processes (0: in this one).

    device_type: "cuda" has them put in pinned memory. Raises the DataError of a sample that cannot be read
    (the worker's own, by its words) when its batch is due. Closing the iterator ends the workers.
    """
    loader: DataLoader[Batch | McltoolError] = DataLoader(
        _Batches(data),  # type: ignore[arg-type]
        batch_sampler=stream,
        num_workers=workers,
        collate_fn=_unchanged,
        pin_memory=device_type == "cuda",
        worker_init_fn=_start_worker,
        generator=torch.Generator(),  # the loader draws a seed for its workers: not from the trainer's state
    )
    for batch in loader:
        if isinstance(batch, McltoolError):
            raise batch
        yield batch


class _Batches:
    """Samples by the batch. An error a user can cause is handed over as a value, because torch re-raises what
    it catches in a worker with a traceback for a message."""

    def __init__(self, data: Dataset[Item]) -> None:
        self.data = data

    def __getitems__(self, numbers: Sequence[int]) -> Batch | McltoolError:
        try:
            return collate([self.data[number] for number in numbers])
        except McltoolError as error:
            return error


def _unchanged(batch: T) -> T:
    return batch


def _start_worker(worker: int) -> None:
    # Signals reach every process of the group; the trainer handles them and ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


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
