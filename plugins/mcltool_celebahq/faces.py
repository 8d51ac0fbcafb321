"""Where the parts of a face lie, which tells how a label map is numbered."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mcltool_celebahq.classes import NAMES, NUMBERINGS

_ABOVE = (
    *(("l_brow", "l_eye"), ("r_brow", "r_eye"), ("l_eye", "nose"), ("r_eye", "nose"), ("nose", "u_lip")),
    *(
        ("u_lip", "l_lip"),
        ("nose", "mouth"),
        ("l_lip", "neck"),
        ("nose", "cloth"),
        ("hat", "nose"),
        ("hair", "cloth"),
    ),
)
"""Parts, the first above the second in any face that stands upright."""
_PAIRS = np.array([[NAMES.index(name) for name in pair] for pair in _ABOVE])
_ORDERS: dict[str, Mapping[int, int]] = {"standard": {n: n for n in range(len(NAMES))}, **NUMBERINGS}
SIDE = 64
"""Rows and columns that are looked at."""


def doubt_of(labels: NDArray[np.uint8], numbering: str) -> str:
    """What to doubt of labels (H, W) as read in ``numbering`` ("": the data set's own, if nobody said so), or ""."""
    if numbering == "standard" or (better := better_numbering(labels, numbering or "standard")) is None:
        return ""
    way_out = f"numbered as {better}? --labels {better}" if better else "--labels names another numbering"
    return f"parts of the face lie where no face has them; {way_out} (--labels standard: they are right)"


def better_numbering(labels: NDArray[np.uint8], numbering: str) -> str | None:
    """Whether parts lie where no face has them: None where they do not, else the numbering in which they fit, or "".

    labels: (H, W) classes, as read in ``numbering``.
    """
    height = rows_of(labels)
    if _judged(height)[0] < 2:
        return None
    number_of = {label: number for number, label in _ORDERS[numbering].items()}
    scores = {}
    for name, class_of in _ORDERS.items():
        again = np.full(len(NAMES), np.nan)
        for label, row in enumerate(height):
            again[class_of[number_of[label]]] = row
        scores[name] = _judged(again)
    best = max(scores, key=lambda name: scores[name][1] - 2 * scores[name][0])
    return best if best != numbering and 2 * scores[best][0] < scores[numbering][0] else ""


def rows_of(labels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The mean row of each class, NaN where it is not there."""
    small = labels[:: max(1, labels.shape[0] // SIDE), :: max(1, labels.shape[1] // SIDE)]
    counts = np.stack([(small == label).sum(1) for label in range(len(NAMES))])
    with np.errstate(invalid="ignore"):
        return np.asarray((counts * np.arange(len(small))).sum(1) / counts.sum(1))


def _judged(rows: NDArray[np.float64]) -> tuple[int, int]:
    """How many pairs lie the other way round, and how many as they should."""
    first, second = rows[_PAIRS].T
    return int((first > second).sum()), int((first < second).sum())
