"""The scores of an evaluation, with intervals, and of two side by side (``mcltool compare``)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mcltool.core.errors import DataError, UsageError
from mcltool.core.files import MIB, read_json
from mcltool.evaluate.metrics import NUMBERS, Score, number_of

FORMAT = "mcltool-scores"
VERSION = 1
MOST_BYTES = 512 * MIB
RESAMPLES = 1000
LEVEL = 0.95

ImageScores = Mapping[str, Mapping[str, float]]
"""Scores by key, by the image's name."""


def number_text(value: float | None) -> str:
    """Four significant digits; "inf" for None."""
    return "inf" if value is None else f"{value:#.4g}".rstrip(".")


def interval_text(score: Score) -> str:
    if score.low is None or score.high is None:
        return ""
    return f"{number_text(score.low)} to {number_text(score.high)}"


@dataclass
class Scores:
    """An evaluation. about: what was compared, as plain JSON values. not_run: metrics and why."""

    about: dict[str, Any]
    scores: dict[str, Score] = field(default_factory=dict)
    not_run: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    images: dict[str, dict[str, float]] = field(default_factory=dict)

    def to_json(self) -> str:
        document = {"format": FORMAT, "version": VERSION} | asdict(self)
        document["images"] = {
            name: {key: value if math.isfinite(value) else None for key, value in row.items()}
            for name, row in self.images.items()
        }
        return json.dumps(document, indent=1, allow_nan=False) + "\n"

    @classmethod
    def read(cls, path: Path) -> Scores:
        """Scores that an evaluation wrote: the file, or the folder with its scores.json.

        Raises UsageError where there is none, DataError where it holds something else.
        """
        path = path / "scores.json" if path.is_dir() else path
        try:
            raw = read_json(path, MOST_BYTES)
            if raw.get("format") != FORMAT or raw.get("version") != VERSION:
                raise ValueError("another format or version")
            scores = {key: _checked(Score(**value)) for key, value in raw["scores"].items()}
            for key in scores:
                number_of(key)  # a KeyError for what this version cannot rank
            images = {
                name: {key: math.nan if value is None else float(value) for key, value in row.items()}
                for name, row in raw["images"].items()
            }
            return cls(dict(raw["about"]), scores, dict(raw["not_run"]), list(raw["warnings"]), images)
        except OSError as error:
            raise UsageError(
                f"{path}: expected scores that mcltool evaluate wrote ({error.strerror})"
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise DataError(f"{path}: not the scores of mcltool evaluate ({error})") from None


def _checked(score: Score) -> Score:
    """Raises TypeError where its fields are not what they are said to be."""
    numbers = {type(number) for number in (score.value, score.low, score.high)}
    if not numbers <= {int, float, type(None)} or type(score.count) is not int or type(score.note) is not str:
        raise TypeError("a score is not of numbers")
    return score


def in_order(scores: Mapping[str, Score]) -> dict[str, Score]:
    """In the order of NUMBERS, the levels of SWD behind it."""
    order = {key: place for place, key in enumerate(NUMBERS)}
    return {
        key: scores[key] for key in sorted(scores, key=lambda key: order["swd" if key[:4] == "swd_" else key])
    }


def summarise(images: ImageScores, seed: int = 0) -> dict[str, Score]:
    """The mean over the images of each key, with its bootstrap interval. NaN means "no score" and is left out."""
    keys = list(dict.fromkeys(key for row in images.values() for key in row))
    return {key: _mean(np.array([row.get(key, math.nan) for row in images.values()]), seed) for key in keys}


def _mean(values: NDArray[np.float64], seed: int) -> Score:
    known = values[~np.isnan(values)]
    infinite = int(np.isinf(known).sum())
    if infinite:
        return Score(None, len(known), note=f"infinite: {infinite} images equal what they are compared with")
    if not len(known):
        return Score(None, 0, note="no image has a score")
    low, high = bootstrap_interval(known, seed)
    return Score(float(known.mean()), len(known), low, high)


def bootstrap_interval(values: NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """The 95% percentile bootstrap interval of the mean, by 1000 resamples (Efron 1979)."""
    generator = np.random.default_rng(seed)
    means = [values[generator.integers(0, len(values), len(values))].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


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
    return "B" if grew == (number_of(key).better == "higher") else "A"


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
