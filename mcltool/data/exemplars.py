"""Which exemplars samples take: those of a list or a pack, or other views of the same thing.

Lists call samples by ids, paths or file names: see Names.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mcltool.core.config import DataConfig
from mcltool.core.errors import UsageError
from mcltool.data.pack import PackedDataset
from mcltool.data.pairs import Pairs, read_pairs
from mcltool.plugin.contract import IMAGE_SUFFIXES, DatasetPlugin, Sample

if TYPE_CHECKING:
    from mcltool.data.dataset import EvaluationData, TrainingData

log = logging.getLogger(__name__)


def open_data(
    plugin: DatasetPlugin, root: Path | None, config: DataConfig, seed: int, pairs: Path | None = None
) -> tuple[TrainingData, EvaluationData]:
    """The training samples and the held-out pairs of a data set.

    plugin: a pack takes the place of its plugin (PackedDataset). pairs: a list of exemplars (see
    mcltool.data.pairs), which goes before the one that a pack may hold. Raises UsageError where the data set
    is not there or has no samples, a pack's pictures are too small, or a list names none of the samples.
    """
    from mcltool.data.dataset import EvaluationData, TrainingData  # which import torch

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
        log.warning(
            "%s: %d names may be of several photos, such as %s, and are left out; give their paths",
            path, len(several), min(several),
        )  # fmt: skip
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
    alone = {group for group, size in sizes.items() if size == 1}
    views = {sample.group: sample for sample in train if sample.group in alone} if alone else {}
    return [views.get(sample.group) if sample.group in alone else None for sample in val] if views else None


class Names:
    """Finds what the names in a list mean. called: one or more sequences of names of the same things.

    It matches whole names, with or without an image's suffix and with any folders before it; failing that, the ends of
    names, as a bare file name does.
    """

    def __init__(self, *called: Sequence[str]) -> None:
        self.called = called

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Names:
        """Samples go by their ids, or by the paths of their photos without suffix."""
        # One pass: making samples may take long.
        named = [(s.id, s.photo.with_suffix("").as_posix() if s.photo else s.id) for s in samples]
        return cls([name for name, _ in named], [photo for _, photo in named])

    def __add__(self, more: Names) -> Names:
        return Names(*([*own, *theirs] for own, theirs in zip(self.called, more.called, strict=True)))

    @cached_property
    def _whole(self) -> _Index:
        return _Index((name, n) for names in self.called for n, name in enumerate(names))

    @cached_property
    def _by_end(self) -> _Index:
        return _Index((name.rpartition("/")[2], n) for names in self.called for n, name in enumerate(names))

    def find(self, name: str) -> tuple[int, ...]:
        """Numbers of the things that ``name`` may mean: one, none or several."""
        if found := self._whole.get(name):
            return found
        name = name.strip().replace("\\", "/").removeprefix("./")
        bare, dot, suffix = name.rpartition(".")
        forms = (name, bare) if dot + suffix.lower() in IMAGE_SUFFIXES else (name,)
        for cut in range(name.count("/") + 1):
            for form in forms:
                if found := self._whole.get(form.split("/", cut)[-1]):
                    return found
        ends = {n for form in forms for n in self._by_end.get(form.rpartition("/")[2]) if self._ends(n, form)}
        return tuple(sorted(ends))

    def _ends(self, number: int, form: str) -> bool:
        return any(f"/{names[number]}".endswith(f"/{form}") for names in self.called)


class _Index:
    """Numbers by name: a dict of whole numbers, as most names have one; what few have several is apart."""

    def __init__(self, pairs: Iterable[tuple[str, int]]) -> None:
        self._first: dict[str, int] = {}
        self._several: dict[str, set[int]] = {}
        for name, number in pairs:
            first = self._first.setdefault(name, number)
            if first != number:
                self._several.setdefault(name, {first}).add(number)

    def get(self, name: str) -> tuple[int, ...]:
        if name in self._several:
            return tuple(sorted(self._several[name]))
        return (self._first[name],) if name in self._first else ()


def match_names(pairs: Pairs, samples: Names, candidates: Names) -> tuple[list[list[int | None]], set[str]]:
    """For each of ``samples`` the numbers in ``candidates`` of its exemplars, in the list's order, without itself; None
    for a name of no candidate or of several. Also returns the names that are ambiguous."""
    distinct = {name for exemplars in pairs.values() for name in exemplars}  # a photo is the exemplar of many
    meant = {name: candidates.find(name) for name in distinct}
    numbers = {name: found[0] if len(found) == 1 else None for name, found in meant.items()}
    unclear = {name for name, found in meant.items() if len(found) > 1}
    places = {named: n for n, named in enumerate(zip(*candidates.called, strict=True))}
    matched: list[list[int | None]] = [[] for _ in samples.called[0]]
    for key, exemplars in pairs.items():
        index = samples.find(key)
        if len(index) > 1:
            unclear.add(key)
        elif index:
            own = places.get(tuple(names[index[0]] for names in samples.called), -1)
            matched[index[0]] += [n for name in exemplars if (n := numbers[name]) != own]
    return matched, unclear
