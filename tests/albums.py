"""A small data set of pictures of several sizes, with conditions of every kind, and what tests do with its packs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import torch
from click.testing import CliRunner, Result

from mcltool.cli.main import cli
from mcltool.core.config import DataConfig
from mcltool.data.packing import PackOptions, PackStep, pack
from mcltool.plugin.contract import Condition, ConditionSpec, DatasetPlugin, Sample

CONFIG = DataConfig(size=(32, 64), load_scale=1.25, flip=True, exemplar_self=0.3)
LOADED = (40, 80)
"""32 x 64 pixels times 1.25."""
SIZES = [(90, 120), (60, 130), (120, 90), (90, 120), (40, 80), (77, 91), (90, 120)]
GROUPS = ["g", "g", "", "", "h", "h", "g"]
PALETTE = ((0, 0, 0), (9, 9, 9), (99, 0, 0))


class Album(DatasetPlugin):
    """Noise photos of several sizes, with conditions of one kind: labels, drawing (smooth planes), joints,
    or drawn joints, which are drawn on the device."""

    name = "album"
    version = "3"
    needs_root = False

    def __init__(self, kind: str = "labels") -> None:
        self.kind = kind
        if kind == "drawn joints":
            self.draw_points = dots

    @property
    def spec(self) -> ConditionSpec:
        return ConditionSpec("labels" if self.kind == "labels" else "channels", ("a", "b", "c"), PALETTE)

    def index(self, root: Path | None, split: str) -> list[Sample]:
        count = len(SIZES) if split == "train" else 3
        return [Sample(f"{split}/ä{n}", group=GROUPS[n]) for n in range(count)]

    def read_condition(self, files):
        raise NotImplementedError

    def photo(self, sample, short_side):
        number = int(sample.id[-1])
        return np.random.default_rng(number).integers(0, 256, (*SIZES[number], 3), np.uint8)

    def condition(self, sample, short_side):
        number = int(sample.id[-1])
        size = (SIZES[number][0] // 2, SIZES[number][1] // 2)
        draw = np.random.default_rng(100 + number)
        if self.kind == "labels":
            return Condition(size, draw.integers(0, 3, size, np.uint8), mirror=((1, 2),))
        if self.kind == "drawing":
            return Condition(size, draw.integers(0, 256, (*size, 3), np.uint8), smooth=True)
        points = (draw.random((5, 2)) * size[::-1]).astype(np.float32)
        points[number % 5] = np.nan
        return Condition(size, points=points, mirror=((0, 1), (2, 3)))

    def render(self, condition):
        if self.kind == "labels":
            return condition.raster
        if self.kind == "drawing":
            return condition.raster.astype(np.float32) / 255
        planes = np.zeros((*condition.size, 3), np.float32)
        for number, (x, y) in enumerate(np.nan_to_num(condition.points, nan=-1).round().astype(int)):
            if 0 <= x < condition.size[1] and 0 <= y < condition.size[0]:
                planes[y, x, number % 3] = 1
        return planes


def dots(xp, points, x, y):
    """Three of the joints, each a spot in a channel of its own."""
    apart = (x - points[:, :3, :1, None]) ** 2 + (y[:, None] - points[:, :3, 1:, None]) ** 2
    return xp.nan_to_num(xp.exp(-apart / 9), nan=0.0)


class Altered(Album):
    """Album with something else about it."""

    def __init__(self, version: str = "3", palette: tuple = PALETTE) -> None:
        super().__init__()
        self.version, self.palette = version, palette

    @property
    def spec(self) -> ConditionSpec:
        return replace(super().spec, palette=self.palette)


def packed(out: Path, plugin: DatasetPlugin | None = None, size=LOADED, **options) -> list[PackStep]:
    plugin = plugin or Album()
    splits = {split: plugin.index(None, split) for split in ("train", "val")}
    return list(pack(plugin, splits, out, PackOptions(size, **options)))


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(cli, ["pack", *map(str, args)])


def problems(path: Path) -> list[str]:
    """Which samples pack check finds broken."""
    result = run("check", path, "--json")
    found = [row["sample"] for row in json.loads(result.stdout)["problems"]]
    assert result.exit_code == (1 if found else 0)
    return found


def offset_in(path: Path, name: str, row: int) -> int:
    """Where in the file the middle of a sample's chunk is."""
    with h5py.File(path, "r") as file:
        place = file[name].id.get_chunk_info(row)
        return place.byte_offset + place.size // 2


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 255]))


def items(data) -> list[dict[str, torch.Tensor]]:
    return [data[n] for n in range(3 * len(SIZES))]


def alike(first, second) -> bool:
    return all(torch.equal(a[name], b[name]) for a, b in zip(first, second, strict=True) for name in a)
