"""The ``folder`` plugin: photos and conditions in a folder of one's own, without a line of code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from mcltool import Condition, ConditionFiles, ConditionSpec, DataError, DatasetPlugin, Sample, UsageError
from mcltool.poses import PosePlugin
from mcltool_folder.description import NAME, Description, write_toml
from mcltool_folder.kinds import KIND_OF, ClassNumbers, Kind, Poses, Source
from mcltool_folder.layout import EXPECTED
from mcltool_folder.look import look_at
from mcltool_folder.parts import find_together, label, merged, share_out
from mcltool_folder.samples import find_conditions, find_samples

SPLITS = ("train", "val")


class FolderPlugin(DatasetPlugin):
    """Photos with masks, drawings, depth, normals, pictures or poses. What they are is read from DIR/dataset.toml,
    or looked at, or told by the weights or the pack that were made with them."""

    name: ClassVar[str] = "folder"
    _description: Description | None = None
    preset: ClassVar[str] = "small"  # measured on such folders (docs/photos.md); needs no perceptual network
    _kinds: tuple[Kind, ...] = ()
    _spec: ConditionSpec

    def for_data(self, root: Path | None, condition: str = "") -> FolderPlugin:
        if root is None:
            raise UsageError(f"folder: --root is missing; {EXPECTED}")
        path = root / NAME
        if path.is_file() and not condition:
            return self._for(Description.read(path))
        found = look_at(root, condition)
        plugin = self._for(found.description)
        plugin.assumed = (*found.assumed, *(f"QUESTION: {question}" for question in found.questions))
        plugin.description = NAME, write_toml(found.description, plugin.assumed)
        return plugin

    def for_spec(self, spec: ConditionSpec) -> FolderPlugin:
        plugin = self._for(Description.from_json(spec.reading))
        if plugin.spec != spec:
            raise UsageError("folder: what its conditions are and how they are read do not fit each other")
        return plugin

    def _for(self, description: Description) -> FolderPlugin:
        plugin = FolderPlugin()
        plugin._description, plugin.canvas = description, self.canvas
        plugin._kinds = tuple(KIND_OF[part.kind](part) for part in description.condition)
        if description.is_labels:
            plugin._kinds = (ClassNumbers(description.condition[0]),)
        plugin.defaults = {"data.flip": description.flip}  # type: ignore[misc]
        if len(plugin._kinds) == 1 and isinstance(plugin._kinds[0], Poses):
            plugin.draw_points = PosePlugin.draw_points
        plugin._spec = _spec_of(description, plugin._kinds)
        return plugin

    @property
    def _known(self) -> Description:
        if self._description is None:
            raise UsageError(
                "folder: the data tell what its conditions are: give --root DIR, or weights or a pack made of it"
            )
        return self._description

    @property
    def spec(self) -> ConditionSpec:
        """The classes of masks that are alone; else the channels of all parts side by side."""
        self._known  # noqa: B018 (says so where it is not)
        return self._spec

    def index(self, root: Path | None, split: str) -> Sequence[Sample]:
        """Ids are paths of photos without suffix, below their folder."""
        if split not in SPLITS:
            raise UsageError(f"folder: no split {split!r}; there are {', '.join(SPLITS)}")
        if root is None or self._description is None:
            return self.for_data(root).index(root, split)
        if not root.is_dir():
            raise UsageError(f"{root}: no such folder")
        try:
            return find_samples(root, self._description, split)
        except DataError as error:  # of a photo's header, or of a file of many poses
            raise UsageError(str(error)) from None

    def conditions(self, folder: Path) -> Iterator[ConditionFiles]:
        """Every file is one; of several parts see ``find_together``."""
        parts = self._known.condition
        return (
            find_conditions(folder, parts[0], every=True) if len(parts) == 1 else find_together(folder, parts)
        )

    def condition(self, sample: Sample, short_side: int) -> Condition:
        """What is made from photos is drawn at ``short_side``, so that lines are as fine as the picture."""
        if not any(part.made for part in self._known.condition):
            return self._read(sample, None)
        photo = self.photo(sample, short_side)
        scale = min(1.0, short_side / min(photo.shape[:2]))
        size = round(photo.shape[1] * scale), round(photo.shape[0] * scale)
        return self._read(sample, np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), np.uint8))

    def read_condition(self, files: Sequence[Path]) -> Condition:
        return self.read_part(files, "")

    def read_part(self, files: Sequence[Path], part: str) -> Condition:
        """One file a part, in their order; of poses as many as deepfashion reads. Made parts are drawings here."""
        return self._read(Sample("", None, tuple(files), part=part), None)

    def _read(self, sample: Sample, photo: NDArray[np.uint8] | None) -> Condition:
        """photo: what made parts are drawn from."""
        source = Source(sample, photo, self.follow_exif is not False, self.canvas)
        shares = share_out(sample.condition, self._known.condition, photo is not None)
        parts = [kind.read(files, source) for kind, files in zip(self._kinds, shares, strict=True)]
        return merged(parts, smooth=not self._known.is_labels)

    def render(self, condition: Condition) -> NDArray[Any]:
        """Channels of all parts side by side; or class numbers."""
        if self._known.is_labels:
            return super().render(condition)
        return np.concatenate([kind.planes(own) for kind, own in self._parts(condition)], 2)

    def write_condition(self, condition: Condition, stem: Path) -> Path:
        """One file a part; of several X.masks.png, X.depth.npy and so on."""
        alone = len(self._kinds) == 1
        paths = [
            kind.write(own, stem if alone else stem.with_name(f"{stem.name}.{label(kind.part)}"))
            for kind, own in self._parts(condition)
        ]
        return paths[0]

    def _parts(self, condition: Condition) -> Iterator[tuple[Kind, Condition]]:
        """Each part with its own channels of the raster."""
        raster, start = condition.raster, 0
        if raster is not None and raster.ndim == 2:
            raster = raster[..., None]
        for kind in self._kinds:
            own = raster[..., start : start + kind.width] if raster is not None and kind.width else None
            yield kind, replace(condition, raster=own)
            start += kind.width


def _spec_of(description: Description, kinds: Sequence[Kind]) -> ConditionSpec:
    named = [(label(kind.part), name) for kind in kinds for name in kind.names]
    names = [name for _, name in named]
    unique = tuple(f"{of} {name}" if names.count(name) > 1 else name for of, name in named)
    palette = tuple(colour for kind in kinds for colour in kind.palette)
    kind: Literal["labels", "channels"] = "labels" if description.is_labels else "channels"
    unknown = description.condition[0].unknown if description.is_labels else ""
    index = unique.index(unknown) if unknown else None
    try:
        return ConditionSpec(kind, unique, palette, index, description.to_json())
    except ValueError as error:
        raise UsageError(f"folder: {error}") from None
