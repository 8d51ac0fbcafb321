"""Sliced Wasserstein distance of two sets of images over Laplacian pyramids.

As Karras et al. define it (arXiv 1710.10196, section 5): up to 16384 images a set; of each level of an image's
pyramid 128 patches of 7 x 7 x 3 numbers, at random places. Per level, each set is normalised by the mean and
deviation of its own colour channels; the distance is the mean over 512 random directions of the Wasserstein-1
distance between the projections, which sorting gives exactly.

The sets' patches lie in temporary files, so that memory does not grow with the number of images.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from itertools import pairwise
from typing import IO, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mcltool.core.errors import UsageError

Floats = NDArray[np.float32]

MOST_IMAGES = 16384
PATCHES = 128
"""Patches of each level of each image."""
SIDE = 7
DIRECTIONS = 512
SMALLEST = 16
"""Short side in pixels of the coarsest level, at least."""
NUMBERS = SIDE * SIDE * 3
STEPS = 128
"""Steps of stored values in a grey level; the distance does not depend on the unit."""

_BUDGET = 32 << 20
"""Bytes of projections of one set that are in memory at a time."""
_CHUNK = 16384
"""Patches that are projected at a time."""


def laplacian_pyramid(image_HW3: Floats) -> list[Floats]:
    """Levels from fine to coarse, each half as large as the one before, rounded up; they sum up to the image.

    Each but the last is what its level loses when it is halved (5 x 5 binomial filter, Burt and Adelson 1983) and
    doubled again; the last is the halved image itself, its short side from 16 to 31 pixels.
    """
    levels = [image_HW3]
    while (min(levels[-1].shape[:2]) + 1) // 2 >= SMALLEST:
        levels.append(np.asarray(cv2.pyrDown(levels[-1]), np.float32))
    details = [
        np.asarray(fine - cv2.pyrUp(coarse, dstsize=fine.shape[1::-1]), np.float32)
        for fine, coarse in pairwise(levels)
    ]
    return [*details, levels[-1]]


class PatchSet:
    """The patches of one level of a set of images. Holds a temporary file; ``close`` when done."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)
        self.count = 0
        self._sum, self._squares = np.zeros(3), np.zeros(3)

    def add(self, patches_P773: Floats) -> None:
        """Values from -255 to 255, which are kept to 1/128: half the disk of floats."""
        stored = np.rint(patches_P773 * STEPS).astype(np.int16)
        self._file.write(stored.tobytes())
        values = stored.reshape(-1, 3).astype(np.float64)
        self._sum += values.sum(0)
        self._squares += (values**2).sum(0)
        self.count += len(stored)

    def projected(self, directions_DK: Floats) -> Floats:
        """(D, count) projections of the normalised patches."""
        pixels = self.count * SIDE * SIDE
        mean = self._sum / pixels
        deviation = np.sqrt(np.maximum(self._squares / pixels - mean**2, 0))
        deviation[deviation == 0] = 1  # a set of one colour: all its patches are 0
        shift, scale = (np.tile(v, SIDE * SIDE).astype(np.float32) for v in (mean, 1 / deviation))
        projections = np.empty((len(directions_DK), self.count), np.float32)
        self._file.seek(0)
        for start in range(0, self.count, _CHUNK):
            raw = self._file.read(2 * NUMBERS * min(_CHUNK, self.count - start))
            chunk = np.frombuffer(raw, np.int16).reshape(-1, NUMBERS).astype(np.float32)
            projections[:, start : start + len(chunk)] = directions_DK @ ((chunk - shift) * scale).T
        return projections

    def close(self) -> None:
        self._file.close()


class PyramidPatches:
    """The patches of all levels of a set of images of one size (H, W). Raises UsageError below 16 pixels.

    seed: decides where the patches lie. Images of the same number in two sets have them in the same places, so
    that equal sets are at distance 0 and pairs are compared place by place.
    """

    def __init__(self, size: tuple[int, int], seed: int = 0) -> None:
        if min(size) < SMALLEST:
            raise UsageError(
                f"needs images of at least {SMALLEST} x {SMALLEST} pixels, not {size[1]} x {size[0]}"
            )
        self.size, self.seed, self._images = size, seed, 0
        shapes = [level.shape for level in laplacian_pyramid(np.zeros((*size, 3), np.float32))]
        self.short_sides = [min(shape[:2]) for shape in shapes]
        self.levels = [PatchSet() for _ in shapes]

    def add(self, image_HW3: NDArray[np.uint8]) -> None:
        """Take the next image of the set. Raises ValueError for another size."""
        if image_HW3.shape != (*self.size, 3):
            raise ValueError(f"expected an image of {self.size}, got {image_HW3.shape}")
        generator = np.random.default_rng([self.seed, self._images])
        self._images += 1
        offsets = np.arange(SIDE)
        for patches, level in zip(self.levels, laplacian_pyramid(image_HW3.astype(np.float32)), strict=True):
            height, width = level.shape[:2]
            rows = generator.integers(0, height - SIDE + 1, PATCHES)[:, None, None] + offsets[:, None]
            columns = generator.integers(0, width - SIDE + 1, PATCHES)[:, None, None] + offsets
            patches.add(level[rows, columns])

    def close(self) -> None:
        for level in self.levels:
            level.close()


def random_directions(count: int, numbers: int, seed: int) -> Floats:
    """(count, numbers) directions, even over the sphere."""
    directions = np.random.default_rng(seed).standard_normal((count, numbers))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return directions.astype(np.float32)


def sliced_wasserstein(a: PatchSet, b: PatchSet, directions_DK: Floats) -> float:
    """Mean over the directions of the Wasserstein-1 distance of the projections of two sets of one count."""
    if a.count != b.count:
        raise ValueError(f"expected as many patches in both sets: {a.count} and {b.count}")
    block = max(1, _BUDGET // (4 * a.count))
    total = 0.0
    for start in range(0, len(directions_DK), block):
        both = [patches.projected(directions_DK[start : start + block]) for patches in (a, b)]
        for projections in both:
            projections.sort(axis=1)
        total += float(np.abs(both[0] - both[1]).mean(1, dtype=np.float64).sum())
    return total / len(directions_DK)


def pyramid_distances(a: PyramidPatches, b: PyramidPatches) -> dict[int, float]:
    """Distance x 1000, as it is printed in papers, of every level by its short side in pixels, fine to coarse."""
    directions = random_directions(DIRECTIONS, NUMBERS, a.seed)
    return {
        side: 1000 * sliced_wasserstein(ours, theirs, directions)
        for side, ours, theirs in zip(a.short_sides, a.levels, b.levels, strict=True)
    }


def chosen_images(counts: Sequence[int], seed: int = 0) -> list[NDArray[Any]]:
    """For each of the sets, of ``counts`` images, which are looked at: as many of each, at most 16384, in order.

    Sets of one count give the same numbers.
    """
    most = min(MOST_IMAGES, *counts)
    return [np.sort(np.random.default_rng(seed).permutation(count)[:most]) for count in counts]
