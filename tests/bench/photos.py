"""What a model makes of held-out photographs, beside what is easily had. Prints JSON (docs/photos.md).

    python tests/bench/photos.py WEIGHTS MASKS PHOTOS OUT --check ../shared/tools/real_check.py [--conditions DIR]

MASKS and PHOTOS: folders of held-out photos and masks of class numbers, of the same stems. Each condition (a mask, or a
file of --conditions) is translated with a photo chosen at random. The same pairs are then scored as: the output; the
warped exemplar; the condition's own photo; the exemplar as it is; the mask in mean colours of the exemplar's classes.
--check: the script that scores a folder of outputs, which shares no code with mcltool. Beside its numbers, "tint": the
mean absolute difference of a class's mean colours in picture and exemplar, each less its own grey, colours in [0, 1].
"same", of the output: the share of what the generator adds to the warped exemplar that is the same in all pictures.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mcltool import IMAGE_SUFFIXES, walk_files

Row = dict[str, str]
Picture = NDArray[np.uint8]
Maker = Callable[[Row, tuple[int, int]], Picture]
"""What stands in the output's place, (H, W, 3), for a line of the manifest and the output's (width, height)."""
FEWEST = 30
"""Pixels of a class whose colour counts, as in --check."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("weights", "masks", "photos", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--check", type=Path, required=True)
    parser.add_argument("--conditions", type=Path)
    args = parser.parse_args()
    masks, photos = files(args.masks), files(args.photos)
    command = [sys.executable, "-m", "mcltool", "translate-dir", args.conditions or args.masks, args.photos]
    options = ["--weights", args.weights, "--pair", "random", "--seed", "1", "--save", "warp", "--overwrite"]
    subprocess.run(list(map(str, [*command, args.out, *options])), check=True, stdout=sys.stderr)
    lines = (args.out / "manifest.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if row["status"] != "failed"]

    def painted(row: Row, size: tuple[int, int]) -> Picture:
        """Classes that the exemplar lacks get its mean colour."""
        exemplar = np.asarray(picture(photos[stem(row["exemplar"])], size))
        wanted, there = (classes(masks[stem(row[name])], size) for name in ("input", "exemplar"))
        made = np.empty_like(exemplar)
        made[:] = exemplar.mean((0, 1))
        for k in np.intersect1d(wanted, there):
            made[wanted == k] = exemplar[there == k].mean(0)
        return made

    def warped(row: Row, size: tuple[int, int]) -> Picture:
        return picture(args.out / row["output"].replace(".png", ".warp.png"), size)

    makers: dict[str, Maker] = {
        "output": lambda row, size: picture(args.out / row["output"], size),
        "warp": warped,
        "photos": lambda row, size: picture(photos[stem(row["input"])], size),
        "exemplars": lambda row, size: picture(photos[stem(row["exemplar"])], size),
        "painted": painted,
    }

    def tint(make: Maker) -> float:
        """Of classes that have FEWEST pixels in both."""
        found = []
        for row in rows:
            with Image.open(args.out / row["output"]) as output:
                size = output.size
            ours, theirs = make(row, size) / 255, picture(photos[stem(row["exemplar"])], size) / 255
            wanted, there = (classes(masks[stem(row[name])], size) for name in ("input", "exemplar"))
            for k in np.intersect1d(wanted, there):
                if min((wanted == k).sum(), (there == k).sum()) >= FEWEST:
                    a, b = ours[wanted == k].mean(0), theirs[there == k].mean(0)
                    found.append(np.abs((a - a.mean()) - (b - b.mean())).mean())
        return round(float(np.mean(found)), 4)

    found = {name: scored(rows, make, args) | {"tint": tint(make)} for name, make in makers.items()}
    found["output"]["same"] = same(rows, makers["output"], warped, args.out)
    print(json.dumps(found, indent=1))


def scored(rows: list[Row], make: Maker, args: argparse.Namespace) -> dict[str, Any]:
    """What --check says of a folder that holds what ``make`` makes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for row in rows:
            with Image.open(args.out / row["output"]) as output:
                size = output.size
            (folder / row["output"]).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(make(row, size)).save(folder / row["output"])
        (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        command = [sys.executable, args.check, args.masks, args.photos, folder]
        result = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
    measures: dict[str, Any] = json.loads(result.stdout)
    return measures


def same(rows: list[Row], make: Maker, warped: Maker, out: Path) -> float:
    """Variance of the mean of (output - warped exemplar) over that of all, in [0, 1]; 1 / pictures where none is alike.

    Of the pictures of the most frequent size, each less its own mean colour.
    """
    sizes = [Image.open(out / row["output"]).size for row in rows]
    size = Counter(sizes).most_common(1)[0][0]
    chosen = [row for row, its in zip(rows, sizes, strict=True) if its == size]
    added = np.stack([make(row, size).astype(np.float32) - warped(row, size) for row in chosen])
    added -= added.mean((1, 2), keepdims=True)
    return round(float((added.mean(0) ** 2).mean() / (added**2).mean()), 4)


def files(folder: Path) -> dict[str, Path]:
    """Pictures by stem."""
    return {path.stem: path for path in walk_files(folder, IMAGE_SUFFIXES)}


def stem(path: str) -> str:
    return Path(path).stem


def picture(path: Path, size: tuple[int, int]) -> Picture:
    return np.asarray(Image.open(path).convert("RGB").resize(size, Image.Resampling.BOX))


def classes(path: Path, size: tuple[int, int]) -> NDArray[np.int64]:
    return np.asarray(Image.open(path).resize(size, Image.Resampling.NEAREST)).astype(np.int64)


if __name__ == "__main__":
    main()
