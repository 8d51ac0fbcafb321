"""How large outputs are made, and at what size the network works on them. Sizes are (height, width) in pixels."""

from __future__ import annotations

from mcltool.core.errors import DataError
from mcltool.data.geometry import Size

MULTIPLE = 32
"""Sides that the network takes are multiples of this."""
MAX_ASPECT = 8.0
"""Longer pictures are refused: memory grows with the long side, and they are rarely meant."""
MAX_SHORT_SIDE = 2048
"""Larger short sides are refused: work grows with the square of the pixels."""


def output_size(size: Size, short_side: int) -> Size:
    """``size`` scaled to the short side ``short_side``, the long side rounded to whole pixels.

    Raises DataError for a side of 0, an aspect above MAX_ASPECT or a short side above MAX_SHORT_SIDE.
    """
    height, width = size
    if min(size) < 1 or max(size) > MAX_ASPECT * min(size):
        raise DataError(f"{width} x {height} pixels: expected at most {MAX_ASPECT:g} times as long as wide")
    if short_side > MAX_SHORT_SIDE:
        raise DataError(
            f"would be made {short_side} pixels on its short side; --size takes up to {MAX_SHORT_SIDE}"
        )
    long_side = round(short_side * max(size) / min(size))
    return (short_side, long_side) if height <= width else (long_side, short_side)


def network_size(size: Size, short_side: int) -> Size:
    """As ``output_size``, each side rounded to a multiple of 32: the aspect is kept within 16 pixels."""
    height, width = output_size(size, short_side)
    return _to_multiple(height), _to_multiple(width)


def _to_multiple(side: int) -> int:
    return max(1, round(side / MULTIPLE)) * MULTIPLE
