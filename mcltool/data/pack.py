"""Packs as data sets, and the data that a run reads, from files or from a pack."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mcltool.core.config import DataConfig
from mcltool.core.errors import UsageError
from mcltool.core.pixels import Photo
from mcltool.data.geometry import load_size
from mcltool.data.pack_format import Bucket, open_file, read_header, reading, size_text
from mcltool.data.pairs import Called, match_names, read_pairs
from mcltool.plugin.contract import Condition, ConditionFiles, ConditionSpec, DatasetPlugin, Sample, Truth

if TYPE_CHECKING:
    from mcltool.data.dataset import EvaluationData, TrainingData

log = logging.getLogger(__name__)


class PackedDataset(DatasetPlugin):
    """A pack that stands in for the data set it was made from. What is not stored in it is the plugin's.

    Each process opens the file on its first read, forked ones too, and pickling leaves the open file behind.
    Raises UsageError where the file is no pack, is damaged, or was made with another plugin or version of it.
    """

    needs_root = False

    def __init__(self, plugin: DatasetPlugin, path: Path) -> None:
        self.plugin, self.path, self.header = plugin, path, read_header(path)
        reading = {f"data.{name}": value for name, value in self.header.reading().items()}
        names = ("name", "version", "home_page", "preset", "draw_points")
        own = {name: getattr(plugin, name) for name in names} | {"defaults": {**plugin.defaults, **reading}}
        for name, value in own.items():
            setattr(self, name, value)  # a pack goes by its plugin's name, also in errors
        self.label_numbering, self.follow_exif = self.header.labels, self.header.exif
        self.canvas = self.header.canvas
        self._opened: tuple[int, h5py.File, dict[str, Bucket]] | None = None
        made_with = self.header.plugin, self.header.plugin_version
        if made_with != (plugin.name, plugin.version):
            found, needed = " version ".join(made_with), f"{plugin.name} version {plugin.version}"
            raise UsageError(f"{path}: packed with plugin {found}, this one is {needed}; pack it again")
        if self.header.spec != plugin.spec:
            raise UsageError(f"{path}: its {plugin.spec.kind} are not those of {plugin.name}; pack it again")

    @property
    def spec(self) -> ConditionSpec:
        return self.header.spec

    def check_size(self, config: DataConfig) -> None:
        """Raises UsageError where pictures are stored smaller than training loads them."""
        wanted, stored = load_size(config), self.header.size
        if stored[0] < wanted[0] or stored[1] < wanted[1]:
            needs = f"training at {size_text(config.size)} takes {size_text(wanted)}"
            way_out = f"pack again with --size {size_text(wanted)}, or give a smaller --size here"
            raise UsageError(f"{self.path}: packed at {size_text(stored)}, {needs}: {way_out}")

    def index(self, root: Path | None, split: str) -> Sequence[Sample]:
        """``root`` is not used. The samples have no files: their parts say where in the pack they are."""
        if split not in self.header.samples:
            held = ", ".join(self.header.samples)
            raise UsageError(
                f"{self.path}: no split {split!r} in this pack, which holds {held}; pack it again"
            )
        with open_file(self.path) as file:
            group = file[split]
            with reading(self.path, split):
                ids, groups, places = (group[name][...] for name in ("id", "group", "place"))
                return [
                    Sample(name.decode(), group=kin.decode(), part=f"{split}/buckets/{bucket}/{row}")
                    for name, kin, (bucket, row) in zip(ids, groups, places.tolist(), strict=True)
                ]

    def retrieved(self, split: str) -> list[list[int]] | None:
        """For each sample of ``split`` the numbers of its exemplars, the best first; None where none are held."""
        with open_file(self.path) as file:
            if "retrieved" not in file[split]:
                return None
            with reading(self.path, split):
                table = file[split]["retrieved"][...]
                if table.max(initial=-1) >= len(table):
                    raise IndexError("exemplars that are not there")
                return [[n for n in row if n >= 0] for row in table.tolist()]

    def photo(self, sample: Sample, short_side: int) -> Photo:
        """As stored, whatever ``short_side``: see ``check_size``."""
        with reading(self.path, sample.id):
            bucket, row = self._place(sample)
            return np.asarray(bucket.arrays["photo"][row])

    def condition(self, sample: Sample, short_side: int) -> Condition:
        with reading(self.path, sample.id):
            bucket, row = self._place(sample)
            return bucket.condition(row)

    def render(self, condition: Condition) -> NDArray[Any]:
        return self.plugin.render(condition)

    def read_condition(self, files: Sequence[Path]) -> Condition:
        return self.plugin.read_condition(files)

    def read_part(self, files: Sequence[Path], part: str) -> Condition:
        return self.plugin.read_part(files, part)

    def conditions(self, folder: Path) -> Iterator[ConditionFiles]:
        return self.plugin.conditions(folder)

    def write_condition(self, condition: Condition, stem: Path) -> Path:
        return self.plugin.write_condition(condition, stem)

    def truth(self, condition: Sample, exemplar: Sample, short_side: int) -> Truth | None:
        """The plugin's, at the size of what is stored; at another the two would not fit."""
        fits = self.header.size == (short_side, short_side)
        return self.plugin.truth(condition, exemplar, short_side) if fits else None

    def _place(self, sample: Sample) -> tuple[Bucket, int]:
        # HDF5 must not be used through a handle that came over a fork: a handle is its process's own.
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = os.getpid(), open_file(self.path), {}
        _, file, buckets = self._opened
        name, _, row = sample.part.rpartition("/")
        if name not in buckets:
            buckets[name] = Bucket(file[name])
        return buckets[name], int(row)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}


def splits_of(dataset: DatasetPlugin) -> Sequence[str]:
    """The splits that there are: of a pack, those it holds."""
    return list(dataset.header.samples) if isinstance(dataset, PackedDataset) else ("train", "val")


def open_data(
    plugin: DatasetPlugin, root: Path | None, config: DataConfig, seed: int, pairs: Path | None = None
) -> tuple[TrainingData, EvaluationData]:
    """The training samples and the held-out pairs of a data set.

    plugin: a pack takes the place of its plugin (PackedDataset). pairs: a list of exemplars (see
    mcltool.data.pairs), which goes before the one that a pack may hold. Raises UsageError where the data set
    is not there or has no samples, a pack's pictures are too small, or a list names none of the samples.
    """
    from mcltool.data.dataset import EvaluationData, TrainingData  # which import torch

    train, val = plugin.index(root, "train"), plugin.index(root, "val")
    lacking: Mapping[int, str] = {}
    retrieved: Sequence[Sequence[int]] | None
    exemplars: Sequence[Sample | None] | None
    if pairs is not None:
        retrieved, exemplars, lacking = _listed(pairs, train, val)
    else:
        retrieved, exemplars = _packed(plugin, config, val)
    exemplars = exemplars or _other_views(train, val)
    held_out = EvaluationData(plugin, val, config, exemplars, lacking)
    return TrainingData(plugin, train, config, seed, retrieved), held_out


_Lists = tuple[Sequence[Sequence[int]] | None, Sequence[Sample | None] | None]
"""Candidates for training, by number; the exemplar of each held-out sample, where one is named."""


def _listed(
    path: Path, train: Sequence[Sample], val: Sequence[Sample]
) -> tuple[Sequence[Sequence[int]], Sequence[Sample | None], Mapping[int, str]]:
    """Candidates for training; the first exemplar of each held-out sample's line; and what is the matter where there is
    none, by the sample's number."""
    pairs, called, held_out = read_pairs(path), Called.of(train), Called.of(val)
    several: set[str] = set()
    retrieved = match_names(pairs, called, called, several)
    # CoCosNet takes exemplars of held-out photos from the training photos.
    firsts = [(line or [-1])[0] for line in match_names(pairs, held_out, held_out + called, several)]
    if several:
        log.warning(
            "%s: %d names may be of several photos, such as %s, and are left out; give their paths",
            path, len(several), min(several),
        )  # fmt: skip
    if train and not any(retrieved) and all(n == -1 for n in firsts):
        raise UsageError(
            f"{path}: names none of the {len(train) + len(val)} samples; expected lines of their ids, "
            f"key,exemplar,..., like {called.ids[0]},{called.ids[-1]}"
        )
    lacking = {i: "has a first exemplar that is not there" for i, n in enumerate(firsts) if n is None}
    views = Counter(sample.group for sample in val if sample.group)  # whoever has another view needs no line
    lacking |= {i: "has no line" for i, n in enumerate(firsts) if n == -1 and views[val[i].group] < 2}
    unknown = sum(n is None for line in retrieved for n in line)
    if unknown:
        log.warning("%s: %d exemplars of training photos are not there, and are left out", path, unknown)
    chosen = [_nth(val, train, n) if n is not None and n >= 0 else None for n in firsts]
    return [[n for n in line if n is not None] for line in retrieved], chosen, lacking


def _nth(first: Sequence[Sample], second: Sequence[Sample], number: int) -> Sample:
    return first[number] if number < len(first) else second[number - len(first)]


def _other_views(train: Sequence[Sample], val: Sequence[Sample]) -> Sequence[Sample | None] | None:
    """For held-out samples whose group has no other member there, one of the training samples."""
    sizes = Counter(sample.group for sample in val if sample.group)
    alone = {group for group, size in sizes.items() if size == 1}
    views = {sample.group: sample for sample in train if sample.group in alone} if alone else {}
    return [views.get(sample.group) if sample.group in alone else None for sample in val] if views else None


def _packed(plugin: DatasetPlugin, config: DataConfig, val: Sequence[Sample]) -> _Lists:
    if not isinstance(plugin, PackedDataset):
        return None, None
    plugin.check_size(config)
    found = plugin.retrieved("val")
    held_out = [val[numbers[0]] if numbers else None for numbers in found] if found is not None else None
    return plugin.retrieved("train"), held_out
