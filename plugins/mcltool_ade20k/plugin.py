"""The ``ade20k`` plugin: photos and label maps in the layout of ADEChallengeData2016."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mcltool import (
    Condition,
    ConditionSpec,
    DataError,
    DatasetPlugin,
    Sample,
    UsageError,
    read_labels,
    walk_files,
)
from mcltool_ade20k.classes import NAMES, PALETTE

SPLITS = {"train": "training", "val": "validation"}
ARCHIVE = "ADEChallengeData2016"

_PAGE = "http://sceneparsing.csail.mit.edu"
_WAY_OUT = (
    f"get {ARCHIVE}.zip at {_PAGE} (photos for non-commercial research and education only), unpack it and "
    "give its folder as --root, which has images/{training,validation}/*.jpg and "
    "annotations/{training,validation}/*.png (or each .png beside its .jpg)"
)
_PNG = frozenset({".png"})
_SPEC = ConditionSpec("labels", NAMES, PALETTE, unknown=0)


class Ade20kPlugin(DatasetPlugin):
    """20210 training and 2000 validation scenes. Labels: 0 unknown, 1 to 150 the classes.

    Expected below the root, or below ADEChallengeData2016 in it, as the archive unpacks:
    images/{training,validation}/NAME.jpg and annotations/{training,validation}/NAME.png. Or merged, as some
    training code wants it: NAME.png beside NAME.jpg in images/{training,validation} or
    {training,validation}.
    """

    name: ClassVar[str] = "ade20k"
    home_page: ClassVar[str] = _PAGE
    # The published settings but for the batch: 32 at 256 px takes several GPUs, so that the preset's stays.
    defaults: ClassVar[Mapping[str, Any]] = {
        "loss.perc": 0.01,
        "loss.perc_layer": "relu5_2",
        "loss.feat": 1.0,
        "loss.cyc": 0.0,
        "loss.mask": 100.0,
        "data.exemplar_self": 0.3,
        "data.flip": True,
        "train.epochs": 200,
    }

    @property
    def spec(self) -> ConditionSpec:
        return _SPEC

    def index(self, root: Path | None, split: str) -> Sequence[Sample]:
        """Ids are file names without suffix. Raises UsageError where photos or annotations are missing."""
        if split not in SPLITS:
            raise UsageError(f"ade20k: no split {split!r}; there are {', '.join(SPLITS)}")
        photos, annotations = self._folders(self._home(root), SPLITS[split])
        labelled = {path.stem: path for path in walk_files(annotations, _PNG)}
        samples, bare = [], []
        for path in walk_files(photos, frozenset({".jpg"})):
            if path.stem in labelled:
                samples.append(Sample(path.stem, path, (labelled[path.stem],)))
            else:
                bare.append(path)
        if bare:
            expected = annotations / f"{bare[0].stem}.png"
            raise UsageError(
                f"{bare[0]}: no annotation, expected {expected} ({len(bare)} photos lack theirs)"
            )
        if not samples:
            raise UsageError(f"{photos}: no .jpg photos in it; {_WAY_OUT}")
        return samples

    def read_condition(self, files: Sequence[Path]) -> Condition:
        """One PNG of indices 0..150, or in the palette's colours."""
        if len(files) != 1:
            raise DataError(f"ade20k: a condition is one label map, not {len(files)} files")
        labels = read_labels(files[0], len(NAMES), PALETTE)
        return Condition((labels.shape[0], labels.shape[1]), labels)

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
