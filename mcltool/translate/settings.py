"""What decides the bytes of a job's outputs besides inputs and weights, and OUT/job.json, which keeps it.

A job that goes on takes from there what its command line leaves open, so that its outputs are those of a job
that was never cut: "auto" precision is found by timing, and may come out differently another time.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from mcltool.core.config import parse_size
from mcltool.core.errors import UsageError
from mcltool.core.files import read_json, write_text

NAME = "job.json"
FORMATS = {"png": ".png", "jpg": ".jpg", "webp": ".webp", "avif": ".avif"}
EXTRAS = ("warp", "grid", "confidence")


@dataclass(frozen=True)
class Settings:
    """precision: "auto" until it is resolved. size: short side of the outputs in pixels, "trained" for that of
    the training, or "keep" for each condition's own. canvas: (height, width) in pixels of conditions whose files
    do not say it. format: of the outputs; quality: 1 to 100, of lossy ones; None takes the format's own.
    save: which of EXTRAS are written beside the outputs. batch_size: images of the trained size a batch, 0 to
    find what fits.

    Raises UsageError where they do not fit one another.
    """

    precision: str = "auto"
    size: int | str = "trained"
    canvas: tuple[int, int] | None = None
    format: str = "png"
    quality: int | None = None
    save: tuple[str, ...] = ()
    batch_size: int = 0

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise UsageError(f"--format {self.format}: must be one of {', '.join(FORMATS)}")
        if self.quality is not None and self.format == "png":
            raise UsageError("--quality: PNG keeps every pixel and has no quality; choose jpg, webp or avif")
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise UsageError(f"--quality {self.quality}: expected 1 to 100")
        for name in self.save:
            if name not in EXTRAS:
                raise UsageError(f"--save {name}: must be of {', '.join(EXTRAS)}")
        if self.batch_size < 0:
            raise UsageError(f"--batch-size {self.batch_size}: expected at least 1, or auto")

    @property
    def suffix(self) -> str:
        return FORMATS[self.format]

    def digest(self) -> str:
        """Of all but the batch size, which changes no more than the last bits."""
        decisive = {name: value for name, value in asdict(self).items() if name != "batch_size"}
        return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:16]

    def completed(self, earlier: Settings) -> Settings:
        """With what is open here as it was ``earlier``, where all else is the same."""
        known = replace(
            self,
            precision=earlier.precision if self.precision == "auto" else self.precision,
            batch_size=self.batch_size or earlier.batch_size,
        )
        return known if replace(known, batch_size=earlier.batch_size) == earlier else self

    @property
    def is_complete(self) -> bool:
        return self.precision != "auto" and self.batch_size > 0


def parse_output_size(text: str) -> int | str:
    """ "keep", or pixels. Raises UsageError."""
    if text == "keep":
        return text
    height, width = parse_size(text)
    if height != width or height < 16:
        raise UsageError(f"--size {text}: expected keep, or the short side in pixels, at least 16")
    return height


def format_of(suffix: str) -> str:
    """ "png" of "png" or ".PNG". Raises UsageError for a format that is not written."""
    name = suffix.lower().removeprefix(".")
    name = "jpg" if name == "jpeg" else name
    if name not in FORMATS:
        raise UsageError(f"{suffix or 'no suffix'}: expected one of {', '.join(FORMATS.values())}")
    return name


def read_job(out: Path, weights: str) -> Settings | None:
    """The settings of the last job in ``out`` with the weights of this SHA-256; None where there is none."""
    try:
        raw = read_json(out / NAME)
        if raw["weights"] != weights:
            return None
        known = {field.name: raw["settings"][field.name] for field in fields(Settings)}
        return _checked(known)
    except (OSError, ValueError, KeyError, TypeError, UsageError):
        return None


def _checked(raw: dict[str, Any]) -> Settings:
    """Settings of JSON values, which may be anything. Raises TypeError, ValueError or UsageError."""
    height, width = raw["canvas"] or (1, 1)
    numbers = [height, width, raw["batch_size"], 1 if raw["quality"] is None else raw["quality"]]
    texts = [raw["precision"], raw["format"], *raw["save"]]
    is_sound = {*map(type, numbers)} == {int} and {*map(type, texts)} == {str} and min(height, width) >= 1
    if not is_sound or not isinstance(raw["save"], list):
        raise TypeError("not the settings of a job")
    parse_output_size(str(raw["size"]) if raw["size"] != "trained" else "keep")
    canvas = (height, width) if raw["canvas"] else None
    return Settings(**raw | {"save": tuple(raw["save"]), "canvas": canvas})


def write_job(out: Path, weights: str, settings: Settings, about: dict[str, Any], scratch: Path) -> None:
    """Keep the settings; about: what else a reader of job.json may want to know."""
    document = {"weights": weights, "settings": asdict(settings), **about}
    write_text(out / NAME, json.dumps(document, indent=2) + "\n", scratch)
