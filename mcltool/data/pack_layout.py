"""What a pack may hold (see ``pack_format``): known objects, filters lzf and gzip alone, no links or storage elsewhere.

A pack comes from anywhere, and what HDF5 could be made to read or run for it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import h5py

from mcltool.core.errors import UsageError
from mcltool.core.images import MAX_PIXELS

TABLES = ("id", "group", "place", "checksum")
ARRAYS: dict[str, tuple[set[str], set[int]]] = {
    "photo": ({"uint8"}, {4}),
    "raster": ({"uint8", "uint16", "float32"}, {3, 4}),
    "points": ({"float32"}, {3}),
}
"""What a bucket may hold: element types and numbers of dimensions."""
MAX_SAMPLE = 3 * MAX_PIXELS
"""Numbers a sample's array may have: a file of no bytes can say that it holds any."""
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_LZF}


def check_layout(path: Path, file: h5py.File, samples: Mapping[str, int]) -> None:
    """Every object of a pack is known, is in the file itself, and is stored in a way that runs nothing.

    samples: how many each split has, by the header. Raises UsageError for anything else.
    """
    _check_group(path, file, set(samples), set(samples))
    for split, count in samples.items():
        group = file[split]
        _check_group(path, group, {*TABLES, "buckets"}, {*TABLES, "buckets", "retrieved"})
        for name in set(group) - {"buckets"}:
            _check_dataset(path, group[name])
            table = group[name]
            if table.ndim < 1 or len(table) != count:
                raise UsageError(f"{path}: {table.name} is not of {count} samples; pack it again")
            if table.nbytes > path.stat().st_size:  # tables are stored as they are: this one is not there
                raise UsageError(f"{path}: {table.name} is larger than the file, refused")
        _check_group(path, group["buckets"], set(), None)
        for bucket in group["buckets"].values():
            _check_group(path, bucket, {"photo"}, set(ARRAYS))
            for name, (dtypes, dimensions) in ARRAYS.items():
                if name in bucket:
                    _check_dataset(path, bucket[name])
                    if str(bucket[name].dtype) not in dtypes or bucket[name].ndim not in dimensions:
                        found = f"{bucket[name].shape} {bucket[name].dtype}"
                        raise UsageError(f"{path}: {bucket[name].name} is {found}; pack it again")
            _check_samples(path, bucket)


def _check_samples(path: Path, bucket: h5py.Group) -> None:
    """Its arrays have as many samples each, one a chunk, of a size that can be meant, and of one picture."""
    count, *picture = bucket["photo"].shape
    for name in bucket:
        array = bucket[name]
        rows, *shape = array.shape
        alike = rows == count and (name == "points" or shape[:2] == picture[:2])
        if not alike or array.chunks != (1, *shape) or prod(shape) > MAX_SAMPLE or 0 in shape:
            raise UsageError(
                f"{path}: {array.name} is {array.shape} in chunks of {array.chunks}; pack it again"
            )


def _check_group(path: Path, group: Any, needed: set[str], allowed: set[str] | None) -> None:
    """It is a group, it holds the objects of these names, and holds them itself. allowed: None for any."""
    names = set(group) if isinstance(group, h5py.Group) else None
    if names is None or not needed <= names or (allowed is not None and not names <= allowed):
        raise UsageError(f"{path}: {group.name} is not laid out as in a pack; pack it again")
    for name in names:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise UsageError(f"{path}: {group.name.rstrip('/')}/{name} is a link to elsewhere, refused")


def _check_dataset(path: Path, dataset: Any) -> None:
    """It is an array of plain numbers or bytes in this file."""
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "uifS":
        raise UsageError(f"{path}: {dataset.name} is no array of plain numbers, refused")
    if dataset.external or dataset.is_virtual:
        raise UsageError(f"{path}: {dataset.name} is stored in another file, refused")
    layout = dataset.id.get_create_plist()
    if not {layout.get_filter(number)[0] for number in range(layout.get_nfilters())} <= _FILTERS:
        raise UsageError(f"{path}: {dataset.name} needs a filter of its own to be read, refused")
