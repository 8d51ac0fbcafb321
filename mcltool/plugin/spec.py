"""The condition spec: what a condition of a data set is made of. Weights and packs carry it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

from mcltool.core.files import parse_json

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
