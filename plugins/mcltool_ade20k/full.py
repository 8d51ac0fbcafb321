"""The encoding of the full ADE20K (X_seg.png): the class is 256 (R // 10) + G, the instance B, and its 150 classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcltool import DataError

# The number in the full data set of each of the 150 classes, in their order, as convertFromADE of the benchmark's kit
# (http://sceneparsing.csail.mit.edu) has them. Three classes have two.
_NUMBERS = """
2978 312 2420 976 2855 447 2131 165 3055 1125 350 2377 1831 838 774,783 2684 1610 1910 687 471 401 2994 1735 2473 2329
1276 2264 1564 2178 913 57 2272 907 724 2138 2985,533 1395 155 2053 689 137 266 581 2380 491 627 2212 2388 2423 943
2096 1121 1788 2530 2185 420 1948 1869 2251 2531 2128 294 239 212 571 2793 978 236 1240 181 629 2598 1744 1374 591
2679 223 123 47 1282 327 2821 1451 2880 2828 480 77 2616 246,247 2733 14 738 38 1936 1401 120 868 1702 249 308 1969
2526 2928 2337 1023 609 389 2989 1930 2668 2586 131 146 3016 2739 95 1563 642 1708 103 1002 2569 2704 2833 1551 1981
29 187 1393 747 2254 206 2262 1260 2243 2932 2836 2850 64 894 1858 3109 1919 1583 318 2356 2046 1098 530 954
"""
_CLASSES = np.zeros(4096, np.uint8)
for _number, _entry in enumerate(_NUMBERS.split(), 1):
    _CLASSES[[int(n) for n in _entry.split(",")]] = _number


def decode(colours: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """The classes (H, W) of 150, 0 where a pixel has another of the full data set's; None for other colours (H, W, 3).

    Raises DataError where no pixel has one of the 150.
    """
    red = colours[..., 0]
    if (red % 10).any() or red.max() > 140:
        return None
    numbers = (red.astype(np.int16) // 10 << 8) + colours[..., 1]
    labels = np.asarray(_CLASSES[numbers])
    if not labels.any():
        some = ", ".join(map(str, np.unique(numbers)[:5]))
        raise DataError(f"none of its classes ({some}, as the full ADE20K counts) is one of the 150")
    return labels
