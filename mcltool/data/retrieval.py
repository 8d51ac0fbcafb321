"""Exemplars for photos that have no other view: for each sample, those that are most like it.

Samples are described, by VGG-19's features of the photo or by plain descriptors, and each one's nearest
neighbours are found exactly, block by block. Descriptors lie in a temporary file: memory does not grow with
the number of samples, but for the result.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from mcltool.core.errors import UsageError
from mcltool.core.files import reserve
from mcltool.core.pixels import Photo, resize_photo, to_unit
from mcltool.core.pretrained import load_vgg, vgg_file
from mcltool.data.reading import read_view
from mcltool.data.workers import in_processes
from mcltool.model.vgg import VGGFeatures
from mcltool.plugin.contract import Condition, DatasetPlugin, Sample, rendered

Vector = NDArray[np.float32]
"""(D,) of a sample, or (n, D)."""

SIDE = 64
VGG_SIDE = 128
CELLS = 8
"""Cells a side of the grid that says where things are."""
PLACES = 256
"""Most numbers that describe where things are; more are projected at random, which keeps distances to about 5%."""
COLOUR_BINS = 4
"""Bins a side of the colour histogram."""
_CONTRAST = 128.0
"""A distance in Lab (8-bit, about Euclidean to the eye) that counts as 1."""
Features = Literal["vgg", "plain"]
BATCH = 64
"""Samples that a worker reads, and the network describes, at once."""
VGG_LAYERS = ("relu4_2", "relu5_2")
BLOCK = 2048
"""Samples a side of a block of distances: 16 MiB."""


def describe(plugin: DatasetPlugin, sample: Sample) -> Vector:
    """The descriptor of a sample, (D,) float32, D the same for all samples of a data set.

    Raises DataError for what cannot be read.
    """
    return describe_view(plugin, *read_view(plugin, sample, SIDE))


def describe_view(plugin: DatasetPlugin, photo: Photo, condition: Condition) -> Vector:
    """As ``describe``, of what was read."""
    planes = rendered(plugin, condition.resized((SIDE, SIDE)))
    if planes.ndim == 2:
        planes = np.eye(plugin.spec.channels, dtype=np.float32)[planes]
    shares = _cell_means(planes)
    whole, where = _roots(shares.mean(0)), _roots(shares / CELLS**2).ravel()
    if len(where) > PLACES:
        where = where @ _signs(len(where))
    lab = cv2.cvtColor(resize_photo(photo, (SIDE, SIDE)), cv2.COLOR_RGB2LAB)
    bins = [COLOUR_BINS] * 3
    found = cv2.calcHist([lab], [0, 1, 2], None, bins, [0, 256] * 3).ravel()
    colours = _roots(found / found.sum())
    places = _cell_means(lab.astype(np.float32)).ravel() / (CELLS * _CONTRAST)
    return np.concatenate([whole, where, colours, places]).astype(np.float32)


def descriptors_of(plugin: DatasetPlugin, samples: Sequence[Sample]) -> Vector:
    """(b, D) float32."""
    return np.stack([describe(plugin, sample) for sample in samples])


def photos_of(plugin: DatasetPlugin, samples: Sequence[Sample]) -> NDArray[np.uint8]:
    """(b, VGG_SIDE, VGG_SIDE, 3) uint8, stretched: what a network describes instead."""
    photos = (plugin.photo(sample, VGG_SIDE) for sample in samples)
    return np.stack([resize_photo(photo, (VGG_SIDE, VGG_SIDE)) for photo in photos])


def _cell_means(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(SIDE, SIDE, K) -> (CELLS * CELLS, K)."""
    size = SIDE // CELLS
    cells = planes.reshape(CELLS, size, CELLS, size, -1).mean((1, 3))
    return np.asarray(cells.reshape(CELLS * CELLS, -1))


def _roots(shares: NDArray[Any]) -> Vector:
    return np.asarray(np.sqrt(shares), np.float32)


@cache
def _signs(length: int) -> NDArray[np.float32]:
    """(length, PLACES): +1 or -1, fixed, scaled to keep lengths (Achlioptas 2003)."""
    drawn = np.random.default_rng(0).integers(0, 2, (length, PLACES))
    return np.asarray((2 * drawn - 1) / np.sqrt(PLACES), np.float32)


def pick_features(name: str) -> Features:
    """Resolve "auto": "vgg" where its weights are there, else "plain".

    Raises UsageError where "vgg" is asked for and they are not.
    """
    there = vgg_file().exists()
    if name == "vgg" and not there:
        way_out = "get them with 'mcltool weights get vgg19', or choose --features plain"
        raise UsageError(f"{vgg_file()}: the VGG-19 weights are missing; {way_out}")
    return "vgg" if there and name != "plain" else "plain"


def retrieve(
    plugin: DatasetPlugin,
    samples: Sequence[Sample],
    top: int,
    features: Features,
    device: torch.device,
    workers: int,
    advance: Callable[[int], None] = lambda count: None,
) -> NDArray[np.int32]:
    """For each sample the numbers of the ``top`` samples most like it but itself, the nearest first: (n, top).

    Where there are fewer others, -1 stands for none.
    features: "vgg" needs its weights (pretrained.vgg_file). workers: processes that read; 0: this one.
    advance: told of samples done; each is done twice, described and compared. Raises DataError for a sample
    that cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="mcltool-pair-") as folder:
        described = _describe_all(plugin, samples, features, device, workers, Path(folder), advance)
        return nearest(described, top, device, advance)


def nearest(
    vectors: Vector, top: int, device: torch.device, advance: Callable[[int], None] = lambda count: None
) -> NDArray[np.int32]:
    """Numbers of the ``top`` nearest others of each of ``vectors`` (n, D) by Euclidean distance: (n, top)."""
    count, kept = len(vectors), min(top, len(vectors) - 1)
    result = np.full((count, top), -1, np.int32)
    for first in range(0, count, BLOCK):
        queries = _on(vectors[first : first + BLOCK], device)
        best, found = queries.new_empty(len(queries), 0), queries.new_empty(len(queries), 0).long()
        for start in range(0, count, BLOCK):
            keys = _on(vectors[start : start + BLOCK], device)
            # |a - b|^2 without |a|^2, which is the same for all b; the products in fp32 even on a GPU
            distance = keys.square().sum(1) - 2 * (queries @ keys.T)
            if start == first:
                distance.fill_diagonal_(torch.inf)
            numbers = torch.arange(start, start + len(keys), device=device).expand(len(queries), -1)
            best, found = torch.cat([best, distance], 1), torch.cat([found, numbers], 1)
            best, place = best.topk(min(kept, best.shape[1]), largest=False)
            found = found.gather(1, place)
        result[first : first + len(queries), :kept] = found.cpu().numpy()
        advance(len(queries))
    return result


def _on(block: Vector, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.array(block)).to(device)


def _describe_all(
    plugin: DatasetPlugin,
    samples: Sequence[Sample],
    features: Features,
    device: torch.device,
    workers: int,
    folder: Path,
    advance: Callable[[int], None],
) -> Vector:
    """(n, D), in a file in ``folder``."""
    tasks = [samples[first : first + BATCH] for first in range(0, len(samples), BATCH)]
    described: Iterator[Vector]
    if features == "vgg":
        network = load_vgg(vgg_file()).to(device)
        photos = in_processes(partial(photos_of, plugin), tasks, workers)
        described = (_vgg_vectors(network, found) for found in photos)
    else:
        described = in_processes(partial(descriptors_of, plugin), tasks, workers)
    first = next(described)  # a data set has samples
    path, shape = folder / "features", (len(samples), first.shape[1])
    reserve(path, 4 * shape[0] * shape[1])
    table, done = np.memmap(path, np.float32, "r+", shape=shape), 0
    for vectors in chain([first], described):
        table[done : done + len(vectors)] = vectors
        done += len(vectors)
        advance(len(vectors))
    return table


def _vgg_vectors(network: VGGFeatures, photos: NDArray[np.uint8]) -> Vector:
    """The mean of each layer's features over all positions, at unit length, side by side."""
    batch = to_unit(torch.from_numpy(photos).to(network.mean.device).permute(0, 3, 1, 2))
    with torch.inference_mode():
        means = [found.mean((2, 3)) for found in network(batch, VGG_LAYERS)]
        return torch.cat([F.normalize(mean) for mean in means], 1).float().cpu().numpy()
