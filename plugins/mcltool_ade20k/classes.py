"""The 150 classes of the scene parsing benchmark, behind "unknown", the colours they usually have, and their numbers in
the full ADE20K."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcltool import DataError

# Order and names (the first of each) as in objectInfo150.txt of the benchmark's kit, colours as RRGGBB.
# Road and skyscraper share 8c8c8c: a colour-coded mask of either reads as road.
_TABLE = """
unknown 000000, wall 787878, building b47878, sky 06e6e6, floor 503232, tree 04c803, ceiling 787850,
road 8c8c8c, bed cc05ff, windowpane e6e6e6, grass 04fa07, cabinet e005ff, sidewalk ebff07,
person 96053d, earth 787846, door 08ff33, table ff0652, mountain 8fff8c, plant ccff04, curtain ff3307,
chair cc4603, car 0066c8, water 3de6fa, painting ff0633, sofa 0b66ff, shelf ff0747, house ff09e0,
sea 0907e6, mirror dcdcdc, rug ff095c, field 7009ff, armchair 08ffd6, seat 07ffe0, fence ffb806,
desk 0aff47, rock ff290a, wardrobe 07ffff, lamp e0ff08, bathtub 6608ff, railing ff3d06, cushion ffc207,
base ff7a08, box 00ff14, column ff0829, signboard ff0599, chest of drawers 0633ff, counter eb0cff,
sand a09614, sink 00a3ff, skyscraper 8c8c8c, fireplace fa0a0f, refrigerator 14ff00, grandstand 1fff00,
path ff1f00, stairs ffe000, runway 99ff00, case 0000ff, pool table ff4700, pillow 00ebff,
screen door 00adff, stairway 1f00ff, river 0bc8c8, bridge ff5200, bookcase 00fff5, blind 003dff,
coffee table 00ff70, toilet 00ff85, flower ff0000, book ffa300, hill ff6600, bench c2ff00,
countertop 008fff, stove 33ff00, palm 0052ff, kitchen island 00ff29, computer 00ffad,
swivel chair 0a00ff, boat adff00, bar 00ff99, arcade machine ff5c00, hovel ff00ff, bus ff00f5,
towel ff0066, light ffad00, truck ff0014, tower ffb8b8, chandelier 001fff, awning 00ff3d,
streetlight 0047ff, booth ff00cc, television 00ffc2, airplane 00ff52, dirt track 000aff, apparel 0070ff,
pole 3300ff, land 00c2ff, bannister 007aff, escalator 00ffa3, ottoman ff9900, bottle 00ff0a,
buffet ff7000, poster 8fff00, stage 5200ff, van a3ff00, ship ffeb00, fountain 08b8aa,
conveyer belt 8500ff, canopy 00ff5c, washer b800ff, plaything ff001f, swimming pool 00b8ff,
stool 00d6ff, barrel ff0070, basket 5cff00, waterfall 00e0ff, tent 70e0ff, bag 46b8a0, minibike a300ff,
cradle 9900ff, oven 47ff00, ball ff00a3, food ffcc00, step ff008f, tank 00ffeb, trade name 85ff00,
microwave ff00eb, pot f500ff, animal ff007a, bicycle fff500, lake 0abed4, dishwasher d6ff00,
screen 00ccff, blanket 1400ff, sculpture ffff00, hood 0099ff, sconce 0029ff, vase 00ffcc,
traffic light 2900ff, tray 29ff00, ashcan ad00ff, fan 00f5ff, pier 4700ff, crt screen 7a00ff,
plate 00ffb8, monitor 005cff, bulletin board b8ff00, shower 0085ff, radiator ffd600, glass 19c2c2,
clock 66ff00, flag 5c00ff
"""

_ENTRIES = [entry.strip().rpartition(" ") for entry in _TABLE.split(",")]
NAMES = tuple(name for name, _, _ in _ENTRIES)
PALETTE = tuple((int(code[:2], 16), int(code[2:4], 16), int(code[4:], 16)) for _, _, code in _ENTRIES)

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

    colours: of the full ADE20K's X_seg.png, where the class is 256 (R // 10) + G and the instance B.
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
