"""HDF5 packs: photos and conditions of a data set, decoded once and resized, in one file that trains like it.

    /                    attribute mcltool_pack: JSON, see PackHeader
    /SPLIT/id, group     (n,) UTF-8, as in Sample
    /SPLIT/place         (n, 2) uint32: the sample's bucket and its row there
    /SPLIT/checksum      (n,) uint64, see ``checksum``
    /SPLIT/retrieved     (n, K) int32, where there are any: numbers of exemplars, the best first, -1 for none
    /SPLIT/buckets/B/    samples of one shape; attribute kind: JSON, see ``kind_of``
        photo            (m, H, W, 3) uint8
        raster           (m, H, W) or (m, H, W, C) uint8; of measures uint16 or float32   } what conditions have
        points           (m, K, 2) float32                                                }

A chunk is one sample. A pack may come from anywhere, so ``check_layout`` refuses whatever HDF5 could be made to read or
run for it: unknown objects, filters besides lzf and gzip, links, storage elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import blake2b
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mcltool.core.errors import UsageError
from mcltool.core.files import parse_json
from mcltool.core.images import MAX_PIXELS
from mcltool.core.pixels import Photo, Size
from mcltool.plugin.contract import Condition, ConditionSpec

FORMAT = 1
ATTRIBUTE = "mcltool_pack"
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


@dataclass(frozen=True)
class PackHeader:
    """What a pack says of itself.

    size: (height, width) that its pictures cover, their aspects kept. samples: how many a split. labels, exif, canvas:
    how files were read, where the user said it: as in DataConfig.
    """

    plugin: str
    plugin_version: str
    mcltool: str
    size: Size
    compression: str
    spec: ConditionSpec
    samples: dict[str, int]
    format: int = FORMAT
    labels: str = ""
    exif: bool | None = None
    canvas: Size | None = None

    def reading(self) -> dict[str, Any]:
        """What was said of labels, exif and canvas."""
        said = {"labels": self.labels or None, "exif": self.exif, "canvas": self.canvas}
        return {name: value for name, value in said.items() if value is not None}

    def to_json(self) -> str:
        raw = asdict(self) | {"spec": json.loads(self.spec.to_json())}
        silent = {"labels", "exif", "canvas"} - self.reading().keys()  # a pack as before there were these
        return json.dumps({name: value for name, value in raw.items() if name not in silent})

    @classmethod
    def from_json(cls, text: str) -> PackHeader:
        """Raises ValueError, TypeError or KeyError where the text is no header of this format."""
        raw = parse_json(text)
        if raw["format"] != FORMAT:
            raise ValueError(f"pack format {raw['format']}, this mcltool reads {FORMAT}")
        height, width = raw.pop("size")
        spec = ConditionSpec.from_json(json.dumps(raw.pop("spec")))
        texts = [raw[name] for name in ("plugin", "plugin_version", "mcltool", "compression")]
        texts.append(raw.get("labels", ""))
        counts = {*map(type, raw["samples"].values())}
        if {*map(type, texts)} != {str} or counts != {int} or raw.get("exif") not in (None, True, False):
            raise TypeError("its header is not of the kind of a pack's")
        if raw.get("canvas"):
            high, wide = raw["canvas"]
            raw["canvas"] = int(high), int(wide)
        return cls(size=(int(height), int(width)), spec=spec, **raw)


class Bucket:
    """The arrays of samples of one shape."""

    def __init__(self, group: h5py.Group) -> None:
        self.arrays = {name: group[name] for name in group}
        self.kind = bytes(group.attrs["kind"]).decode()
        raw = parse_json(self.kind)
        self._smooth, self._mirror = bool(raw["smooth"]), tuple((int(a), int(b)) for a, b in raw["mirror"])

    def condition(self, row: int) -> Condition:
        # An index is read twice as fast as read_direct, which builds a selection each time.
        parts = {name: array[row] for name, array in self.arrays.items() if name != "photo"}
        size = self.arrays["photo"].shape[1:3]
        return Condition(size, smooth=self._smooth, mirror=self._mirror, **parts)


def kind_of(condition: Condition) -> str:
    """What a condition is besides its arrays, as JSON."""
    return json.dumps({"smooth": condition.smooth, "mirror": condition.mirror})


def checksum(id: str, group: str, photo: Photo, condition: Condition) -> int:
    """Of all that a pack holds of a sample: 64 bits of BLAKE2b."""
    digest = blake2b(json.dumps([id, group, photo.shape, kind_of(condition)]).encode(), digest_size=8)
    for array in (photo, condition.raster, condition.points):
        if array is not None:
            digest.update(np.ascontiguousarray(array).data)
    return int.from_bytes(digest.digest(), "little")


def check_split(group: h5py.Group) -> Iterator[tuple[str, str]]:
    """Read every sample of a split: its id, and what is wrong with it or nothing."""
    ids, groups, places, sums = (group[name][...] for name in TABLES)
    buckets = {name: Bucket(found) for name, found in group["buckets"].items()}
    for name, kin, (number, row), expected in zip(ids, groups, places.tolist(), sums.tolist(), strict=True):
        problem = ""
        try:
            bucket = buckets[str(number)]
            photo, condition = bucket.arrays["photo"][row], bucket.condition(row)
            found = checksum(name.decode(), kin.decode(), photo, condition)
            if found != expected:
                problem = "its bytes are not those that were packed (checksum)"
        except (OSError, KeyError, ValueError, IndexError) as error:
            problem = f"cannot be read ({cause_of(error)})"
        yield name.decode(errors="replace"), problem


def digest_of(table: NDArray[np.int32]) -> bytes:
    """Of a whole table, hexadecimal."""
    return blake2b(np.ascontiguousarray(table).data, digest_size=8).hexdigest().encode()


def cause_of(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


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
