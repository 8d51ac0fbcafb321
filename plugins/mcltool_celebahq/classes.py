"""The parts of a face that CelebAMask-HQ has masks of, in its documented order behind "background"; and where they lie
in a face, which tells how a label map is numbered."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

# Names as in the files' names: eye_g glasses, ear_r earring (of either ear), neck_l necklace, u_lip and l_lip
# the upper and the lower lip: only eyes, brows and ears are left and right. Colours as RRGGBB.
_TABLE = """
background 20222e, skin f2c9ac, nose dc8f6e, eye_g 3f51b5, l_eye 00897b, r_eye 80deea, l_brow 5d4037,
r_brow a1887f, l_ear fb8c00, r_ear ffcc66, mouth 880e4f, u_lip e53935, l_lip f06292, hair 7e57c2, hat 42a5f5,
ear_r ffeb3b, neck_l c0ca33, neck c48fb0, cloth 66bb6a
"""
_PAIRS = (("l_eye", "r_eye"), ("l_brow", "r_brow"), ("l_ear", "r_ear"))

_ENTRIES = [entry.split() for entry in _TABLE.split(",")]
NAMES = tuple(name for name, _ in _ENTRIES)
PALETTE = tuple((int(code[:2], 16), int(code[2:4], 16), int(code[4:], 16)) for _, code in _ENTRIES)
PARTS = NAMES[1:]

BACK_TO_FRONT = (
    *("skin", "neck", "cloth", "l_ear", "r_ear", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow"),
    *("mouth", "u_lip", "l_lip", "hair", "hat", "neck_l", "ear_r"),
)
"""The order in which parts are painted over each other, where their masks overlap.

The face first, what is on it over it (eyes over glasses, which they are seen through), then hair and hat, and
jewellery, which is small and in front, last. The kit of the data set paints in the order of the classes
instead, which puts the neck over hair that falls on it, and cloth over a necklace.
"""

MIRROR = tuple((NAMES.index(left), NAMES.index(right)) for left, right in _PAIRS)
"""Classes that change places in a mirrored picture."""

_OTHERS = {
    "bisenet": "skin l_brow r_brow l_eye r_eye eye_g l_ear r_ear ear_r nose mouth u_lip l_lip neck neck_l "
    "cloth hair hat",
    "cocosnet": "skin hair l_brow r_brow l_eye r_eye l_ear r_ear nose u_lip mouth l_lip neck cloth hat eye_g "
    "ear_r neck_l",
}
NUMBERINGS: dict[str, dict[int, int]] = {
    order: {0: 0} | {number: NAMES.index(name) for number, name in enumerate(names.split(), 1)}
    for order, names in _OTHERS.items()
}
"""Class numbers of others: of the widely used face-parsing network, and of CoCosNet's all_parts_except_glasses."""

_ABOVE = """
l_brow l_eye, r_brow r_eye, l_eye nose, r_eye nose, nose u_lip, u_lip l_lip, nose mouth, l_lip neck, nose cloth,
hat nose, hair cloth
"""
"""Parts, the first above the second in any face that stands upright."""
_ABOVE_PAIRS = np.array([[NAMES.index(name) for name in pair.split()] for pair in _ABOVE.split(",")])
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
    first, second = rows[_ABOVE_PAIRS].T
    return int((first > second).sum()), int((first < second).sum())
