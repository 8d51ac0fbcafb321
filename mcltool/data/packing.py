"""Making a pack: samples are read by worker processes into whole part files, which are then put together.

A killed HDF5 writer can leave a broken file, so none is written in place: a part is built in memory and written
in one step, and the pack takes its name when it is whole. A part's name holds a digest of all that it is made
of, so that making the pack again takes the parts that are there and still right.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

import mcltool
from mcltool.core.errors import McltoolError, one_line
from mcltool.core.files import write_bytes
from mcltool.core.locks import locked
from mcltool.core.pixels import Photo, Size
from mcltool.data.assembly import VERSION, assemble, create_bucket, write_tables
from mcltool.data.geometry import cover
from mcltool.data.pack_format import ARRAYS, FORMAT, PackHeader, check_split, checksum, kind_of
from mcltool.data.reading import View, device_input, distinct, read_view
from mcltool.data.workers import in_processes
from mcltool.plugin.contract import Condition, DatasetPlugin, Sample

Compression = Literal["none", "lzf", "gzip"]

PART_BYTES = 32 << 20
"""About what a worker holds at once, and what a kill loses."""
PART_SAMPLES = 512


@dataclass(frozen=True)
class PackOptions:
    """size: (height, width) that pictures are made to cover. workers: processes that read; 0: this one.

    held_out: the size for all but training samples, which are not cropped at random: drawings are made for the size
    they are seen at. None: as size.
    """

    size: Size
    compression: Compression = "none"
    workers: int = 0
    held_out: Size | None = None


@dataclass(frozen=True)
class PackStep:
    """What a step of packing did to how many samples. problems: (sample id, cause) of those not read. enlarged: how
    many photos were smaller than what they are made to cover."""

    stage: Literal["read", "kept", "assembled"]
    samples: int
    problems: tuple[tuple[str, str], ...] = ()
    enlarged: int = 0


def pack(
    plugin: DatasetPlugin, splits: Mapping[str, Sequence[Sample]], out: Path, options: PackOptions
) -> Iterator[PackStep]:
    """Make the pack ``out``; a step a part read, then a step a part put in its place.

    Where samples cannot be read, the other parts are still made, and kept for the next time, but there is no
    pack. Raises McltoolError where the disk is full or a worker is killed (the parts stay too) and UsageError
    where another process is packing to ``out``, or ids are repeated.
    """
    for samples in splits.values():
        for _ in distinct(plugin, samples):
            pass
    folder = out.with_name(f"{out.name}.parts")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / ".lock", f"{out}: another process is packing to it"):
            parts = _plan(plugin, splits, folder, options)
            wanted = {part.path for part in parts}
            for path in folder.iterdir():  # other options, older files, and what a kill left half-written
                if path.suffix in (".h5", ".tmp") and path not in wanted:
                    path.unlink()
            whole = True
            for step in in_processes(_make_part, parts, options.workers):
                whole = whole and not step.problems
                yield step
            if not whole:
                return
            by_split = {split: [part.path for part in parts if part.split == split] for split in splits}
            counts = {split: len(samples) for split, samples in splits.items()}
            header = PackHeader(
                plugin.name, plugin.version, mcltool.__version__, options.size, options.compression,
                plugin.spec, counts, labels=plugin.label_numbering, exif=plugin.follow_exif, canvas=plugin.canvas,
            )  # fmt: skip
            for count in assemble(by_split, out, header):
                yield PackStep("assembled", count)
            shutil.rmtree(folder)
    except OSError as error:
        cause = f"{error.filename or out} cannot be written ({error.strerror or error})"
        kept = f"; what is done is kept in {folder}: give it room and run the same command again"
        raise McltoolError(cause + (kept if folder.is_dir() else "")) from None


@dataclass(frozen=True)
class _Part:
    """Some samples of a split and the file that they go to."""

    plugin: DatasetPlugin
    split: str
    samples: Sequence[Sample]
    path: Path
    size: Size
    compression: Compression


def _plan(
    plugin: DatasetPlugin, splits: Mapping[str, Sequence[Sample]], folder: Path, options: PackOptions
) -> list[_Part]:
    height, width = options.size
    sizes = {
        split: options.size if split == "train" else options.held_out or options.size for split in splits
    }
    count = min(PART_SAMPLES, max(1, PART_BYTES // (4 * height * width)))
    told = [plugin.canvas, plugin.label_numbering, plugin.follow_exif]
    made_of = [FORMAT, plugin.name, plugin.version, plugin.spec.to_json(), *told, sizes, options.compression]
    parts = []
    for split, samples in splits.items():
        for first in range(0, len(samples), count):
            some = samples[first : first + count]
            digest = blake2b(json.dumps([made_of, *map(_identity, some)]).encode(), digest_size=10)
            path = folder / f"{split}-{first:08d}-{digest.hexdigest()}.h5"
            parts.append(_Part(plugin, split, some, path, sizes[split], options.compression))
    return parts


def _identity(sample: Sample) -> list[Any]:
    """Changes where the sample or one of its files does."""
    files: list[Any] = []
    for path in ([sample.photo] if sample.photo else []) + list(sample.condition):
        try:
            stat = path.stat()
            files.append([str(path), stat.st_size, stat.st_mtime_ns])
        except OSError:
            files.append([str(path)])  # reading it says what is wrong
    return [sample.id, sample.group, sample.part, files]


def _make_part(part: _Part) -> PackStep:
    if (kept := _enlarged_in(part.path)) is not None:
        return PackStep("kept", len(part.samples), enlarged=kept)
    views: list[View] = []
    problems, enlarged = [], 0
    for sample in part.samples:
        try:
            read, condition = read_view(part.plugin, sample, max(part.size))
            photo, condition = cover(read, condition, part.size)
            device_input(part.plugin, condition)  # fails now, not in training
            views.append((photo, condition))
            enlarged += photo.shape[0] > read.shape[0]
        except Exception as error:  # a plugin's own mistake as well; another sample may be fine
            problems.append((sample.id, one_line(error)))
    if not problems:
        write_bytes(part.path, _image(part, views, enlarged))
    return PackStep("read", len(part.samples), tuple(problems), enlarged)


def _enlarged_in(path: Path) -> int | None:
    """How many photos the part of an earlier time enlarged; None where it is not there, each byte of it."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            whole = not any(problem for _, problem in check_split(file))
            return int(file.attrs.get("enlarged", 0)) if whole else None
    except (OSError, KeyError, ValueError, RuntimeError):
        return None


def _image(part: _Part, views: Sequence[View], enlarged: int) -> bytes:
    """The bytes of a part's file, laid out as a split of a pack."""
    shapes: dict[tuple[Any, ...], list[int]] = {}
    places, sums = [], []
    for row, (sample, (photo, condition)) in enumerate(zip(part.samples, views, strict=True)):
        arrays = _arrays(photo, condition)
        key = (kind_of(condition), *((name, (array.shape, array.dtype)) for name, array in arrays.items()))
        members = shapes.setdefault(key, [])
        places.append((list(shapes).index(key), len(members)))
        sums.append(checksum(sample.id, sample.group, photo, condition))
        members.append(row)
    memory = BytesIO()
    with h5py.File(memory, "w", libver=VERSION) as file:
        file.attrs["enlarged"] = enlarged
        file.create_group("buckets")
        for number, ((kind, *found), members) in enumerate(shapes.items()):
            bucket = create_bucket(file, number, kind, dict(found), len(members), part.compression)
            for place, member in enumerate(members):
                for name, array in _arrays(*views[member]).items():
                    bucket[name][place] = array
        ids = np.array([sample.id.encode() for sample in part.samples])
        groups = np.array([sample.group.encode() or b"" for sample in part.samples], "S")
        write_tables(file, [ids], [groups], [np.array(places, np.uint32)], [np.array(sums, np.uint64)])
    return memory.getvalue()


def _arrays(photo: Photo, condition: Condition) -> dict[str, NDArray[Any]]:
    raster, points = condition.raster, condition.points
    found = {"photo": np.asarray(photo, np.uint8)}
    if raster is not None:
        is_measure = str(raster.dtype) in ARRAYS["raster"][0]
        found["raster"] = raster if is_measure else np.asarray(raster, np.uint8)
    if points is not None:
        found["points"] = np.asarray(points, np.float32)
    return found
