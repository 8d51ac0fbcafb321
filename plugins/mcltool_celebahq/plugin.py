"""The plugins ``celebahq``, ``celebahq-parts`` and ``celebahq-mask``: portraits with line drawings, with drawings and
distance maps of the parts, or with labels of parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mcltool import (
    Condition,
    ConditionFiles,
    ConditionSpec,
    DataError,
    DatasetPlugin,
    Sample,
    UsageError,
    edge_planes,
    read_drawing,
    read_labels,
)
from mcltool_celebahq.classes import MIRROR, NAMES, NUMBERINGS, PALETTE, doubt_of
from mcltool_celebahq.drawings import (
    COLOURS,
    PLANES,
    STACK,
    draw_face,
    is_stack,
    part_planes,
    read_planes,
    write_planes,
)
from mcltool_celebahq.layout import PAGE, Faces, index_faces, mask_pattern
from mcltool_celebahq.masks import face_conditions, read_parts, split_name
from mcltool_celebahq.splits import SPLITS

_FEW = 16
"""Label maps whose numbering is looked at."""
_EDGES = ConditionSpec("channels", ("edge", "distance"), ((255, 255, 255), (40, 92, 140)))
_PARTS = ConditionSpec("channels", PLANES, COLOURS)
_LABELS = ConditionSpec("labels", NAMES, PALETTE)


class _Faces(DatasetPlugin):
    """What the three have in common: the folders, and that the part masks of a face are one condition.

    Expected below the root, or below CelebAMask-HQ in it, as the archive unpacks: CelebA-HQ-img/N.jpg and
    CelebAMask-HQ-mask-anno/{N // 2000}/NNNNN_part.png, a mask a part that the face has. Where there are no part masks,
    label maps N.png in one of layout.MAPS. For the splits see splits.choose.
    """

    home_page: ClassVar[str] = PAGE
    # The published losses are in the configurations paper-celebahq-*.
    defaults: ClassVar[Mapping[str, Any]] = {
        "data.exemplar_self": 0.3,
        "data.flip": True,
        "train.epochs": 60,
    }
    numberings: ClassVar[Mapping[str, Mapping[int, int]]] = NUMBERINGS

    def conditions(self, folder: Path) -> Iterator[ConditionFiles]:
        """Every image file is one; the part masks of one number (02994_skin.png, ...) are one together."""
        return face_conditions(folder)

    def _index(self, root: Path | None, split: str, with_photo: bool) -> Sequence[Sample]:
        if split not in SPLITS:
            raise UsageError(f"{self.name}: no split {split!r}; there are {', '.join(SPLITS)}")
        samples = index_faces(root, split, with_photo, self.label_numbering)
        if with_photo and not isinstance(samples, Faces):
            self._check_numbering(samples)
        return samples

    def _check_numbering(self, samples: Sequence[Sample]) -> None:
        """Raises UsageError where a tenth of the label maps, or more, look as if numbered otherwise: their drawings
        would not show it."""
        maps = [sample.condition[0] for sample in samples[:: max(1, len(samples) // _FEW)]]
        found = {}
        for path in maps:
            with suppress(DataError):  # who reads it says so
                if doubt := doubt_of(self._read_map(path), self.label_numbering):
                    found[path] = doubt
        if 10 * len(found) >= len(maps) and found:
            path, doubt = next(iter(found.items()))
            raise UsageError(f"{path}: {doubt}; {len(found)} of {len(maps)} label maps look like this")

    def _face(self, sample: Sample) -> NDArray[np.uint8]:
        """The labels (H, W) of a sample, of its part masks or its label map. Raises DataError where it has neither."""
        files = [path for path in sample.condition if path != sample.photo]
        if len(files) == 1 and not split_name(files[0].name):
            return self._read_map(files[0])
        if not files and sample.photo is not None:
            raise DataError(
                f"{sample.photo}: no part masks of this photo, expected {mask_pattern(sample.photo)}"
            )
        return read_parts(files)

    @property
    def _upright(self) -> bool:
        return self.follow_exif is not False

    def _read_map(self, path: Path) -> NDArray[np.uint8]:
        return read_labels(path, len(NAMES), PALETTE, self.numbers, upright=self._upright)


class CelebAHQPlugin(_Faces):
    """30000 portraits with line drawings: outlines of parts of the face, edges in hair, clothes, background.

    A drawing becomes two channels, the edge and the distance to the nearest edge. To translate, a condition
    is any image of lines (see mcltool.read_drawing), or part masks, of which only the outlines are drawn.
    """

    name: ClassVar[str] = "celebahq"

    @property
    def spec(self) -> ConditionSpec:
        return _EDGES

    def index(self, root: Path | None, split: str) -> Sequence[Sample]:
        return self._index(root, split, with_photo=True)

    def condition(self, sample: Sample, short_side: int) -> Condition:
        """Drawn at ``short_side``, at most that of the masks (512 px): finer lines would not stay apart."""
        return _drawing(draw_face(self._face(sample), sample.photo, short_side, self._upright))

    def read_condition(self, files: Sequence[Path]) -> Condition:
        """One line drawing; or part masks and, to have its edges too, their photo."""
        parts = [path for path in files if split_name(path.name)]
        others = [path for path in files if not split_name(path.name)]
        if len(others) > 1 or not files:
            raise DataError(
                f"celebahq: a condition is one line drawing or part masks, not {len(files)} files"
            )
        if parts:
            return _drawing(
                draw_face(read_parts(parts), others[0] if others else None, self.short_side, self._upright)
            )
        return _drawing(read_drawing(others[0], self._upright))

    def render(self, condition: Condition) -> NDArray[np.float32]:
        """(H, W, 2) float32: edge, 0 or 1, and distance, 0 to 1 (see mcltool.edge_planes)."""
        if condition.raster is None:
            raise DataError("celebahq: a condition without a line drawing")
        return edge_planes(condition.raster)


class CelebAHQPartsPlugin(_Faces):
    """30000 portraits with the 15 planes of the published edges (see drawings.PLANES).

    To translate, a condition is the part masks of a face, and for the edges inside of them their photo; or what
    ``write_condition`` wrote. A drawing alone does not do: the distance maps are of parts.
    """

    name: ClassVar[str] = "celebahq-parts"

    @property
    def spec(self) -> ConditionSpec:
        return _PARTS

    def conditions(self, folder: Path) -> Iterator[ConditionFiles]:
        for found in face_conditions(folder):
            yield (
                replace(found, id=found.id.removesuffix(Path(STACK).stem)) if is_stack(found.files) else found
            )

    def index(self, root: Path | None, split: str) -> Sequence[Sample]:
        return self._index(root, split, with_photo=True)

    def condition(self, sample: Sample, short_side: int) -> Condition:
        """Drawn at ``short_side``, at most that of the masks (512 px)."""
        return part_planes(self._face(sample), sample.photo, short_side, self._upright)

    def read_condition(self, files: Sequence[Path]) -> Condition:
        if is_stack(files):
            return read_planes(files[0])
        parts = [path for path in files if split_name(path.name)]
        others = [path for path in files if not split_name(path.name)]
        if not parts or len(others) > 1:
            raise DataError(
                f"celebahq-parts: a condition is the part masks of a face (02994_skin.png, ...), perhaps with their "
                f"photo; found {', '.join(path.name for path in files) or 'no file'}"
            )
        return part_planes(read_parts(parts), others[0] if others else None, self.short_side, self._upright)

    def render(self, condition: Condition) -> NDArray[np.float32]:
        """(H, W, 15) float32 in [0, 1]."""
        if condition.raster is None:
            raise DataError("celebahq-parts: a condition without planes")
        return condition.raster.astype(np.float32) / np.float32(255)

    def write_condition(self, condition: Condition, stem: Path) -> Path:
        return write_planes(condition, stem)


class CelebAHQMaskPlugin(_Faces):
    """30000 portraits with labels of 19 classes: background 0, then the parts in their documented order.

    To translate, a condition is one label map (indices 0..18, or the palette's colours), or part masks.
    """

    name: ClassVar[str] = "celebahq-mask"

    @property
    def spec(self) -> ConditionSpec:
        return _LABELS

    def index(self, root: Path | None, split: str) -> Sequence[Sample]:
        return self._index(root, split, with_photo=False)

    def condition(self, sample: Sample, short_side: int) -> Condition:
        """At the masks' own size, whatever ``short_side``."""
        return _labels(self._face(sample))

    def read_condition(self, files: Sequence[Path]) -> Condition:
        """One label map, or the part masks of a face."""
        if files and all(split_name(path.name) for path in files):
            return _labels(read_parts(files))
        if len(files) != 1:
            raise DataError(
                f"celebahq-mask: a condition is one label map or part masks, not {len(files)} files"
            )
        return _labels(self._read_map(files[0]))

    def doubt(self, condition: Condition) -> str:
        """Of a face whose parts lie where none has them."""
        return "" if condition.raster is None else doubt_of(condition.raster, self.label_numbering)


def _drawing(lines: NDArray[np.uint8]) -> Condition:
    return Condition((lines.shape[0], lines.shape[1]), lines, smooth=True)


def _labels(labels: NDArray[np.uint8]) -> Condition:
    return Condition((labels.shape[0], labels.shape[1]), labels, mirror=MIRROR)
