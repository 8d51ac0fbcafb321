"""The settings that decide the bytes of a job's outputs, and OUT/job.json, which keeps them.

A job that is resumed takes from there what its command line leaves open: "auto" precision is found by timing and may
come out differently another time.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from PIL import features

from mcltool.core.config import parse_size
from mcltool.core.errors import UsageError
from mcltool.core.files import read_json
from mcltool.core.hub import SCHEME
from mcltool.translate.reader import OutputSize

NAME = "job.json"
FORMATS = {"png": ".png", "jpg": ".jpg", "webp": ".webp", "avif": ".avif"}
EXTRAS = ("warp", "grid", "confidence")


@dataclass(frozen=True)
class Settings:
    """What decides the bytes of the outputs, besides weights and inputs. Raises UsageError for what does not fit.

    precision: "auto" until resolved. size: of the outputs in pixels, the short side or (height, width); "trained", or
    "keep" for each condition's own. canvas: (height, width) in pixels of conditions whose files do not say it. format:
    of the outputs; quality: 1 to 100 of lossy ones, None for the format's default. save: which of EXTRAS to write
    beside the outputs. batch_size: images of the trained size a batch; 0: find what fits. labels: how label files are
    numbered.
    """

    precision: str = "auto"
    size: OutputSize = "trained"
    canvas: tuple[int, int] | None = None
    format: str = "png"
    quality: int | None = None
    save: tuple[str, ...] = ()
    batch_size: int = 0
    labels: str = ""

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise UsageError(f"--format {self.format}: must be one of {', '.join(FORMATS)}")
        if self.quality is not None and self.format == "png":
            raise UsageError("--quality: PNG keeps every pixel and has no quality; choose jpg, webp or avif")
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise UsageError(f"--quality {self.quality}: expected 1 to 100")
        for name in self.save:
            if name not in EXTRAS:
                raise UsageError(f"--save {name}: must be one of {', '.join(EXTRAS)}")
        if self.batch_size < 0:
            raise UsageError(f"--batch-size {self.batch_size}: expected at least 1, or auto")

    @property
    def suffix(self) -> str:
        return FORMATS[self.format]

    @property
    def is_complete(self) -> bool:
        return self.precision != "auto" and self.batch_size > 0

    def digest(self) -> str:
        """Of all but the batch size, which changes no more than the last bits."""
        decisive = {name: value for name, value in asdict(self).items() if name != "batch_size"}
        if not self.labels:  # as before there was the setting
            decisive.pop("labels")
        return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:16]

    def completed(self, earlier: Settings | None) -> Settings:
        """With what is open here as it was ``earlier``, where all else is the same."""
        if earlier is None:
            return self
        known = replace(
            self,
            precision=earlier.precision if self.precision == "auto" else self.precision,
            batch_size=self.batch_size or earlier.batch_size,
        )
        return known if replace(known, batch_size=earlier.batch_size) == earlier else self

    def check_format(self) -> None:
        """Raises UsageError for a format that the installed Pillow does not write."""
        if self.format in ("webp", "avif") and not features.check(self.format):
            raise UsageError(
                f"--format {self.format}: the installed Pillow cannot write it; choose png or jpg"
            )


def parse_output_size(text: str) -> OutputSize:
    """ "keep", the short side, or (height, width) of "256x192". Raises UsageError."""
    if text == "keep":
        return text
    size = parse_size(text)
    if min(size) < 16:
        raise UsageError(f"--size {text}: expected keep, or pixels, at least 16 a side")
    return size if "x" in text.lower() else size[0]


def format_of(suffix: str) -> str:
    """ "png" of "png" or ".PNG". Raises UsageError for a format that is not written."""
    name = suffix.lower().removeprefix(".")
    name = "jpg" if name == "jpeg" else name
    if name not in FORMATS:
        raise UsageError(f"{suffix or 'no suffix'}: expected one of {', '.join(FORMATS.values())}")
    return name


# --- job.json ---


def read_job(out: Path, weights: str) -> Settings | None:
    """The settings of the last job in ``out`` with the weights of this SHA-256; None where there is none."""
    try:
        raw = read_json(out / NAME)
        if raw["weights"] != weights:
            return None
        return _checked({f.name: raw["settings"].get(f.name, f.default) for f in fields(Settings)})
    except (OSError, ValueError, KeyError, TypeError, UsageError):
        return None


def pinned(name: str, out: Path) -> str:
    """hf://ORG/NAME as the job in ``out`` was begun: at its commit; any other name as it is."""
    try:
        earlier = str(read_json(out / NAME)["weights_file"])
    except (OSError, ValueError, KeyError, TypeError):
        return name
    return earlier if name.startswith(SCHEME) and earlier.startswith(f"{name}@") else name


def _checked(raw: dict[str, Any]) -> Settings:
    """Settings of JSON values, which may be anything. Raises TypeError, ValueError or UsageError."""
    height, width = raw["canvas"] or (1, 1)
    numbers = [height, width, raw["batch_size"], 1 if raw["quality"] is None else raw["quality"]]
    texts = [raw["precision"], raw["format"], raw["labels"], *raw["save"]]
    is_sound = {*map(type, numbers)} == {int} and {*map(type, texts)} == {str} and min(height, width) >= 1
    if not is_sound or not isinstance(raw["save"], list):
        raise TypeError("not the settings of a job")
    size = raw["size"]
    if size != "trained":
        size = parse_output_size("x".join(map(str, size)) if isinstance(size, list) else str(size))
    canvas = (height, width) if raw["canvas"] else None
    return Settings(**raw | {"save": tuple(raw["save"]), "canvas": canvas, "size": size})
