"""What a data set says of itself, as plain data: its condition spec, which weights and packs carry, and its samples."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mcltool.core.files import parse_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RGB = tuple[int, int, int]


@dataclass(frozen=True)
class ConditionSpec:
    """What a condition of a data set is made of.

    kind: "labels": one class index per pixel; "channels": ``len(names)`` numbers in [0, 1] per pixel.
    names: class names (index = class) or channel names.
    palette: a colour per name, for pictures of conditions and for colour-coded masks.
    unknown: the class that means "nothing is known here", if there is one (labels only).
    reading: how files are read, in the plugin's own words, if that depends on the data (DatasetPlugin.for_data).
    """

    kind: Literal["labels", "channels"]
    names: tuple[str, ...]
    palette: tuple[RGB, ...]
    unknown: int | None = None
    reading: str = ""

    def __post_init__(self) -> None:
        if self.kind not in ("labels", "channels"):
            raise ValueError(f"condition kind must be 'labels' or 'channels', not {self.kind!r}")
        if not 1 <= len(self.names) <= 255 or len(self.palette) != len(self.names):
            raise ValueError("a condition spec needs 1 to 255 names and one palette colour for each")
        if self.unknown is not None and (self.kind != "labels" or not 0 <= self.unknown < len(self.names)):
            raise ValueError("unknown must be the index of a class of a labels condition")

    @property
    def channels(self) -> int:
        """Number of planes a network sees: one per class or channel."""
        return len(self.names)

    def to_json(self) -> str:
        fields = asdict(self)
        if not self.reading:
            del fields["reading"]  # the same text as before the field existed
        return json.dumps(fields, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> ConditionSpec:
        """Raises ValueError (or TypeError, KeyError) where the text is not a condition spec."""
        raw = parse_json(text)
        palette = tuple((int(r), int(g), int(b)) for r, g, b in raw["palette"])
        names, unknown = tuple(str(n) for n in raw["names"]), raw["unknown"]
        if unknown is not None and type(unknown) is not int:
            raise TypeError("unknown must be a class's index")
        reading = raw.get("reading", "")
        if type(reading) is not str:
            raise TypeError("reading must be text")
        return cls(raw["kind"], names, palette, unknown, reading)


@dataclass(frozen=True)
class ConditionFiles:
    """One condition on disk.

    id: unique in its folder, "/"-separated, without suffix.
    part: which condition this is where the files hold several, in the plugin's own words; else empty.
    """

    id: str
    files: tuple[Path, ...]
    part: str = ""


@dataclass(frozen=True)
class Sample:
    """One photo and its condition.

    id: unique and stable within the split. photo: its file (None for procedural data).
    condition: the condition's files. group: samples of one group show the same thing in the same style (a
    garment from two sides), so each is a right exemplar for the others; empty: none.
    part: as in ConditionFiles.
    """

    id: str
    photo: Path | None = None
    condition: tuple[Path, ...] = ()
    group: str = ""
    part: str = ""


@dataclass(frozen=True, eq=False)
class Truth:
    """What a procedural data set knows about a pair (condition, exemplar). H, W: the condition's size in pixels.

    image: (H, W, 3) uint8, the right answer.
    labels, exemplar_labels: (H, W) uint8 classes of condition and exemplar.
    background: the class that scores report separately.
    visible: (H, W) bool, False where the source of the pixel is hidden in the exemplar.
    source: (H, W, 2) float32 x, y of the pixel's source in the exemplar, NaN where hidden.
    place: (H, W, 2) float32, the pixel's place in the frame of the thing it belongs to.
    frames: (class, 2 x 3 matrix) of everything in the exemplar: from exemplar x, y, 1 to its frame.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    exemplar_labels: NDArray[np.uint8]
    background: int
    visible: NDArray[np.bool_]
    source: NDArray[np.float32]
    place: NDArray[np.float32]
    frames: tuple[tuple[int, NDArray[np.float32]], ...]
