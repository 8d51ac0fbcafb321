"""A translate-dir job: the request, checked, and the settings that decide the bytes of its outputs.

OUT/job.json keeps the settings. A job that is resumed takes from there what its command line leaves open:
"auto" precision is found by timing and may come out differently another time.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import features

from mcltool.core.config import parse_size
from mcltool.core.errors import DataError, UsageError
from mcltool.core.files import digest, read_json, write_text
from mcltool.core.hub import SCHEME, repository_of
from mcltool.core.weights import WeightsHeader, read_header
from mcltool.data.doubts import FEW, summed_up
from mcltool.data.geometry import Size
from mcltool.plugin import registry as plugins
from mcltool.plugin.contract import DatasetPlugin
from mcltool.translate.folder import Shard
from mcltool.translate.images import OutputSize, read_condition
from mcltool.translate.lists import read_list
from mcltool.translate.pairing import PAIRINGS, pair_by_names
from mcltool.translate.plan import Conditions, Exemplars, Pairs, Plan, check_outputs, check_places

NAME = "job.json"
FORMATS = {"png": ".png", "jpg": ".jpg", "webp": ".webp", "avif": ".avif"}
EXTRAS = ("warp", "grid", "confidence")
WINDOW_BATCHES = 4
"""Batches a window: enough to fill batches of mixed sizes, few enough to keep memory small."""


@dataclass(frozen=True)
class Settings:
    """What decides the bytes of the outputs, besides weights and inputs. Raises UsageError for what does not fit.

    precision: "auto" until resolved. size: of the outputs in pixels, the short side or (height, width); "trained",
    or "keep" for each condition's own. canvas: (height, width) in pixels of conditions whose files do not say it.
    format: of the outputs; quality: 1 to 100 of lossy ones, None for the format's default. save: which of EXTRAS to
    write beside the outputs. batch_size: images of the trained size a batch; 0: find what fits.
    labels: how label files are numbered.
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
                raise UsageError(f"--save {name}: must be of {', '.join(EXTRAS)}")
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

    def completed(self, earlier: Settings) -> Settings:
        """With what is open here as it was ``earlier``, where all else is the same."""
        known = replace(
            self,
            precision=earlier.precision if self.precision == "auto" else self.precision,
            batch_size=self.batch_size or earlier.batch_size,
        )
        return known if replace(known, batch_size=earlier.batch_size) == earlier else self

    def check_format(self) -> None:
        """Raises UsageError for a format that the installed Pillow does not write."""
        if self.format in ("webp", "avif") and not features.check(self.format):
            raise UsageError(f"--format {self.format}: the installed Pillow cannot write it")


@dataclass(frozen=True)
class Options:
    """How a job runs; nothing here changes the pixels of an output.

    overwrite: make everything again. retry_failed: also retry what failed before and has not changed. shard: the
    part of the plan to do. device, workers: where to compute, and how many reader processes; None: choose.
    pair_out: a CSV file to write the pairs to. cache_mebibytes: memory for encoded exemplars. provenance: whether
    pictures say that they are generated and of what.
    """

    overwrite: bool = False
    retry_failed: bool = False
    shard: Shard = field(default_factory=Shard)
    device: str | None = None
    workers: int | None = None
    pair_out: Path | None = None
    cache_mebibytes: int = 512
    provenance: bool = True


class Job:
    """A checked request to translate the folder ``conditions`` with ``exemplars`` (a folder or photo) into ``out``.

    pair, seed: as in ``pair_by_names``; regions: as in ``read_list``. Nothing is written, and no model is loaded.
    Raises UsageError where the request cannot be carried out.
    """

    def __init__(
        self,
        conditions: Path,
        exemplars: Path,
        out: Path,
        weights: Path,
        pair: str = "auto",
        seed: int = 0,
        settings: Settings | None = None,
        options: Options | None = None,
        regions: Path | None = None,
    ) -> None:
        self.out, self.weights, self.pair, self.seed = out, weights, pair, seed
        self.options = options or Options()
        settings = settings or Settings()
        settings.check_format()
        self.plugin = plugin_of(weights, settings.canvas, settings.labels)
        check_places(conditions, exemplars, out)
        self.digest = digest(weights)
        self.conditions, self.exemplars = Conditions(self.plugin, conditions), Exemplars(exemplars)
        earlier = read_job(out, self.digest)
        self.settings = settings.completed(earlier) if earlier else settings
        if regions and pair in PAIRINGS:
            raise UsageError(f"--regions {regions}: needs a list of exemplars, --pair FILE.csv")
        names = self.conditions.ids, self.conditions.inputs, self.exemplars.names
        if pair not in PAIRINGS and Path(pair).exists():
            pairs: Pairs | None = read_list(
                Path(pair), *names, self.exemplars.folder, self.plugin.spec, regions
            )
        else:
            pairs = pair_by_names(*names, pair, seed)
        self.chosen = pairs.exemplars if pairs else np.full(len(self.conditions), -1, np.int32)
        self._plan = self._checked(pairs) if pairs and (self.chosen >= 0).all() else None

    def doubts(self) -> list[str]:
        """What makes a few of the conditions look as if they were read wrongly, a line each."""
        counts: Counter[str] = Counter()
        some = range(0, len(self.conditions), max(1, len(self.conditions) // FEW))[:FEW]
        for number in some:
            paths, part = self.conditions.files(number)
            try:
                counts.update(
                    [self.plugin.doubt(read_condition(self.plugin, [Path(path) for path in paths], part))]
                )
            except DataError:
                continue  # it is said when it is translated
        counts.pop("", None)
        return [f"doubtful: {line}" for line in summed_up(counts, len(some))]

    @property
    def pairing(self) -> str:
        """What to say of --pair auto where names do not decide it; "" where they do."""
        left = np.flatnonzero(self.chosen < 0)
        if self.pair != "auto" or not left.size:
            return ""
        count, rule = len(self.conditions), "the photo whose features fit best (nearest)"
        if left.size == count:
            return f"no condition has a photo of its name: each gets {rule}"
        some = ", ".join(self.conditions.inputs[int(number)] for number in left[:3])
        more = ", ..." if left.size > 3 else ""
        return (
            f"{count - left.size} of {count} conditions get the photo of their name; {left.size} without one "
            f"({some}{more}) get {rule}"
        )

    def plan(self, nearest: Callable[[], Pairs]) -> Plan:
        """What to do. nearest: called for the pairs where names do not decide them."""
        return self._plan if self._plan is not None else self._checked(nearest())

    def window(self, settings: Settings) -> int:
        """Tasks a window: the unit that is batched together, and that shards take in turn."""
        return WINDOW_BATCHES * max(1, settings.batch_size)

    def _checked(self, pairs: Pairs) -> Plan:
        plan = Plan(self.conditions, self.exemplars, pairs, self.settings.suffix, self.settings.save)
        check_outputs(plan, self.out)
        return plan


def read_job(out: Path, weights: str) -> Settings | None:
    """The settings of the last job in ``out`` with the weights of this SHA-256; None where there is none."""
    try:
        raw = read_json(out / NAME)
        if raw["weights"] != weights:
            return None
        return _checked_settings({f.name: raw["settings"].get(f.name, f.default) for f in fields(Settings)})
    except (OSError, ValueError, KeyError, TypeError, UsageError):
        return None


def pinned(name: str, out: Path) -> str:
    """hf://ORG/NAME as the job in ``out`` was begun: at its commit; any other name as it is."""
    try:
        earlier = str(read_json(out / NAME)["weights_file"])
    except (OSError, ValueError, KeyError, TypeError):
        return name
    return earlier if name.startswith(SCHEME) and earlier.startswith(f"{name}@") else name


def write_job(job: Job, settings: Settings, scratch: Path) -> None:
    """Keep the settings, and what else a reader of job.json may want to know."""
    document = {
        "weights": job.digest, "settings": asdict(settings),
        "weights_file": repository_of(job.weights) or str(job.weights),
        "plugin": job.plugin.name, "pair": job.pair, "seed": job.seed,
    }  # fmt: skip
    write_text(job.out / NAME, json.dumps(document, indent=2) + "\n", scratch)


def _checked_settings(raw: dict[str, Any]) -> Settings:
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


def plugin_of(weights: Path, canvas: Size | None = None, labels: str = "") -> DatasetPlugin:
    """The installed plugin that a weights file was trained with. canvas, labels: as in Settings.

    Raises UsageError where it is not installed, or its conditions are not those of the weights.
    """
    header = read_header(weights)
    try:
        plugin = plugins.load(header.plugin).for_spec(header.condition)
    except UsageError as error:
        raise UsageError(f"{weights}: needs the plugin it was trained with: {error}") from None
    if plugin.spec != header.condition:
        raise UsageError(f"{weights}: {_difference(header, plugin)}")
    if canvas:
        plugin.canvas = canvas
    plugins.use_reading(plugin, labels)
    return plugin


def _difference(header: WeightsHeader, plugin: DatasetPlugin) -> str:
    """In words, how the conditions of weights and of the installed plugin differ."""
    theirs, ours = header.condition, plugin.spec
    if (theirs.kind, theirs.channels) != (ours.kind, ours.channels):
        what = f"{theirs.channels} {theirs.kind}, the installed one has {ours.channels} {ours.kind}"
    elif theirs.names != ours.names:
        pairs = zip(theirs.names, ours.names, strict=True)
        index, (a, b) = next((i, pair) for i, pair in enumerate(pairs) if pair[0] != pair[1])
        what = f"{a!r} as number {index}, the installed one has {b!r}"
    else:
        what = "another palette or unknown class than the installed one"
    made_with = f"{header.plugin} version {header.plugin_version}"
    return f"made with {made_with}, which has {what} (version {plugin.version})"
