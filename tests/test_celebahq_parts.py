"""The plugin ``celebahq-parts``: 15 planes of boxes whose distances are known by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from faces import FACE, box_mask, make_root
from mcltool_celebahq import CelebAHQPartsPlugin
from mcltool_celebahq.drawings import HEAD, PLANES, SIDES
from PIL import Image

from mcltool import Condition, DataError
from mcltool.core.config import DataConfig
from mcltool.data.dataset import TrainingData

PLUGIN = CelebAHQPartsPlugin()
LIP, EYE = PLANES.index("distance to l_lip"), PLANES.index("distance to l_eye")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path)


def condition(root: Path) -> Condition:
    return PLUGIN.condition(PLUGIN.index(root, "val")[0], 64)


def test_there_are_15_planes_13_of_them_distances_to_parts_of_the_head() -> None:
    assert (len(PLANES), len(HEAD), len(set(PLANES))) == (15, 13, 15)
    assert {(PLANES[a], PLANES[b]) for a, b in SIDES} == {
        (f"distance to l_{part}", f"distance to r_{part}") for part in ("eye", "brow", "ear")
    }


def test_distances_are_in_steps_along_rows_and_columns_from_the_parts_outline_a_third_a_pixel(
    root: Path,
) -> None:
    """The lip is rows 46 to 49 and columns 26 to 37; its line is the pixels on either side of its edge."""
    plane = condition(root).raster[..., LIP]  # type: ignore[index]
    assert plane[45, 30] == plane[46, 30] == plane[49, 30] == plane[50, 30] == 0
    assert plane[60, 30] == (60 - 50) // 3
    assert plane[60, 48] == ((60 - 49) + (48 - 37) - 1) // 3  # around the corner, whose line is a cross
    assert plane[0, 30] == 45 // 3


def test_a_part_that_is_not_there_is_as_far_as_can_be(root: Path) -> None:
    assert (condition(root).raster[..., PLANES.index("distance to nose")] == 255).all()  # type: ignore[index]


def test_outlines_are_where_a_distance_is_0_and_edges_are_two_pixels_wide(root: Path) -> None:
    raster = condition(root).raster
    assert raster is not None
    assert np.array_equal(raster[..., -1] > 0, (raster[..., 1:-1] == 0).any(2) & (raster[..., -1] > 0))
    assert raster[45:47, 30, -1].tolist() == [255, 255]
    columns = np.flatnonzero(raster[40, :, 0])
    assert len(columns) % 2 == 0
    assert set(np.unique(raster[..., 0])) == {0, 255}


def test_planes_are_between_0_and_1_and_change_places_when_mirrored(root: Path) -> None:
    planes = PLUGIN.render(condition(root))
    assert (planes.shape, planes.dtype) == ((64, 64, 15), np.float32)
    assert planes.min() >= 0
    assert planes.max() <= 1
    data = TrainingData(PLUGIN, PLUGIN.index(root, "val"), DataConfig((64, 64), load_scale=1.0, flip=True), 0)
    seen = {data[number]["condition"][EYE].argmin().item() % 64 < 32 for number in range(12)}
    assert seen == {True}  # the left eye of the picture stays the left one


def test_what_was_written_is_found_and_read_again(root: Path, tmp_path: Path) -> None:
    made = condition(root)
    path = PLUGIN.write_condition(made, tmp_path / "out" / "a.b")
    (found,) = PLUGIN.conditions(tmp_path / "out")
    assert (found.id, found.files) == ("a.b", (path,))
    assert np.array_equal(PLUGIN.read_condition(found.files).raster, made.raster)  # type: ignore[arg-type]


def test_a_drawing_alone_is_refused(tmp_path: Path) -> None:
    Image.fromarray(box_mask(FACE["skin"])).save(tmp_path / "lines.png")
    with pytest.raises(DataError, match="a condition is the part masks of a face"):
        PLUGIN.read_condition([tmp_path / "lines.png"])
    Image.fromarray(box_mask(FACE["skin"])).save(tmp_path / "x_planes.png")
    with pytest.raises(DataError, match="expected 15 planes one below the other, found 64 rows"):
        PLUGIN.read_condition([tmp_path / "x_planes.png"])


def test_it_keeps_the_contract_at_any_size(root: Path) -> None:
    """15 channels are more than OpenCV resizes at once."""
    made = condition(root)
    small = made.resized((32, 48)).raster
    assert small is not None
    assert made.raster is not None
    for n in range(15):
        alone = Condition((64, 64), made.raster[..., n], smooth=True).resized((32, 48)).raster
        assert np.array_equal(small[..., n], alone)  # type: ignore[arg-type]
