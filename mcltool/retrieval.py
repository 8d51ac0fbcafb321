"""Exemplars for photos that have no other view: for each sample, those that are most like it.

Samples are described, by VGG-19's features of the photo or by mcltool.data.descriptors, and each one's nearest
neighbours are found exactly, block by block. Descriptors lie in a temporary file: memory does not grow with
the number of samples, but for the result.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from mcltool.data.batches import to_unit
from mcltool.data.contract import DatasetPlugin, Sample
from mcltool.data.descriptors import Task, descriptors_of, photos_of
from mcltool.data.workers import in_processes
from mcltool.errors import UsageError
from mcltool.feature_weights import load_vgg, vgg_file
from mcltool.model.vgg import VGGFeatures

Features = Literal["vgg", "plain"]
Floats = NDArray[np.float32]

BATCH = 64
"""Samples a task of a worker, and a pass of the network."""
VGG_LAYERS = ("relu4_2", "relu5_2")
BLOCK = 2048
"""Samples a side of a block of distances: 16 MiB."""


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
    features: "vgg" needs its weights (feature_weights.vgg_file). workers: processes that read; 0: this one.
    advance: told of samples done; each is done twice, described and compared. Raises DataError for a sample
    that cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="mcltool-pair-") as folder:
        described = _describe_all(plugin, samples, features, device, workers, Path(folder), advance)
        return nearest(described, top, device, advance)


def nearest(
    vectors: Floats, top: int, device: torch.device, advance: Callable[[int], None] = lambda count: None
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


def _on(block: Floats, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.array(block)).to(device)


def _describe_all(
    plugin: DatasetPlugin,
    samples: Sequence[Sample],
    features: Features,
    device: torch.device,
    workers: int,
    folder: Path,
    advance: Callable[[int], None],
) -> Floats:
    """(n, D), in a file in ``folder``."""
    tasks = [(first, samples[first : first + BATCH]) for first in range(0, len(samples), BATCH)]
    if features == "vgg":
        network = load_vgg(vgg_file()).to(device)
        photos = in_processes(partial(photos_of, plugin), tasks, workers)
        described: Iterator[tuple[Task, Floats]] = (
            (task, _vgg_vectors(network, found)) for task, found in photos
        )
    else:
        described = in_processes(partial(descriptors_of, plugin), tasks, workers)
    table: Floats | None = None
    for (first, some), vectors in described:
        if table is None:
            shape = (len(samples), vectors.shape[1])
            table = np.lib.format.open_memmap(folder / "features.npy", "w+", np.float32, shape)
        table[first : first + len(some)] = vectors
        advance(len(some))
    assert table is not None, "a data set has samples"
    return table


def _vgg_vectors(network: VGGFeatures, photos: NDArray[np.uint8]) -> Floats:
    """The mean of each layer's features over all positions, at unit length, side by side."""
    batch = to_unit(torch.from_numpy(photos).to(network.mean.device).permute(0, 3, 1, 2))
    with torch.inference_mode():
        means = [found.mean((2, 3)) for found in network(batch, VGG_LAYERS)]
        return torch.cat([F.normalize(mean) for mean in means], 1).float().cpu().numpy()
