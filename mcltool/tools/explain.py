"""``mcltool explain``: one picture of what the model sees in a condition and an exemplar, and what it makes of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcltool.core.device import pick_device
from mcltool.core.errors import DataError, UsageError
from mcltool.core.images import read_photo
from mcltool.core.pictures import Picture, save_png
from mcltool.core.pixels import to_unit
from mcltool.core.weights import load_model
from mcltool.data.batch import condition_planes
from mcltool.model.correspondence import STRIDE
from mcltool.model.network import MCLNet
from mcltool.plugin.contract import Condition, ConditionSpec, DatasetPlugin
from mcltool.tools.explain_view import Spot, View, describe, draw, look
from mcltool.translate.job import plugin_of
from mcltool.translate.reader import (
    files_of,
    network_size,
    prepare_condition,
    prepare_photo,
    read_condition,
)

log = logging.getLogger(__name__)

SPOTS = 5
"""Positions that are looked at where none are asked for."""

Size = tuple[int, int]
Map = NDArray[np.floating[Any]]


def explain(
    condition: Path,
    exemplar: Path,
    out: Path,
    weights: Path,
    at: Sequence[tuple[int, int]] = (),
    part: str = "",
    device: str | None = None,
    canvas: Size | None = None,
    labels: str = "",
) -> list[Spot]:
    """Write the picture ``out`` (.png) and return the positions it looks at. Everything is computed in float32.

    at: x, y in pixels of the condition; without any, a few spread over its classes. part: which condition,
    where the file holds several (as in ConditionFiles); empty: the first. canvas, labels: see registry.

    Raises UsageError or DataError, naming what does not fit, before anything is written.
    """
    _check_out(out, condition, exemplar)
    plugin = plugin_of(weights, canvas, labels)
    net, header = load_model(weights, pick_device(device))
    read = read_one(plugin, condition, part)
    photo = read_photo(exemplar, min(header.size))
    view = _run(net, plugin, (condition, read), (exemplar, photo), min(header.size))
    positions = [_position(x, y, read.size, view.grid) for x, y in at]
    positions = positions or spread_positions(view.planes, plugin.spec, SPOTS)
    photo_size = read_photo(exemplar).shape[:2]  # above it may have been decoded at a reduced size
    spots = [describe(view, plugin.spec, position, read.size, photo_size) for position in positions]
    save_png(out, draw(view, plugin.spec, positions, spots))
    return spots


def spread_positions(planes_KHW: Tensor, spec: ConditionSpec, count: int) -> list[int]:
    """``count`` positions far from one another, first one in the middle of each of the main classes or channels."""
    shares = torch.nn.functional.avg_pool2d(planes_KHW[None].cpu(), STRIDE)[0].numpy()
    width = shares.shape[2]
    known = [k for k in range(spec.channels) if k != spec.unknown and shares[k].any()]
    largest = sorted(known, key=lambda k: -float(shares[k].sum()))[: 2 * count]
    if spec.kind == "labels":
        classes = shares.argmax(0)
        depths = [_depth(classes == k) for k in largest]
        centres = [int(depth.argmax()) for depth in depths if depth.any()]
        filled = np.flatnonzero(np.isin(classes, known))
    else:
        centres = [int(shares[k].argmax()) for k in largest]
        filled = np.flatnonzero(shares.max(0))
    chosen: list[int] = centres[:1]
    for candidates in (centres, [int(cell) for cell in filled], list(range(shares[0].size))):
        while len(chosen) < count and set(candidates) - set(chosen):
            chosen.append(_farthest(candidates, chosen, width))
    return chosen


def _farthest(candidates: Sequence[int], chosen: Sequence[int], width: int) -> int:
    """The candidate whose nearest chosen position is farthest away."""
    if not chosen:
        return candidates[len(candidates) // 2]
    y, x = np.divmod(np.asarray(candidates), width)
    v, u = np.divmod(np.asarray(chosen), width)
    distance = np.hypot(y[:, None] - v, x[:, None] - u).min(1)
    return int(candidates[int(distance.argmax())])


def _depth(inside: NDArray[np.bool_]) -> Map:
    """Distance of every cell from the outside of its region; the picture's edge is outside."""
    padded = np.pad(inside.astype(np.uint8), 1)
    return np.asarray(cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1], np.float32)


def _check_out(out: Path, condition: Path, exemplar: Path) -> None:
    if out.suffix.lower() != ".png" or out.is_dir():
        raise UsageError(f"{out}: expected the name of a .png file to write")
    for path in (condition, exemplar):
        if not path.exists():
            raise UsageError(f"{path}: no such file")
        if out.exists() and out.samefile(path):
            raise UsageError(f"{out}: is one of the inputs; choose another name")


def read_one(plugin: DatasetPlugin, path: Path, part: str) -> Condition:
    """The condition that ``path`` is one of the files of. What makes it look wrong is logged."""
    found = files_of(plugin, path, part)
    read = read_condition(plugin, found.files, found.part)
    if doubt := plugin.doubt(read):
        log.warning("doubtful: %s", doubt)
    return read


def _position(x: int, y: int, size: Size, grid: Size) -> int:
    """The number of the position that holds pixel x, y of a condition of ``size``."""
    height, width = size
    if not (0 <= x < width and 0 <= y < height):
        raise UsageError(f"--at {x},{y}: outside the condition, which is {width} x {height} pixels")
    return int((y + 0.5) * grid[0] / height) * grid[1] + int((x + 0.5) * grid[1] / width)


def _run(
    net: MCLNet,
    plugin: DatasetPlugin,
    condition: tuple[Path, Condition],
    exemplar: tuple[Path, Picture],
    short_side: int,
) -> View:
    device = next(net.parameters()).device
    path = condition[0]
    try:
        size = network_size(condition[1].size, short_side)
        planes = torch.from_numpy(prepare_condition(plugin, condition[1], size))[None]
        X = condition_planes(planes.to(device), plugin.spec)
        path = exemplar[0]
        photo = torch.tensor(prepare_photo(exemplar[1], short_side)).permute(2, 0, 1)[None]
        Z = to_unit(photo.to(device))
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return look(net, X, Z)
