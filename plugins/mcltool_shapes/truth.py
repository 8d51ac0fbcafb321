"""The exact answer for a condition and an exemplar: the image, and where every pixel of it comes from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcltool import Truth
from mcltool_shapes.scene import Raster, Scene, background_frame, rasterise
from mcltool_shapes.styles import Style

BACKGROUND = 0


def exact_truth(condition: Scene, exemplar: Scene, style: Style, side: int) -> Truth:
    """What ``condition`` looks like in the ``style`` of ``exemplar``, at ``side`` x ``side`` pixels.

    The source of a pixel is its own place in an instance of its class in the exemplar, where that instance is
    inside the image and on top there (at the pixel nearest to the exact position). Of several such
    instances the one nearest in the image counts. Background comes from the same position. Coordinates:
    integers at pixel centres.
    """
    here, there = rasterise(condition, side), rasterise(exemplar, side)
    source = _sources(here, there, exemplar, side)
    shown = np.unique(there.layer[there.layer >= 0]).tolist()
    frames = [(BACKGROUND, background_frame(side))]
    frames += [(exemplar[i].label, exemplar[i].to_frame(side)) for i in shown]
    return Truth(
        image=style.paint(here.labels, here.place),
        labels=here.labels.copy(),
        exemplar_labels=there.labels.copy(),
        background=BACKGROUND,
        visible=~np.isnan(source[..., 0]),
        source=source,
        place=np.ascontiguousarray(here.place.transpose(1, 2, 0)),
        frames=tuple((label, frame.astype(np.float32)) for label, frame in frames),
    )


def _sources(here: Raster, there: Raster, exemplar: Scene, side: int) -> NDArray[np.float32]:
    """(S, S, 2) x, y in the exemplar of every pixel of ``here``, NaN where hidden."""
    source = np.full((side, side, 2), np.nan, np.float32)
    nearest = np.full((side, side), np.inf)
    for index, shape in enumerate(exemplar):
        rows, columns = np.nonzero(here.labels == shape.label)
        m = shape.from_frame(side)
        x, y = m[:, :2] @ here.place[:, rows, columns] + m[:, 2:]
        distance = (x - columns) ** 2 + (y - rows) ** 2
        better = _shows(there.layer, index, x, y) & (distance < nearest[rows, columns])
        rows, columns = rows[better], columns[better]
        nearest[rows, columns] = distance[better]
        source[rows, columns, 0], source[rows, columns, 1] = x[better], y[better]
    rows, columns = np.nonzero((here.labels == BACKGROUND) & (there.labels == BACKGROUND))
    source[rows, columns, 0], source[rows, columns, 1] = columns, rows
    return source


def _shows(
    layer: NDArray[np.int8], index: int, x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether instance ``index`` is what ``layer`` shows at the pixels nearest to (x, y)."""
    column, row = np.floor(x + 0.5).astype(np.int64), np.floor(y + 0.5).astype(np.int64)
    height, width = layer.shape
    within = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    shown = layer[row.clip(0, height - 1), column.clip(0, width - 1)]
    return np.asarray(within & (shown == index))
