"""A job's settings, which decide the bytes of its outputs, and its options, which do not.

OUT/job.json keeps the settings. A resumed job reuses the precision and batch size found for "auto", as timing may give
others another time.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import features

from mcltool.core.config import parse_size
from mcltool.core.errors import UsageError
from mcltool.core.files import read_json
from mcltool.core.hub import SCHEME
from mcltool.translate import manifest
from mcltool.translate.reader import OutputSize

NAME = "job.json"
FORMATS = {"png": ".png", "jpg": ".jpg", "webp": ".webp", "avif": ".avif"}
EXTRAS = ("warp", "grid", "confidence")


@dataclass(frozen=True)
class Settings:
    """What decides the bytes of the outputs, besides weights and inputs. Raises UsageError for invalid values.

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
        if self.format in ("webp", "avif") and not features.check(self.format):
            raise UsageError(
                f"--format {self.format}: the installed Pillow cannot write it; choose png or jpg"
            )
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
    def is_complete(self) -> bool:
        return self.precision != "auto" and self.batch_size > 0

    def as_json(self) -> dict[str, Any]:
        """As job.json has them: plain JSON values."""
        return dict(json.loads(json.dumps(asdict(self))))

    def digest(self) -> str:
        """Of all but the batch size, which changes no more than the last bits."""
        decisive = {name: value for name, value in asdict(self).items() if name != "batch_size"}
        if not self.labels:  # as before there was the setting
            decisive.pop("labels")
        return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:16]

    def completed(self, out: Path, weights: str) -> Settings:
        """With the precision and batch size of the last job in ``out``, where they are open here, if all else is the
        same. weights: their SHA-256."""
        try:
            document = read_job(out)
            earlier = document["settings"]
            precision, batch = earlier["precision"], earlier["batch_size"]
            others = {name: earlier.get(name, default) for name, default in Settings().as_json().items()}
            if document["weights"] != weights or type(precision) is not str or type(batch) is not int:
                return self
        except (KeyError, TypeError, AttributeError):
            return self
        known = replace(
            self,
            precision=precision if self.precision == "auto" else self.precision,
            batch_size=self.batch_size or max(0, batch),
        )
        return known if known.as_json() == others | {"batch_size": known.batch_size} else self


def read_job(out: Path) -> Any:
    """The document in OUT/job.json, which may be anything; None where there is none."""
    try:
        return read_json(out / NAME)
    except (OSError, ValueError):
        return None


def pinned(name: str, out: Path) -> str:
    """hf://ORG/NAME as the job in ``out`` was begun: at its commit; any other name as it is."""
    document = read_job(out)
    earlier = str(document.get("weights_file")) if isinstance(document, dict) else ""
    return earlier if name.startswith(SCHEME) and earlier.startswith(f"{name}@") else name


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


# --- how a job runs ---


@dataclass(frozen=True)
class Shard:
    """Part ``index`` (from 0) of ``count`` of a plan."""

    index: int = 0
    count: int = 1

    @property
    def is_whole(self) -> bool:
        return self.count == 1

    @property
    def name(self) -> str:
        return "all" if self.is_whole else f"{self.index + 1}-of-{self.count}"

    @property
    def manifest(self) -> str:
        return manifest.NAME if self.is_whole else f"manifest-{self.name}.jsonl"

    def mine(self, tasks: int, window: int) -> NDArray[np.bool_]:
        """Which tasks are this shard's: every ``count``-th window of ``window`` tasks, so that no batch is cut."""
        return np.asarray((np.arange(tasks) // window) % self.count == self.index)

    @staticmethod
    def parse(text: str) -> Shard:
        """ "2/8" is the second of eight. Raises UsageError."""
        found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if found and 1 <= int(found[1]) <= int(found[2]):
            return Shard(int(found[1]) - 1, int(found[2]))
        raise UsageError(f"--shard {text}: expected I/N with I from 1 to N, e.g. 1/8")

    @staticmethod
    def of_environment() -> Shard:
        """The shard of this process under torchrun (RANK of WORLD_SIZE); elsewhere the whole plan."""
        try:
            rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        except (KeyError, ValueError):
            return Shard()
        return Shard(rank, world) if 0 <= rank < world else Shard()


@dataclass(frozen=True)
class Options:
    """How a job runs; nothing here changes the pixels of an output.

    overwrite: make everything again. retry_failed: also retry what failed before and has not changed. shard: the part
    of the plan to do. device, workers: where to compute, and how many reader processes; None: choose. pair_out: a CSV
    file to write the pairs to. cache_mebibytes: memory for encoded exemplars. provenance: whether pictures say that
    they are generated and of what.
    """

    overwrite: bool = False
    retry_failed: bool = False
    shard: Shard = field(default_factory=Shard)
    device: str | None = None
    workers: int | None = None
    pair_out: Path | None = None
    cache_mebibytes: int = 512
    provenance: bool = True
