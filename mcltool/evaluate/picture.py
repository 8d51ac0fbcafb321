"""What can be said of a set of outputs without the right answers: do they show their conditions, in the exemplars'
colours, as sharp as photos? The measures are ratios to the photos themselves, so that 1 is what a photo has.

Images are (n, H, W, 3) float32 in [0, 1]; labels (n, H, W) int.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]
Labels = NDArray[np.int64]

SMALLEST_REGION = 30
"""Pixels of a class in one picture from which its mean colour counts."""
SIDE, DIRECTIONS, PLACES = 7, 128, 64
"""Of the patches: pixels a side, random directions they are compared along, patches of each image."""
BLUR = 8
"""Pixels a side of the means that the blur of ``patch`` keeps."""


@dataclass(frozen=True)
class Range:
    """The values that a measure has on good pictures; ``low`` and ``high`` are where it says nothing good any more."""

    low: float
    good_from: float
    good_to: float
    high: float

    def mark(self, value: float) -> float:
        """1 where ``value`` is good, falling linearly to 0 at ``low`` and ``high``."""
        below = (value - self.low) / (self.good_from - self.low) if value < self.good_from else 1.0
        above = (self.high - value) / (self.high - self.good_to) if value > self.good_to else 1.0
        return max(0.0, min(1.0, below, above))

    def verdict(self, value: float) -> str:
        """ "good", "low" or "high"."""
        return "low" if value < self.good_from else "high" if value > self.good_to else "good"


WANTED = {
    "vary": Range(0.0, 0.8, 1.2, 2.0),
    "layout": Range(0.0, 0.8, 1.3, 2.5),
    "style": Range(0.0, 0.7, 1.0, 2.0),
    "detail": Range(0.0, 0.7, 1.2, 2.0),
    "patch": Range(-1.0, 0.0, 0.4, 1.2),
}
"""What each measure should be. They were set on photos of people, faces, streets and garments (docs/photos.md)."""


def measure(
    outputs: Images,
    photos: Images,
    exemplars: Images,
    labels: Labels | None = None,
    exemplar_labels: Labels | None = None,
) -> dict[str, float]:
    """vary, layout, style, detail and patch of ``outputs``; ``layout`` only where there are labels.

    photos: the conditions' own. labels: of the conditions; exemplar_labels: of the exemplars. All have n >= 2 images
    of one size. Measures that have no meaning, as photos all alike, are left out.
    """
    found = {"vary": _ratio(variety(outputs), variety(photos))}
    if labels is not None:
        shares = [
            np.mean([explained(*pair) for pair in zip(X, labels, strict=True)]) for X in (outputs, photos)
        ]
        found["layout"] = _ratio(float(shares[0]), float(shares[1]))
    found["style"] = style(outputs, photos, exemplars, labels, exemplar_labels)
    found["detail"] = _ratio(gradient(outputs), gradient(photos))
    found["patch"] = _ratio(patch_distance(outputs, photos), patch_distance(blurred(photos), photos))
    return {name: value for name, value in found.items() if np.isfinite(value)}


def marked(scores: Mapping[str, float]) -> str:
    """Scores as one line, those of the picture with what is wrong: "vary 0.905  detail 0.470 (low)"."""
    parts = []
    for name, value in scores.items():
        verdict = WANTED[name].verdict(value) if name in WANTED else "good"
        parts.append(f"{name} {value:.3f}" + (f" ({verdict})" if verdict != "good" else ""))
    return "  ".join(parts)


def score(measures: dict[str, float]) -> float:
    """The geometric mean of the marks of what was measured, from 0 to 1: one bad measure spoils a picture."""
    marks = [WANTED[name].mark(value) for name, value in measures.items() if name in WANTED]
    return prod(marks) ** (1 / len(marks)) if marks else 0.0


def variety(images: Images) -> float:
    """Mean difference of each image to the one before it."""
    return float(np.abs(images - np.roll(images, 1, 0)).mean())


def class_means(image: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[int, NDArray[np.float32]]:
    """Mean colour of each class that has enough pixels."""
    classes, counts = np.unique(labels, return_counts=True)
    return {
        int(k): image[labels == k].mean(0)
        for k, n in zip(classes, counts, strict=True)
        if n >= SMALLEST_REGION
    }


def explained(image: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Share of the colours' variance that is between the classes."""
    mean = image.mean((0, 1))
    total = float(((image - mean) ** 2).sum())
    between = [(labels == k).sum() * ((m - mean) ** 2).sum() for k, m in class_means(image, labels).items()]
    return float(sum(between)) / max(total, 1e-9)


def style(
    outputs: Images, photos: Images, exemplars: Images, labels: Labels | None, exemplar_labels: Labels | None
) -> float:
    """Correlation over (image, class) of the class's mean colour in output and exemplar, less the photos' own mean.

    1: colours come from the exemplar. 0: they come from the class alone. Without labels an image is one class.
    """
    own = np.zeros(outputs.shape[:3], np.int64) if labels is None else labels
    others = np.zeros(exemplars.shape[:3], np.int64) if exemplar_labels is None else exemplar_labels
    usual: dict[int, list[NDArray[np.float32]]] = {}
    for photo, classes in zip(photos, own, strict=True):
        for k, mean in class_means(photo, classes).items():
            usual.setdefault(k, []).append(mean)
    centre = {k: np.mean(means, 0) for k, means in usual.items()}
    made, wanted = [], []
    for output, exemplar, classes, other in zip(outputs, exemplars, own, others, strict=True):
        a, b = class_means(output, classes), class_means(exemplar, other)
        for k in a.keys() & b.keys() & centre.keys():
            made.append(a[k] - centre[k])
            wanted.append(b[k] - centre[k])
    if not made or np.std(made) == 0 or np.std(wanted) == 0:
        return 0.0
    return float(np.corrcoef(np.ravel(made), np.ravel(wanted))[0, 1])


def gradient(images: Images) -> float:
    """Mean difference of neighbouring pixels, along both axes."""
    return float(np.abs(np.diff(images, axis=1)).mean() + np.abs(np.diff(images, axis=2)).mean())


def patch_distance(images: Images, photos: Images) -> float:
    """Sliced Wasserstein distance of the sets' patches, at random places that are the same in both."""
    directions = np.random.default_rng(0).normal(size=(SIDE * SIDE * 3, DIRECTIONS)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=0)
    projected = [np.sort(_patches(X) @ directions, 0) for X in (images, photos)]
    return float(np.abs(projected[0] - projected[1]).mean())


def blurred(images: Images) -> Images:
    """The means of BLUR x BLUR pixels, each repeated; what is left over at the edges is left out."""
    n, h, w, c = images.shape
    whole = images[:, : h // BLUR * BLUR, : w // BLUR * BLUR]
    means: Images = whole.reshape(n, h // BLUR, BLUR, w // BLUR, BLUR, c).mean((2, 4))
    return means.repeat(BLUR, 1).repeat(BLUR, 2)


def _patches(images: Images) -> NDArray[np.float32]:
    generator = np.random.default_rng(1)
    _, h, w, _ = images.shape
    found = []
    for image in images:
        places = generator.integers(0, (h - SIDE + 1, w - SIDE + 1), (PLACES, 2))
        found += [image[y : y + SIDE, x : x + SIDE].ravel() for y, x in places]
    return np.stack(found)


def _ratio(value: float, of_photos: float) -> float:
    return value / of_photos if of_photos > 0 else float("nan")
