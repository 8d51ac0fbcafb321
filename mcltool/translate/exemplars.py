"""Several exemplars for one condition: their weights, and where each may serve."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcltool.core.errors import DataError, UsageError, did_you_mean
from mcltool.core.images import read_photo
from mcltool.core.pixels import Size, resize_photo, same_aspect
from mcltool.plugin.contract import ConditionSpec

MOST = 64
"""Exemplars of one condition: time and memory grow with each."""
LEAST, LARGEST = 1e-6, 1e6
"""Range of a weight other than 0, well within what float32 products can hold."""
STRIDE = 4
"""Pixels of the network's input a side of a position."""

Name = str | PathLike[str]
"""Of a file."""
Weights = NDArray[np.float32]
"""(E, h, w) at least 0: the weight of each exemplar at each position of a condition."""


@dataclass(frozen=True)
class Exemplar:
    """A photo that gives a condition its style.

    weight: at least 0, relative to the condition's other exemplars. region: a grey picture in the condition's frame:
    white where this exemplar may serve, black where not; greys scale the weight. classes: names of the classes that
    it may serve, of conditions that are labels. Raises UsageError for a weight out of range.
    """

    path: Name
    weight: float = 1.0
    region: Name | None = None
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _is_weight(self.weight):
            raise UsageError(f"{fspath(self.path)}: weight {self.weight:g}: {_EXPECTED}")
        if isinstance(self.classes, str):
            raise UsageError(
                f"{fspath(self.path)}: classes: expected a sequence of names, found {self.classes!r}"
            )

    @staticmethod
    def parse(text: str, folder: Path = Path()) -> Exemplar:
        """ "PHOTO[:WEIGHT][@WHERE]", WHERE a region's file or classes, joined by ";". PHOTO is below ``folder``.
        If a file has all of the text as its name, it is that photo.

        Raises UsageError for an invalid weight.
        """
        photo, where, weight = text, "", 1.0
        if not (folder / photo).exists() and "@" in photo:
            photo, _, where = photo.rpartition("@")
        region, _, names = (where, "", "") if Path(where).is_file() else where.partition(";")
        if not Path(region).is_file():
            region, names = "", where
        head, colon, number = photo.rpartition(":")
        if not (folder / photo).exists() and colon:
            photo, weight = head, parse_weight(number, text)
        return Exemplar(str(folder / photo), weight, region or None, parse_classes(names))

    def label(self, name: str) -> str:
        """How manifests write it, with ``name`` for the photo; ``parse`` reads it."""
        places = [fspath(self.region)] if self.region else []
        where = "@" + ";".join([*places, *self.classes]) if places or self.classes else ""
        return f"{name}{'' if self.weight == 1 else f':{self.weight:g}'}{where}"


Style = Name | Exemplar | Sequence[Name | Exemplar]
"""What a condition is translated with: one exemplar, or several that act together."""


def together(style: Style) -> tuple[Exemplar, ...]:
    several = [style] if isinstance(style, str | PathLike | Exemplar) else style
    return tuple(one if isinstance(one, Exemplar) else Exemplar(one) for one in several)


def between(exemplars: Sequence[Exemplar], count: int) -> list[tuple[Exemplar, ...]]:
    """``count`` styles, from only the first of two exemplars to only the second. Raises UsageError."""
    if len(exemplars) != 2 or count < 2:
        raise UsageError(f"--morph {count}: needs two --exemplar, found {len(exemplars)}")
    first, second = exemplars
    shares = [number / (count - 1) for number in range(count)]
    return [
        (replace(first, weight=first.weight * (1 - share)), replace(second, weight=second.weight * share))
        for share in shares
    ]


_EXPECTED = f"expected 0, or a number from {LEAST:f} to {LARGEST:.0f}"


def _is_weight(number: float) -> bool:
    return number == 0 or LEAST <= number <= LARGEST


def parse_weight(text: str, where: str) -> float:
    """Raises UsageError, naming ``where``, for an invalid weight."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not _is_weight(number):
        raise UsageError(f"{where}: weight {text!r}: {_EXPECTED}")
    return number


def parse_classes(text: str) -> tuple[str, ...]:
    """ "sky; tree"."""
    return tuple(name.strip() for name in text.split(";") if name.strip())


def check(exemplars: Sequence[Exemplar], spec: ConditionSpec, where: str) -> None:
    """Raises UsageError, naming ``where``, for exemplars that cannot act together on conditions of ``spec``."""
    if len(exemplars) > MOST:
        raise UsageError(f"{where}: {len(exemplars)} exemplars for one condition: expected at most {MOST}")
    photo, count = Counter(os.path.realpath(exemplar.path) for exemplar in exemplars).most_common(1)[0]
    if count > 1:
        raise UsageError(
            f"{where}: {photo} is given {count} times for one condition; join its regions in one"
        )
    if not any(exemplar.weight for exemplar in exemplars):
        raise UsageError(f"{where}: all exemplars of a condition have weight 0")
    for name in (name for exemplar in exemplars for name in exemplar.classes):
        if spec.kind != "labels":
            raise UsageError(
                f"{where}: @{name}: no such file, and these conditions have no classes to choose by"
            )
        if name not in spec.names:
            hint = did_you_mean(name, spec.names) or f"; there are {', '.join(spec.names[:8])}"
            raise UsageError(f"{where}: no class {name!r}{hint}")
    for region in (exemplar.region for exemplar in exemplars if exemplar.region):
        if not Path(region).is_file():
            raise UsageError(f"{where}: region {fspath(region)}: no such file")


def weights_of(
    exemplars: Sequence[Exemplar], planes: NDArray[Any], size: Size, spec: ConditionSpec | None = None
) -> tuple[Weights, int]:
    """The weights of a condition's exemplars, and the number of positions that none covers, where all are used.

    planes: the condition at its network size. size: (height, width) of its files. spec: for exemplars with classes.
    Raises DataError for a region that is empty or has another aspect.
    """
    height, width = planes.shape[-2:]
    grid = (height // STRIDE, width // STRIDE)
    weights = np.empty((len(exemplars), *grid), np.float32)
    for weight, exemplar in zip(weights, exemplars, strict=True):
        weight[:] = exemplar.weight
        if exemplar.region:
            weight *= _region(Path(exemplar.region), size, grid)
        if exemplar.classes and spec:
            inside = np.isin(planes, [spec.names.index(name) for name in exemplar.classes])
            weight *= inside.reshape(grid[0], STRIDE, grid[1], STRIDE).mean((1, 3))
    free = ~weights.any(0)
    weights[:, free] = np.array([[exemplar.weight] for exemplar in exemplars], np.float32)
    return weights, int(free.sum())


def uncovered_note(positions: int) -> str:
    """The message about positions that no exemplar covers."""
    return f"{positions} blocks of 4 x 4 pixels are in no exemplar's region or classes: all are used there"


def _region(path: Path, size: Size, grid: Size) -> Weights:
    """(h, w) in [0, 1]."""
    picture = read_photo(path)
    if not same_aspect(picture.shape[:2], size):
        (high, wide), (height, width) = picture.shape[:2], size
        raise DataError(
            f"{path}: the region is {wide} x {high} pixels, its condition {width} x {height}: expected the same aspect"
        )
    if not picture.any():
        raise DataError(
            f"{path}: the region is black everywhere: expected white where the exemplar may serve"
        )
    return np.asarray(resize_photo(picture, grid).mean(2, dtype=np.float32) / 255, np.float32)
