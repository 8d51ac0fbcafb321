"""Scores against the exact truth of procedural data: how good an image is, and how good a correspondence.

A correspondence is judged on a grid: the image is cut into h x w equal cells, numbered row by row, and
``match`` gives for every cell of the condition the cell of the exemplar that fits best. A cell's class is
its majority class, and what stands for the cell is one pixel of that class: the one nearest to the cell's
centre, so that a cell on an edge is not judged by a pixel of the neighbour. Pixel coordinates have integers
at pixel centres.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcltool.plugin.contract import Truth

Ints = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class MatchScores:
    """How good a correspondence is. A score over no cells at all is NaN.

    Counted are the cells whose source is visible in the exemplar and whose class is the majority in at
    least one cell of the exemplar.

    class_match: share of the foreground cells matched to a cell of their own class, in [0, 1].
    background_class_match: the same for background cells.
    match_error: mean over the same foreground cells of the distance between the cell's place and the place
        of the matched cell's centre, in units of the frames (shape radii for ``shapes``). The matched
        centre is looked at in the frame of every instance of the cell's class in the exemplar, and the
        nearest counts.
    cells, background_cells: how many cells the scores are means of.
    """

    class_match: float
    background_class_match: float
    match_error: float
    cells: int
    background_cells: int


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8], mask: NDArray[np.bool_] | None = None) -> float:
    """Peak signal-to-noise ratio in dB of two (H, W, 3) uint8 images over the pixels of ``mask`` (H, W).

    Infinite for equal images, NaN for an empty mask.
    """
    if a.shape != b.shape or a.dtype != np.uint8 or b.dtype != np.uint8:
        raise ValueError(f"expected uint8 images of one size: {a.dtype} {a.shape}, {b.dtype} {b.shape}")
    error = (a.astype(np.float64) - b) ** 2
    if mask is not None:
        error = error[mask]
    if not error.size:
        return float("nan")
    mean = float(error.mean())
    return 10 * float(np.log10(255**2 / mean)) if mean else float("inf")


def cell_classes(labels: NDArray[np.uint8], grid_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """(h, w) majority class of every cell of ``labels`` (H, W); a tie goes to the lowest class."""
    cells = _cells(labels, grid_hw)
    number, classes = len(cells), int(cells.max()) + 1
    codes = cells + classes * np.arange(number)[:, None]
    counts = np.bincount(codes.ravel(), minlength=number * classes).reshape(number, classes)
    return np.asarray(counts.argmax(1).astype(np.uint8).reshape(grid_hw))


def score_matches(truth: Truth, match: Ints, grid_hw: tuple[int, int]) -> MatchScores:
    """Score ``match`` (h*w,): the index of the best exemplar cell of every condition cell.

    Cells that do not count may be matched to anything, -1 included. Raises ValueError for a match of the
    wrong size, and for one outside the grid in a cell that counts.
    """
    h, w = grid_hw
    if match.shape != (h * w,):
        raise ValueError(f"expected one match for each of the {h * w} cells, got {match.shape}")
    classes = cell_classes(truth.labels, grid_hw).ravel()
    theirs = cell_classes(truth.exemplar_labels, grid_hw).ravel()
    rows, columns = _representatives(truth.labels, grid_hw)
    counted = truth.visible[rows, columns] & np.isin(classes, theirs)
    if ((match < 0) | (match >= h * w))[counted].any():
        raise ValueError("a cell that counts has a match outside the grid")
    same = classes == theirs[np.where(counted, match, 0)]
    front, back = counted & (classes != truth.background), counted & (classes == truth.background)
    places = truth.place[rows, columns]
    return MatchScores(
        class_match=_mean(same[front]),
        background_class_match=_mean(same[back]),
        match_error=_mean(_errors(truth, places[front], classes[front], match[front], grid_hw)),
        cells=int(front.sum()),
        background_cells=int(back.sum()),
    )


def true_matches(truth: Truth, grid_hw: tuple[int, int]) -> NDArray[np.int64]:
    """(h*w,) the exemplar cell that holds the true source of every condition cell, -1 where it is hidden."""
    height, width = truth.labels.shape
    h, w = grid_hw
    rows, columns = _representatives(truth.labels, grid_hw)
    x, y = np.nan_to_num(truth.source[rows, columns].astype(np.float64)).T
    column = np.clip(np.floor((x + 0.5) * w / width), 0, w - 1).astype(np.int64)
    row = np.clip(np.floor((y + 0.5) * h / height), 0, h - 1).astype(np.int64)
    return np.where(truth.visible[rows, columns], row * w + column, -1)


def warp_by_cells(exemplar: NDArray[np.uint8], match: Ints, grid_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """The image (H, W, 3) made of the cells of ``exemplar`` (H, W, 3) that ``match`` (h*w,) names.

    Cells are moved whole, neither turned nor scaled. Where the match is -1 the exemplar's own cell stays.
    """
    height, width, channels = exemplar.shape
    (h, w), (tall, wide) = grid_hw, _cell_size((height, width), grid_hw)
    cells = exemplar.reshape(h, tall, w, wide, channels).swapaxes(1, 2).reshape(h * w, tall, wide, channels)
    taken = cells[np.where(match < 0, np.arange(h * w), match)]
    return taken.reshape(h, w, tall, wide, channels).swapaxes(1, 2).reshape(exemplar.shape)


def warp_from_grid(truth: Truth, exemplar: NDArray[np.uint8], grid_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """What the exact correspondence makes of an exemplar that is known only as the mean colours of its cells.

    The cells' means, interpolated bilinearly, are looked up at the source of every pixel: the best that a
    warp of this grid gives before anything sharpens it, where ``warp_by_cells`` also pays for cells that
    are not turned. exemplar: (H, W, 3). Hidden pixels keep the exemplar's own.
    """
    height, width, channels = exemplar.shape
    (h, w), (tall, wide) = grid_hw, _cell_size((height, width), grid_hw)
    means = exemplar.reshape(h, tall, w, wide, channels).mean((1, 3))
    x, y = np.nan_to_num(truth.source.astype(np.float64)).transpose(2, 0, 1)
    column, row = np.clip((x + 0.5) / wide - 0.5, 0, w - 1), np.clip((y + 0.5) / tall - 0.5, 0, h - 1)
    left, top = np.floor(column).astype(np.int64), np.floor(row).astype(np.int64)
    right, low = np.minimum(left + 1, w - 1), np.minimum(top + 1, h - 1)
    along, down = (column - left)[..., None], (row - top)[..., None]
    upper = means[top, left] * (1 - along) + means[top, right] * along
    lower = means[low, left] * (1 - along) + means[low, right] * along
    warped = np.round(upper * (1 - down) + lower * down).astype(np.uint8)
    return np.where(truth.visible[..., None], warped, exemplar)


def _cell_size(size: tuple[int, ...], grid_hw: tuple[int, int]) -> tuple[int, int]:
    (height, width), (h, w) = size, grid_hw
    if height % h or width % w:
        raise ValueError(f"an image of {height} x {width} pixels cannot be cut into {h} x {w} equal cells")
    return height // h, width // w


def _cells(labels: NDArray[np.uint8], grid_hw: tuple[int, int]) -> NDArray[np.int64]:
    """(h*w, pixels of a cell) the labels of every cell, row by row."""
    (h, w), (tall, wide) = grid_hw, _cell_size(labels.shape, grid_hw)
    cells = labels.reshape(h, tall, w, wide).swapaxes(1, 2).reshape(h * w, tall * wide)
    return cells.astype(np.int64)


def _representatives(
    labels: NDArray[np.uint8], grid_hw: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns (h*w,) of the pixels that stand for the cells; of equally near ones the first."""
    (h, w), (tall, wide) = grid_hw, _cell_size(labels.shape, grid_hw)
    y, x = np.mgrid[:tall, :wide]
    away = ((y - (tall - 1) / 2) ** 2 + (x - (wide - 1) / 2) ** 2).ravel()
    major = _cells(labels, grid_hw) == cell_classes(labels, grid_hw).reshape(-1, 1)
    row, column = np.divmod(np.where(major, away, np.inf).argmin(1), wide)
    cell_row, cell_column = np.divmod(np.arange(h * w), w)
    return cell_row * tall + row, cell_column * wide + column


def _errors(
    truth: Truth,
    places: NDArray[np.float32],
    classes: NDArray[np.uint8],
    match: Ints,
    grid_hw: tuple[int, int],
) -> NDArray[np.float64]:
    """(cells,) distance of the places (cells, 2) from the matched cells' centres, in the classes' frames."""
    tall, wide = _cell_size(truth.labels.shape, grid_hw)
    row, column = np.divmod(match, grid_hw[1])
    centres = np.stack([(column + 0.5) * wide - 0.5, (row + 0.5) * tall - 0.5, np.ones(len(match))])
    nearest = np.full(len(match), np.inf)
    for label, frame in truth.frames:
        distance = np.hypot(*((frame.astype(np.float64) @ centres) - places.T))
        np.minimum(nearest, distance, out=nearest, where=classes == label)
    return nearest


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if values.size else float("nan")
