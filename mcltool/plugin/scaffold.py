"""``mcltool plugins new``: the files of a new plugin package."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from mcltool.core.errors import UsageError
from mcltool.core.files import write_text

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST = 40


def write_package(name: str, folder: Path) -> Path:
    """Write a package with the plugin ``name`` to ``folder``, which must not exist; returns it.

    Raises UsageError for a name that will not do and for a folder or file that is there.
    """
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise UsageError(f"{name}: a plugin's name is lower case, a-z 0-9 and single -, such as street-views")
    module = "mcltool_" + name.replace("-", "_")
    if keyword.iskeyword(module) or not module.isidentifier():
        raise UsageError(f"{name}: {module} is not the name of a Python module")
    if folder.exists() or folder.is_symlink():
        raise UsageError(f"{folder}: exists already; give another --out")
    words = {
        "NAME": name,
        "MODULE": module,
        "CLASS": "".join(part.capitalize() for part in name.split("-")) + "Plugin",
    }
    try:
        for path, text in FILES.items():
            write_text(folder / _fill(path, words), _fill(text.lstrip("\n"), words))
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written ({error.strerror})") from None
    return folder


def _fill(text: str, words: dict[str, str]) -> str:
    return re.sub(r"@(NAME|MODULE|CLASS)@", lambda found: words[found[1]], text)


_PYPROJECT = """
[build-system]
requires = ["hatchling>=1.25"]
build-backend = "hatchling.build"

[project]
name = "mcltool-@NAME@"
version = "0.1.0"
description = "The data set @NAME@ for mcltool"
requires-python = ">=3.11"
dependencies = ["mcltool"]

[project.optional-dependencies]
test = ["pytest"]

[project.entry-points."mcltool.datasets"]
@NAME@ = "@MODULE@:@CLASS@"

[tool.hatch.build.targets.wheel]
include = ["@MODULE@.py"]
"""

_MODULE = '''
"""The data set ``@NAME@``: photos, each with a label mask of the same name.

    ROOT/train/images/0001.jpg    ROOT/train/masks/0001.png
    ROOT/val/images/...           ROOT/val/masks/...
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

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

SPLITS = ("train", "val")
EXPECTED = "expected ROOT/{train,val}/images/X.jpg and ROOT/{train,val}/masks/X.png"

# A mask's pixels are the numbers of these classes: 0, 1, 2; or their colours.
SPEC = ConditionSpec(
    kind="labels",
    names=("ground", "sky", "thing"),
    palette=((96, 108, 56), (142, 202, 230), (230, 57, 70)),
)


class @CLASS@(DatasetPlugin):
    """Photos in images/ with label masks in masks/."""

    name = "@NAME@"
    version = "1"  # weights are marked with it: count up when classes change
    home_page = ""  # where a person gets the data set and reads its terms
    defaults = {"data.flip": True}  # training settings; what a user sets goes first

    @property
    def spec(self) -> ConditionSpec:
        return SPEC

    def index(self, root: Path | None, split: str) -> Sequence[Sample]:
        """The photos of a split, sorted; each needs a mask."""
        if split not in SPLITS:
            raise UsageError(f"{self.name}: no split {split!r}; there are {', '.join(SPLITS)}")
        if root is None:
            raise UsageError(f"{self.name}: --root is missing; {EXPECTED}")
        photos, masks = root / split / "images", root / split / "masks"
        for folder in (photos, masks):
            if not folder.is_dir():
                raise UsageError(f"{folder}: no such folder; {EXPECTED}")
        samples = []
        for photo in walk_files(photos, IMAGE_SUFFIXES):
            mask = masks / photo.relative_to(photos).with_suffix(".png")
            # A group would name what several photos show alike, such as one house from two sides.
            samples.append(Sample(photo.relative_to(photos).with_suffix("").as_posix(), photo, (mask,)))
        if not samples:
            raise UsageError(f"{photos}: no photos in it; {EXPECTED}")
        return samples

    def read_condition(self, files: Sequence[Path]) -> Condition:
        """A mask. Training and translate-dir both come here."""
        if len(files) != 1:
            raise DataError(f"{self.name}: a condition is one mask, not {len(files)} files")
        labels = read_labels(files[0], len(SPEC.names), SPEC.palette)
        return Condition((labels.shape[0], labels.shape[1]), labels)
'''

_TEST = '''
"""The plugin keeps mcltool's contract, shown on made-up pictures in its layout."""

from pathlib import Path

import numpy as np
from @MODULE@ import @CLASS@, SPEC
from mcltool.plugin.conformance import assert_conforms
from PIL import Image


def make_data(root: Path) -> None:
    """Four photos to train on and two to validate: stripes of the classes, in the palette's colours."""
    for split, count in (("train", 4), ("val", 2)):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for number in range(count):
            columns = (np.arange(96) + 7 * number) // 16 % len(SPEC.names)
            labels = np.tile(columns.astype(np.uint8), (72, 1))
            Image.fromarray(labels).save(root / split / "masks" / f"{number:04d}.png")
            photo = np.asarray(SPEC.palette, np.uint8)[labels]
            Image.fromarray(photo).save(root / split / "images" / f"{number:04d}.png")


def test_the_plugin_keeps_the_contract(tmp_path: Path) -> None:
    make_data(tmp_path)
    assert_conforms(@CLASS@(), tmp_path)
'''

_README = """
# mcltool-@NAME@

The data set `@NAME@` for mcltool.

```sh
pip install -e .[test]
pytest                                     # the contract, on made-up pictures
mcltool plugins check @NAME@ --root DIR    # the contract, on your data
mcltool data check --plugin @NAME@ --root DIR
mcltool fit --plugin @NAME@ --root DIR
```
"""

FILES = {
    "pyproject.toml": _PYPROJECT,
    "README.md": _README,
    "@MODULE@.py": _MODULE,
    "tests/test_@MODULE@.py": _TEST,
}
