"""The data of clothing.safetensors: photos of garments, and drawings of them as label maps.

    python weights/clothing_drawings.py CLOTHING OUT

CLOTHING: {train,val}/{images,masks}, photos of Alexey Grigorev's clothing-dataset (CC0 1.0) and masks of the same stems
with 0 on the ground. OUT: the same folders, 128 pixels a short side, where masks are 0 on the ground, 1 on the garment
and 2 on lines: its outline, and edges of the photo inside it. OUT/dataset.toml names them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from mcltool import draw_lines, read_photo

SHORT_SIDE = 128
DESCRIPTION = """\
layout = "folders"
train = "train"
val = "val"
photos = "images"
group = ""
flip = true
unpaired = "refuse"

[[condition]]
kind = "labels"
files = "masks"
by = "number"
unknown = ""
classes = [
  { name = "ground", number = 0, colour = [255, 255, 255] },
  { name = "garment", number = 1, colour = [190, 204, 226] },
  { name = "line", number = 2, colour = [32, 36, 48] },
]
"""


def main() -> None:
    source, out = map(Path, sys.argv[1:])
    for path in sorted(source.glob("*/images/*")):
        split = path.parents[1]
        photo = read_photo(path)
        scale = SHORT_SIDE / min(photo.shape[:2])
        size = round(photo.shape[1] * scale), round(photo.shape[0] * scale)
        photo = np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), np.uint8)
        mask = cv2.imread(str(split / "masks" / f"{path.stem}.png"), cv2.IMREAD_UNCHANGED)
        garment = np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT) > 0, np.uint8)
        lines = draw_lines(photo, garment, garment > 0)
        for name, picture in (("images", photo[..., ::-1]), ("masks", np.where(lines > 0, 2, garment))):
            (out / split.name / name).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(out / split.name / name / f"{path.stem}.png"), picture.astype(np.uint8))
    (out / "dataset.toml").write_text(DESCRIPTION)


if __name__ == "__main__":
    main()
