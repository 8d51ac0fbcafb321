"""mcltool's own checks, on a data set made up for them, and what is particular to this one."""

from pathlib import Path

import numpy as np
import pytest
from mcltool_two_tone import TwoTonePlugin
from PIL import Image

from mcltool import UsageError
from mcltool.plugin.conformance import assert_conforms


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three things from two sides each: a light disc on a dark ground."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    rows, columns = np.mgrid[:80, :96]
    for thing in range(3):
        for view in range(2):
            inside = (rows - 40) ** 2 + (columns - 30 - 20 * view) ** 2 < 400
            photo = np.where(inside[..., None], (200, 60 + 60 * thing, 40), (40, 50, 70)).astype(np.uint8)
            Image.fromarray(photo).save(tmp_path / "images" / f"disc{thing}_{view}.jpg")
            Image.fromarray(inside.astype(np.uint8) * 255).save(
                tmp_path / "masks" / f"disc{thing}_{view}.png"
            )
    return tmp_path


def test_it_keeps_the_contract(root: Path) -> None:
    assert_conforms(TwoTonePlugin(), root)


def test_one_thing_is_held_out_from_all_sides(root: Path) -> None:
    assert [sample.id for sample in TwoTonePlugin().index(root, "val")] == ["disc0_0", "disc0_1"]
    assert {sample.group for sample in TwoTonePlugin().index(root, "train")} == {"disc1", "disc2"}


def test_a_list_says_what_is_held_out(root: Path) -> None:
    (root / "val.txt").write_text("disc2_1\n")
    assert [sample.id for sample in TwoTonePlugin().index(root, "val")] == ["disc2_1"]


def test_a_folder_that_is_something_else_is_told_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"images: no such folder; expected ROOT/images/X\.jpg"):
        TwoTonePlugin().index(tmp_path, "train")
