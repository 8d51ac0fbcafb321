"""Reading packs: as data sets, in place of those they were made from; and describing them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mcltool.core.config import DataConfig
from mcltool.core.errors import DataError, UsageError
from mcltool.core.pixels import Photo, Size
from mcltool.data.geometry import load_size
from mcltool.data.pack_format import (
    ATTRIBUTE,
    Bucket,
    PackHeader,
    cause_of,
    check_layout,
    check_split,
    digest_of,
)
from mcltool.plugin.contract import Condition, ConditionFiles, ConditionSpec, DatasetPlugin, Sample, Truth


class PackedDataset(DatasetPlugin):
    """A pack that stands in for the data set it was made from. The plugin does what is not stored.

    Each process opens the file on its first read, forked ones too, and pickling leaves the open file behind.
    Raises UsageError where the file is no pack, is damaged, or was made with another plugin or version of it.
    """

    needs_root = False

    def __init__(self, plugin: DatasetPlugin, path: Path) -> None:
        self.plugin, self.path, self.header = plugin, path, read_header(path)
        reading = {f"data.{name}": value for name, value in self.header.reading().items()}
        names = ("name", "version", "home_page", "preset", "draw_points")
        own = {name: getattr(plugin, name) for name in names} | {"defaults": {**plugin.defaults, **reading}}
        for name, value in own.items():
            setattr(self, name, value)  # a pack goes by its plugin's name, also in errors
        self.label_numbering, self.follow_exif = self.header.labels, self.header.exif
        self.canvas = self.header.canvas
        self._opened: tuple[int, h5py.File, dict[str, Bucket]] | None = None
        made_with = self.header.plugin, self.header.plugin_version
        if made_with != (plugin.name, plugin.version):
            found, needed = " version ".join(made_with), f"{plugin.name} version {plugin.version}"
            raise UsageError(f"{path}: packed with plugin {found}, this one is {needed}; pack it again")
        if self.header.spec != plugin.spec:
            raise UsageError(f"{path}: its {plugin.spec.kind} are not those of {plugin.name}; pack it again")

    @property
    def spec(self) -> ConditionSpec:
        return self.header.spec

    def check_size(self, config: DataConfig) -> None:
        """Raises UsageError where pictures are stored smaller than training loads them."""
        wanted, stored = load_size(config), self.header.size
        if stored[0] < wanted[0] or stored[1] < wanted[1]:
            needs = f"training at {size_text(config.size)} takes {size_text(wanted)}"
            way_out = f"pack again with --size {size_text(wanted)}, or give a smaller --size here"
            raise UsageError(f"{self.path}: packed at {size_text(stored)}, {needs}: {way_out}")

    def index(self, root: Path | None, split: str) -> Sequence[Sample]:
        """``root`` is not used. The samples have no files: their parts say where in the pack they are."""
        if split not in self.header.samples:
            held = ", ".join(self.header.samples)
            raise UsageError(
                f"{self.path}: no split {split!r} in this pack, which holds {held}; pack it again"
            )
        with open_file(self.path) as file:
            group = file[split]
            with reading(self.path, split):
                ids, groups, places = (group[name][...] for name in ("id", "group", "place"))
                return [
                    Sample(name.decode(), group=kin.decode(), part=f"{split}/buckets/{bucket}/{row}")
                    for name, kin, (bucket, row) in zip(ids, groups, places.tolist(), strict=True)
                ]

    def retrieved(self, split: str) -> list[list[int]] | None:
        """For each sample of ``split`` the numbers of its exemplars, the best first; None where none are held."""
        with open_file(self.path) as file:
            if "retrieved" not in file[split]:
                return None
            with reading(self.path, split):
                table = file[split]["retrieved"][...]
                if table.max(initial=-1) >= len(table):
                    raise IndexError("exemplars that are not there")
                return [[n for n in row if n >= 0] for row in table.tolist()]

    def photo(self, sample: Sample, short_side: int) -> Photo:
        """As stored, whatever ``short_side``: see ``check_size``."""
        with reading(self.path, sample.id):
            bucket, row = self._place(sample)
            return np.asarray(bucket.arrays["photo"][row])

    def condition(self, sample: Sample, short_side: int) -> Condition:
        with reading(self.path, sample.id):
            bucket, row = self._place(sample)
            return bucket.condition(row)

    def render(self, condition: Condition) -> NDArray[Any]:
        return self.plugin.render(condition)

    def read_condition(self, files: Sequence[Path]) -> Condition:
        return self.plugin.read_condition(files)

    def read_part(self, files: Sequence[Path], part: str) -> Condition:
        return self.plugin.read_part(files, part)

    def conditions(self, folder: Path) -> Iterator[ConditionFiles]:
        return self.plugin.conditions(folder)

    def write_condition(self, condition: Condition, stem: Path) -> Path:
        return self.plugin.write_condition(condition, stem)

    def truth(self, condition: Sample, exemplar: Sample, short_side: int) -> Truth | None:
        """The plugin's, at the size of what is stored; at another the two would not fit."""
        fits = self.header.size == (short_side, short_side)
        return self.plugin.truth(condition, exemplar, short_side) if fits else None

    def _place(self, sample: Sample) -> tuple[Bucket, int]:
        # HDF5 must not be used through a handle that came over a fork: a handle is its process's own.
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = os.getpid(), open_file(self.path), {}
        _, file, buckets = self._opened
        name, _, row = sample.part.rpartition("/")
        if name not in buckets:
            buckets[name] = Bucket(file[name])
        return buckets[name], int(row)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}


def splits_of(dataset: DatasetPlugin) -> Sequence[str]:
    """The splits that there are: of a pack, those it holds."""
    return list(dataset.header.samples) if isinstance(dataset, PackedDataset) else ("train", "val")


def read_header(path: Path) -> PackHeader:
    """What a pack says of itself. Raises UsageError where it is none or more than a pack may be."""
    with open_file(path) as file, reading(path, "its layout", "pack it again"):
        try:
            header = PackHeader.from_json(bytes(file.attrs[ATTRIBUTE]).decode())
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise UsageError(f"{path}: not a pack of mcltool ({cause_of(error)})") from None
        check_layout(path, file, header.samples)
        return header


def describe_pack(path: Path) -> dict[str, Any]:
    """What ``pack info`` shows, for JSON. Raises as ``read_header``."""
    header = read_header(path)
    splits = {}
    with open_file(path) as file, reading(path, "its layout"):
        for split, count in header.samples.items():
            group = file[split]
            names = group["group"][...]
            splits[split] = {
                "samples": count,
                "groups": len(np.unique(names[names != b""])),
                "shapes": len(group["buckets"]),
                "retrieved": group["retrieved"].shape[1] if "retrieved" in group else 0,
            }
    about = {
        name: getattr(header, name) for name in ("plugin", "plugin_version", "mcltool", "size", "compression")
    }
    condition = {"kind": header.spec.kind, "names": header.spec.names}
    return about | condition | {"bytes": path.stat().st_size, "splits": splits}


def check_pack(path: Path) -> Iterator[tuple[str, str]]:
    """``check_split`` of every split. Raises UsageError or DataError where that cannot even be begun."""
    with open_file(path) as file:
        for split in read_header(path).samples:
            with reading(path, split):
                group = file[split]
                table = group.get("retrieved")
                if table is not None and bytes(table.attrs["digest"]) != digest_of(table[...]):
                    yield f"{split}: retrieved", "the exemplars' numbers are not those that were stored"
                for name, problem in check_split(group):
                    yield f"{split}: {name}", problem


def open_file(path: Path) -> h5py.File:
    """A pack's file to read. Raises UsageError where it is not there, is cut off or not HDF5."""
    try:
        # Without a cache, chunks go straight to where they are wanted. Packs are replaced, never written to:
        # they need no lock, which not every network file system has.
        return h5py.File(path, "r", rdcc_nbytes=0, locking=False)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such pack; 'mcltool pack' makes one") from None
    except IsADirectoryError:
        raise UsageError(f"{path}: expected a pack (.h5), found a folder") from None
    except PermissionError:
        raise UsageError(f"{path}: no permission to read it") from None
    except OSError as error:
        cause = str(error)
        if "signature not found" in cause:
            raise UsageError(f"{path}: not a pack (not an HDF5 file)") from None
        what = "cut off" if "truncated" in cause else "cannot be opened, perhaps damaged"
        raise UsageError(f"{path}: {what}; pack it again ({cause_of(error)})") from None


@contextmanager
def reading(path: Path, what: str, way_out: str = "") -> Iterator[None]:
    """Turn whatever h5py raises within the block into a DataError."""
    try:
        yield
    except (
        OSError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError
    ) as error:  # fmt: skip
        way_out = way_out or f"'mcltool pack check {path}' says what else"
        raise DataError(f"{path}: {what} cannot be read ({cause_of(error)}); {way_out}") from None


def size_text(size: Size) -> str:
    """As --size takes it: S, or HxW."""
    return str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"
