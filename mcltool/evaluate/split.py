"""Which held-out samples a model is scored on, and how their files are read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mcltool.core.config import DataConfig
from mcltool.core.errors import UsageError
from mcltool.core.files import digest
from mcltool.core.pixels import Size
from mcltool.core.weights import read_header
from mcltool.plugin import registry as plugins
from mcltool.plugin.contract import DatasetPlugin
from mcltool.translate.job import plugin_of


@dataclass(frozen=True)
class Split:
    """What is scored: the first ``count`` (None: all) held-out samples of a data set, at a short side in pixels.

    pairs: a list of exemplars (mcltool.data.pairs) to take. reading: what was said of how its files are read.
    """

    plugin: DatasetPlugin
    root: Path | None
    config: DataConfig
    count: int | None = None
    pairs: Path | None = None
    reading: dict[str, Any] = field(default_factory=dict)

    @property
    def short_side(self) -> int:
        return min(self.config.size)

    def as_dict(self) -> dict[str, Any]:
        """What decides the files, as plain JSON values."""
        root = str(self.root.resolve()) if self.root else None
        return {
            "plugin": self.plugin.name,
            "plugin_version": self.plugin.version,
            "root": root,
            "pairs": digest(self.pairs) if self.pairs else None,
            "count": self.count,
            "short_side": self.short_side,
            **self.reading,
        }


def split_of(
    weights: Path,
    plugin_name: str | None,
    root: Path | None,
    pack: Path | None,
    count: int | None,
    pairs: Path | None,
    canvas: Size | None = None,
    labels: str = "",
    exif: bool | None = None,
) -> Split:
    """The split to score a weights file on. pack: takes the place of root. canvas, labels, exif: how its files are read
    (see plugin.registry), where it is otherwise than in training. Raises UsageError for another data set."""
    plugin = plugin_of(weights)
    if plugin_name and plugin_name != plugin.name:
        raise UsageError(f"--plugin {plugin_name}: {weights} was trained on {plugin.name}")
    if pairs and not pairs.is_file():
        raise UsageError(f"--pairs {pairs}: no such file")
    config = read_header(weights).config.data
    if pack:
        packed = plugins.load_packed(pack, plugin.name)
        if replace(packed.spec, reading="") != replace(plugin.spec, reading=""):
            raise UsageError(f"{pack}: its conditions are not those that {weights} was trained with")
        plugins.use_reading(packed, labels, exif, canvas)
        return Split(packed, pack, config, count, pairs)
    exif_of = config.exif if exif is None else exif
    plugins.use_reading(plugin, labels or config.labels, exif_of, canvas or config.canvas)
    said = {"canvas": canvas and list(canvas), "labels": labels or None, "exif": exif}
    reading = {name: value for name, value in said.items() if value is not None}
    return Split(plugin, plugins.data_root(plugin, root), config, count, pairs, reading)
