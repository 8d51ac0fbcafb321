"""What a sample looks like, in numbers that need no trained network: which samples are alike is their distance.

Everything is seen at SIDE x SIDE pixels, stretched. Four parts, each with a distance of about 0 to 1.5: how much
there is of each class (or channel), where it is, which colours the photo has, and where they are. Shares enter
as their square roots, so that their Euclidean distance is Hellinger's, in which what is rare counts as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mcltool.data.contract import DatasetPlugin, Sample
from mcltool.data.resize import resize_condition, resize_photo
from mcltool.data.views import read_view, rendered

Vector = NDArray[np.float32]

SIDE = 64
VGG_SIDE = 128
CELLS = 8
"""Cells a side of the grid that says where things are."""
PLACES = 256
"""Numbers that "where" takes at most; more are projected at random, which keeps distances to about 5%."""
COLOUR_BINS = 4
"""A side, of the histogram of colours."""
_CONTRAST = 128.0
"""A distance in Lab (8-bit, about Euclidean to the eye) that counts as 1."""


def describe(plugin: DatasetPlugin, sample: Sample) -> Vector:
    """The descriptor of a sample, (D,) float32, D the same for all samples of a data set.

    Raises DataError for what cannot be read.
    """
    photo, condition = read_view(plugin, sample, SIDE)
    planes = rendered(plugin, resize_condition(condition, (SIDE, SIDE)))
    shares = _cell_means(_one_hot(planes, plugin.spec.channels))
    whole = _roots(shares.mean(0))
    where = _projected(_roots(shares / CELLS**2).ravel())
    lab = cv2.cvtColor(resize_photo(photo, (SIDE, SIDE)), cv2.COLOR_RGB2LAB)
    bins = [COLOUR_BINS] * 3
    found = cv2.calcHist([lab], [0, 1, 2], None, bins, [0, 256] * 3).ravel()
    colours = _roots(found / found.sum())
    places = _cell_means(lab.astype(np.float32)).ravel() / (CELLS * _CONTRAST)
    return np.concatenate([whole, where, colours, places]).astype(np.float32)


Task = tuple[int, Sequence[Sample]]
"""A piece of work for a process: the number of the first sample, and the samples."""


def descriptors_of(plugin: DatasetPlugin, task: Task) -> Vector:
    """(b, D) float32."""
    return np.stack([describe(plugin, sample) for sample in task[1]])


def photos_of(plugin: DatasetPlugin, task: Task) -> NDArray[np.uint8]:
    """(b, VGG_SIDE, VGG_SIDE, 3) uint8, stretched: what a network describes instead."""
    photos = (plugin.photo(sample, VGG_SIDE) for sample in task[1])
    return np.stack([resize_photo(photo, (VGG_SIDE, VGG_SIDE)) for photo in photos])


def _one_hot(planes: NDArray[Any], channels: int) -> NDArray[np.float32]:
    """(SIDE, SIDE, K) float32 of rendered labels or channels."""
    if planes.ndim == 3:
        return np.asarray(planes, np.float32)
    return np.asarray(np.eye(channels, dtype=np.float32)[planes])


def _cell_means(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(SIDE, SIDE, K) -> (CELLS * CELLS, K)."""
    size = SIDE // CELLS
    cells = planes.reshape(CELLS, size, CELLS, size, -1).mean((1, 3))
    return np.asarray(cells.reshape(CELLS * CELLS, -1))


def _roots(shares: NDArray[Any]) -> Vector:
    return np.asarray(np.sqrt(shares), np.float32)


def _projected(vector: Vector) -> Vector:
    return vector if len(vector) <= PLACES else np.asarray(vector @ _signs(len(vector)))


@cache
def _signs(length: int) -> NDArray[np.float32]:
    """(length, PLACES): +1 or -1, fixed, scaled to keep lengths (Achlioptas 2003)."""
    drawn = np.random.default_rng(0).integers(0, 2, (length, PLACES))
    return np.asarray((2 * drawn - 1) / np.sqrt(PLACES), np.float32)
