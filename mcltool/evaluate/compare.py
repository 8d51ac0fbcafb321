"""``mcltool compare``: two evaluations side by side, and whether the one is better than chance explains."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mcltool.evaluate.scores import Scores, bootstrap_interval, kind_of

Verdict = Literal["A", "B", "none", "unknown"]


_SETTINGS = {
    "size": "the size they were compared at",
    "jpeg": "the JPEG quality",
    "perceptual": "the network of style and semantic",
    "outputs": "the number of outputs",
    "real_images": "the number of real photos",
}


@dataclass(frozen=True)
class Difference:
    """One number of two evaluations, a and b. difference: b - a, of the images that both scored where it is of
    images one by one; low, high: then its 95% interval.

    better: which one; "none" where the interval holds 0, "unknown" where there is no interval to tell.
    images: how many the interval is of.
    """

    key: str
    a: float | None
    b: float | None
    difference: float | None
    low: float | None
    high: float | None
    better: Verdict
    images: int


@dataclass(frozen=True)
class Comparison:
    """differences: of the numbers that both have. warnings: why they may not be comparable."""

    differences: list[Difference]
    only_a: list[str]
    only_b: list[str]
    warnings: list[str]


def compare(a: Scores, b: Scores, seed: int = 0) -> Comparison:
    """Two evaluations, of the same images where they are to tell much."""
    return Comparison(
        differences=[_difference(key, a, b, seed) for key in a.scores if key in b.scores],
        only_a=[key for key in a.scores if key not in b.scores],
        only_b=[key for key in b.scores if key not in a.scores],
        warnings=_warnings(a, b),
    )


def _difference(key: str, a: Scores, b: Scores, seed: int) -> Difference:
    ours, theirs = a.scores[key].value, b.scores[key].value
    common = [name for name in a.images if name in b.images]
    changes = [b.images[name].get(key, math.nan) - a.images[name].get(key, math.nan) for name in common]
    known = np.array([value for value in changes if math.isfinite(value)])
    if len(known) > 1:
        low, high = bootstrap_interval(known, seed)
        verdict = _better(key, low, high)
        return Difference(key, ours, theirs, float(known.mean()), low, high, verdict, len(known))
    difference = None if ours is None or theirs is None else theirs - ours
    return Difference(key, ours, theirs, difference, None, None, "none" if difference == 0 else "unknown", 0)


def _better(key: str, low: float, high: float) -> Verdict:
    if low <= 0 <= high:
        return "none"
    grew = low > 0
    return "B" if grew == (kind_of(key).better == "higher") else "A"


def _warnings(a: Scores, b: Scores) -> list[str]:
    found = []
    common = a.images.keys() & b.images.keys()
    if len(common) < max(len(a.images), len(b.images)):
        counts = f"{len(a.images)} and {len(b.images)}"
        found.append(f"scored were {counts} images, {len(common)} of them the same: intervals are of those")
    for name, what in _SETTINGS.items():
        if a.about.get(name) != b.about.get(name):
            found.append(f"A and B differ in {what}: {a.about.get(name)} and {b.about.get(name)}")
    return found
