"""Small made-up folders of one's own data, of every layout and kind that the plugin folder knows."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE = (40, 48)
"""Height, width of photos and conditions."""
COLOURS = ((10, 20, 30), (200, 40, 40), (40, 200, 60))
KINDS = ("masks", "colours", "edges", "depth16", "depth_npy", "depth_tiff", "normals", "picture", "poses")
FOLDER_OF = {
    "masks": "masks", "colours": "labels", "edges": "sketches", "depth16": "depth", "depth_npy": "depth",
    "depth_tiff": "depth", "normals": "normals", "picture": "inputs", "poses": "poses",
}  # fmt: skip
NAMES = tuple(f"{number:02d}" for number in range(6))


def classes(number: int) -> NDArray[np.uint8]:
    """A disc (2) and a bar (1) on the ground (0), elsewhere for every number."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    found = np.where(x < 8 + number, 1, 0)
    return np.where((x - 30) ** 2 + (y - 15 - number) ** 2 < 80, 2, found).astype(np.uint8)


def depth(number: int) -> NDArray[np.uint16]:
    """500 to 5000, a slope."""
    x = np.linspace(0, 1, SIZE[1]) ** (1 + number / 4)
    return np.tile(np.rint(500 + 4500 * x), (SIZE[0], 1)).astype(np.uint16)


def sphere(size: tuple[int, int], radius: float, centre: tuple[float, float]) -> NDArray[np.float64]:
    """(H, W, 3) unit normals, y up, of a sphere before a plane that faces the viewer. centre: x, y in pixels."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float64)
    nx, ny = (x - centre[0]) / radius, -(y - centre[1]) / radius
    nz = np.sqrt(np.clip(1 - nx**2 - ny**2, 0, None))
    inside = nz > 0
    return np.stack([nx * inside, ny * inside, np.where(inside, nz, 1)], 2)


def write_photo(path: Path, number: int) -> Path:
    """The classes in their colours, with some noise."""
    noise = np.random.default_rng(number).integers(0, 20, (*SIZE, 3))
    return save(path, (np.array(COLOURS)[classes(number)] + noise).clip(0, 255).astype(np.uint8))


def write_condition(stem: Path, kind: str, number: int) -> Path:
    """The condition of one photo as a file of its kind."""
    png = stem.with_name(f"{stem.name}.png")
    if kind == "masks":
        return save(png, classes(number))
    if kind == "colours":
        return save(png, np.array(COLOURS, np.uint8)[classes(number)])
    if kind == "edges":
        edge = np.diff(classes(number).astype(int), axis=1, prepend=0) != 0
        return save(png, np.where(edge, 0, 255).astype(np.uint8))
    if kind == "depth16":
        return save(png, depth(number))
    if kind == "depth_tiff":
        return save(stem.with_name(f"{stem.name}.tiff"), depth(number).astype(np.float32) / 1000)
    if kind == "depth_npy":
        path = stem.with_name(f"{stem.name}.npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, depth(number).astype(np.float32) / 1000)
        return path
    if kind == "normals":
        normals = sphere(SIZE, 14.0, (20.0 + number, 18.0))
        return save(png, np.rint((normals + 1) * 127.5).astype(np.uint8))
    if kind == "picture":
        return save(png, np.random.default_rng(number).integers(0, 256, (*SIZE, 3), np.uint8))
    assert kind == "poses"
    joints = np.random.default_rng(number).uniform(5, 35, (18, 2))
    keypoints = np.concatenate([joints, np.ones((18, 1))], 1).ravel().tolist()
    path = stem.with_name(f"{stem.name}_keypoints.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    people = [{"pose_keypoints_2d": keypoints}]
    path.write_text(json.dumps({"people": people, "canvas_height": SIZE[0], "canvas_width": SIZE[1]}))
    return path


def save(path: Path, values: NDArray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def split_folders(root: Path, *kinds: str) -> Path:
    """{train,val}/images with a folder a kind; the last two photos are held out."""
    for number, name in enumerate(NAMES):
        base = root / ("val" if number >= 4 else "train")
        write_photo(base / "images" / f"{name}.jpg", number)
        for kind in kinds:
            write_condition(base / FOLDER_OF[kind] / name, kind, number)
    return root


def plain_folders(root: Path, *kinds: str) -> Path:
    """images with a folder a kind."""
    for number, name in enumerate(NAMES):
        write_photo(root / "images" / f"{name}.png", number)
        for kind in kinds:
            write_condition(root / FOLDER_OF[kind] / name, kind, number)
    return root


def beside(root: Path, kind: str, ending: str) -> Path:
    """x.jpg with x.png, or with x_mask.png and the like."""
    for number, name in enumerate(NAMES):
        write_photo(root / f"{name}.jpg", number)
        write_condition(root / f"{name}{ending}", kind, number)
    return root


def listed(root: Path, form: str, kind: str = "masks") -> Path:
    """metadata.csv, .jsonl or .parquet with input_file_name, output_file_name and group."""
    rows = []
    for number, name in enumerate(NAMES):
        photo = write_photo(root / "b" / f"{name}.jpg", number)
        condition = write_condition(root / "a" / name, kind, number)
        files = {"input_file_name": condition, "output_file_name": photo}
        row = {column: path.relative_to(root).as_posix() for column, path in files.items()}
        rows.append(row | {"group": f"thing{number // 2}"})
    path = root / f"metadata.{form}"
    if form == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif form == "csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    else:
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return root
