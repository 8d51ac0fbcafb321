"""The ``ade20k`` plugin: photos and label maps in the layout of ADEChallengeData2016."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mcltool import (
    IMAGE_SUFFIXES,
    Condition,
    ConditionSpec,
    DataError,
    DatasetPlugin,
    Sample,
    UsageError,
    read_labels,
    walk_files,
)
from mcltool_ade20k.classes import NAMES, PALETTE, decode

SPLITS = {"train": "training", "val": "validation"}
ARCHIVE = "ADEChallengeData2016"

_PAGE = "http://sceneparsing.csail.mit.edu"
_WAY_OUT = (
    f"get {ARCHIVE}.zip at {_PAGE} (photos for non-commercial research and education only), unpack it and "
    "give its folder as --root, which has images/{training,validation}/*.jpg and "
    "annotations/{training,validation}/*.png (or each .png beside its .jpg)"
)
_PNG = frozenset({".png"})
_FULL = "_seg"
"""What the full ADE20K puts behind a photo's name; behind it lie _parts_1.png, which are no label maps."""
_FLAG = NAMES.index("flag")
_SPEC = ConditionSpec("labels", NAMES, PALETTE, unknown=0)


class Ade20kPlugin(DatasetPlugin):
    """20210 training and 2000 validation scenes. Labels: 0 unknown, 1 to 150 the classes.

    Expected below the root, or below ADEChallengeData2016 in it, as the archive unpacks:
    images/{training,validation}/NAME.jpg and annotations/{training,validation}/NAME.png. Or merged, as some
    training code wants it: NAME.png beside NAME.jpg in images/{training,validation} or
    {training,validation}, or X_seg.png, as in the full ADE20K. Photos may be of any kind, in folders of folders.
    """

    name: ClassVar[str] = "ade20k"
    home_page: ClassVar[str] = _PAGE
    # The published losses are in the configuration paper-ade20k.
    defaults: ClassVar[Mapping[str, Any]] = {
        "data.exemplar_self": 0.3,
        "data.flip": True,
        "train.epochs": 200,
    }

    numberings: ClassVar[Mapping[str, Mapping[int, int]]] = {
        # 0 to 149, as networks give them; 150 (SPADE) or 255 (mmseg's reduce_zero_label) for unknown.
        "zero-based": {number: number + 1 for number in range(150)} | {150: 0, 255: 0}
    }

    @property
    def spec(self) -> ConditionSpec:
        return _SPEC

    def index(self, root: Path | None, split: str) -> Sequence[Sample]:
        """Ids are the photos' paths below their folder, without suffix.

        Raises UsageError where photos or annotations are missing, or two have one name.
        """
        if split not in SPLITS:
            raise UsageError(f"ade20k: no split {split!r}; there are {', '.join(SPLITS)}")
        photos, annotations = self._folders(self._home(root), SPLITS[split])
        merged = photos == annotations
        labelled = _by_name(annotations, _PNG if merged else IMAGE_SUFFIXES)
        named = _by_name(photos, IMAGE_SUFFIXES - _PNG if merged else IMAGE_SUFFIXES)
        found = {name: labelled.get(name) or labelled.get(name + _FULL) for name in named}
        samples = [Sample(name, named[name], (mask,)) for name, mask in found.items() if mask]
        if bare := [name for name, mask in found.items() if not mask]:
            raise UsageError(
                f"{named[bare[0]]}: no annotation, expected {annotations / bare[0]}.png "
                f"({len(bare)} photos lack theirs)"
            )
        if not samples:
            raise UsageError(f"{photos}: no photos in it; {_WAY_OUT}")
        return samples

    def read_condition(self, files: Sequence[Path]) -> Condition:
        """One label map: indices 0..150, the palette's colours, or the encoding of the full ADE20K."""
        if len(files) != 1:
            raise DataError(f"ade20k: a condition is one label map, not {len(files)} files")
        try:
            labels = read_labels(
                files[0], len(NAMES), PALETTE, self.numbers, decode, self.follow_exif is not False
            )
        except DataError as error:
            if "label 255 is outside" not in str(error):
                raise
            raise DataError(f"{error}; where 0 is wall and 255 unknown, give --labels zero-based") from None
        return Condition((labels.shape[0], labels.shape[1]), labels)

    def doubt(self, condition: Condition) -> str:
        """A flag in every tenth picture is none: it is in every fiftieth of the data set."""
        if self.label_numbering or condition.raster is None or not (condition.raster == _FLAG).any():
            return ""
        return (
            f"label {_FLAG}, flag, is rare: where 0 is wall and {_FLAG} unknown, give --labels zero-based "
            "(--labels standard: flags they are)"
        )

    def _folders(self, home: Path, split: str) -> tuple[Path, Path]:
        """Where the split's photos and its annotations are, which may be one folder."""
        photos, annotations = home / "images" / split, home / "annotations" / split
        if not annotations.is_dir():
            for merged in (photos, home / split):
                if merged.is_dir() and any(walk_files(merged, _PNG)):
                    return merged, merged
        for folder in (photos, annotations):
            if not folder.is_dir():
                raise UsageError(f"{folder}: no such folder; {_WAY_OUT}")
        return photos, annotations

    def _home(self, root: Path | None) -> Path:
        """The folder with images/ and annotations/."""
        if root is None:
            raise UsageError(f"ade20k: --root is missing; {_WAY_OUT}")
        if not root.is_dir():
            raise UsageError(f"{root}: no such folder; {_WAY_OUT}")
        inner = root / ARCHIVE
        return inner if inner.is_dir() else root


def _by_name(folder: Path, suffixes: frozenset[str]) -> dict[str, Path]:
    """Files below ``folder`` by their path in it without suffix. Raises UsageError where two have one name."""
    found: dict[str, Path] = {}
    for path in walk_files(folder, suffixes):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise UsageError(f"{path}: {found[name].name} beside it has the same name but for the suffix")
        found[name] = path
    return found
