"""Assemble part files into a pack, and replace its table of exemplars."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from errno import EIO, ENOSPC
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mcltool.core.errors import McltoolError
from mcltool.core.files import replacing
from mcltool.data.pack_format import ARRAYS, ATTRIBUTE, PackHeader, digest_of

VERSION = ("v110", "v110")
"""HDF5's file format: the first with checksums of its own structure."""


def assemble(parts: Mapping[str, Sequence[Path]], out: Path, header: PackHeader) -> Iterator[int]:
    """Make the pack ``out`` of its parts, by split; yields each part's number of samples. Raises OSError."""
    needed = sum(path.stat().st_size for paths in parts.values() for path in paths)
    free = shutil.disk_usage(out.parent).free
    if free < needed:
        raise OSError(
            ENOSPC, f"{needed / 1e9:.1f} GB are needed beside the parts, {free / 1e9:.1f} are free", str(out)
        )
    try:
        with replacing(out) as temporary, h5py.File(temporary, "w", libver=VERSION) as file:
            file.attrs[ATTRIBUTE] = np.bytes_(header.to_json().encode())
            for split, paths in parts.items():
                yield from _assemble_split(file.create_group(split), paths, header)
    except (OSError, RuntimeError) as error:
        code = _error_number(error)
        raise OSError(code, os.strerror(code), str(out)) from None


def _error_number(error: BaseException | None) -> int:
    """The system's error number behind an exception of h5py, which may be in its context only."""
    while error is not None:
        if isinstance(error, OSError) and error.errno:
            return error.errno
        error = error.__context__
    return EIO


def _assemble_split(split: h5py.Group, paths: Sequence[Path], header: PackHeader) -> Iterator[int]:
    counts: Counter[tuple[Any, ...]] = Counter()
    for path in paths:
        with h5py.File(path, "r", locking=False) as part:
            for bucket in part["buckets"].values():
                counts[_key(bucket)] += len(bucket["photo"])
    split.create_group("buckets")
    numbers = {key: number for number, key in enumerate(counts)}
    for (kind, *shapes), count in counts.items():
        create_bucket(split, len(split["buckets"]), kind, dict(shapes), count, header.compression)
    filled: Counter[int] = Counter()
    tables: tuple[list[NDArray[Any]], ...] = ([], [], [], [])
    for path in paths:
        with h5py.File(path, "r", rdcc_nbytes=0, locking=False) as part:
            places = part["place"][...]
            moved = places.copy()
            for name, bucket in part["buckets"].items():
                number = numbers[_key(bucket)]
                _copy_chunks(bucket, split["buckets"][str(number)], filled[number])
                members = places[:, 0] == int(name)
                moved[members] = np.stack(
                    [np.full(members.sum(), number), places[members, 1] + filled[number]], 1
                )
                filled[number] += len(bucket["photo"])
            for table, piece in zip(
                tables, (part["id"], part["group"], moved, part["checksum"]), strict=True
            ):
                table.append(piece[...])
        yield len(places)
    write_tables(split, *tables)


def _key(bucket: h5py.Group) -> tuple[Any, ...]:
    forms = ((name, (bucket[name].shape[1:], bucket[name].dtype)) for name in ARRAYS if name in bucket)
    return bytes(bucket.attrs["kind"]).decode(), *forms


def _copy_chunks(source: h5py.Group, target: h5py.Group, first: int) -> None:
    """Copy a bucket's samples to rows ``first`` on, as they are stored: compressed ones stay so."""
    for name, array in source.items():
        zeros = (0,) * (array.ndim - 1)
        for row in range(len(array)):
            mask, chunk = array.id.read_direct_chunk((row, *zeros))
            target[name].id.write_direct_chunk((first + row, *zeros), chunk, mask)


def create_bucket(
    split: h5py.Group,
    number: int,
    kind: str,
    forms: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]],
    count: int,
    compression: str,
) -> h5py.Group:
    bucket = split.create_group(f"buckets/{number}")
    bucket.attrs["kind"] = np.bytes_(kind.encode())
    for name, (shape, dtype) in forms.items():
        bucket.create_dataset(
            name,
            (count, *shape),
            dtype,
            chunks=(1, *shape),
            compression=None if compression == "none" else compression,
        )
    return bucket


def write_tables(split: h5py.Group, *tables: Sequence[NDArray[Any]]) -> None:
    """ids, groups, places and checksums, each in pieces."""
    for name, pieces in zip(("id", "group", "place", "checksum"), tables, strict=True):
        table = np.concatenate(pieces)
        # Of strings the type has a length of at least 1, which NumPy gives an array of empty ones too.
        split.create_dataset(name, data=table)


def store_retrieved(path: Path, tables: Mapping[str, NDArray[np.int32]]) -> None:
    """Put exemplars' numbers into a pack, by split: (n, K), the best first, -1 for none, in place of any
    that it held.

    The pack is copied and the copy takes its place: a kill leaves the old one. Raises McltoolError where there
    is no room for that.
    """
    try:
        with replacing(path) as temporary:
            shutil.copyfile(path, temporary)
            with h5py.File(temporary, "r+", libver=VERSION, locking=False) as file:
                for split, table in tables.items():
                    file[split].pop("retrieved", None)
                    stored = file[split].create_dataset("retrieved", data=table.astype(np.int32))
                    stored.attrs["digest"] = np.bytes_(digest_of(stored[...]))
    except (OSError, RuntimeError) as error:
        cause = os.strerror(_error_number(error))
        raise McltoolError(f"{path}: cannot be replaced ({cause}); the old file is unchanged") from None
