"""``mcltool compare``: two evaluations side by side, and whether the one is better than chance explains."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mcltool.evaluate.scores import Scores, bootstrap_interval, kind_of

Verdict = Literal["A", "B", "none", "unknown"]


@dataclass(frozen=True)
class Difference:
    """One number of two evaluations. difference: b - a. low, high: its 95% interval, from the images both scored.

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
    difference = None if ours is None or theirs is None else theirs - ours
    paired = [
        b.images[name].get(key, math.nan) - row.get(key, math.nan)
        for name, row in a.images.items()
        if name in b.images
    ]
    known = np.array([value for value in paired if math.isfinite(value)])
    low, high, better = None, None, "unknown"
    if len(known) > 1:
        low, high = bootstrap_interval(known, seed)
        better = _better(key, low, high)
    elif difference == 0:
        better = "none"
    return Difference(key, ours, theirs, difference, low, high, better, len(known))  # type: ignore[arg-type]


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
    for name, what in (
        ("size", "at another size"),
        ("perceptual", "through another network"),
        ("outputs", "of another number of outputs"),
        ("real_images", "against another number of photos"),
    ):
        if a.about.get(name) != b.about.get(name):
            found.append(f"B was scored {what} ({b.about.get(name)}, not {a.about.get(name)})")
    return found
