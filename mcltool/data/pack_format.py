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

A chunk is one sample. ``pack_layout`` refuses all else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mcltool.core.errors import DataError, UsageError
from mcltool.core.files import parse_json
from mcltool.core.pixels import Photo, Size
from mcltool.data.pack_layout import TABLES, check_layout
from mcltool.plugin.contract import Condition, ConditionSpec

FORMAT = 1
ATTRIBUTE = "mcltool_pack"


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
            problem = f"cannot be read ({_cause(error)})"
        yield name.decode(errors="replace"), problem


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


def digest_of(table: NDArray[np.int32]) -> bytes:
    """Of a whole table, hexadecimal."""
    return blake2b(np.ascontiguousarray(table).data, digest_size=8).hexdigest().encode()


def read_header(path: Path) -> PackHeader:
    """What a pack says of itself. Raises UsageError where it is none or more than a pack may be."""
    with open_file(path) as file, reading(path, "its layout", "pack it again"):
        try:
            header = PackHeader.from_json(bytes(file.attrs[ATTRIBUTE]).decode())
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise UsageError(f"{path}: not a pack of mcltool ({_cause(error)})") from None
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
        raise UsageError(f"{path}: {what}; pack it again ({_cause(error)})") from None


@contextmanager
def reading(path: Path, what: str, way_out: str = "") -> Iterator[None]:
    """Turn whatever h5py raises within the block into a DataError."""
    try:
        yield
    except (
        OSError,
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RuntimeError,
    ) as error:
        way_out = way_out or f"'mcltool pack check {path}' says what else"
        raise DataError(f"{path}: {what} cannot be read ({_cause(error)}); {way_out}") from None


def size_text(size: Size) -> str:
    """As --size takes it: S, or HxW."""
    return str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"


def _cause(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
