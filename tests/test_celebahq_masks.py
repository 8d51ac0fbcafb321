"""Part masks as one label map: see mcltool_celebahq.masks and .classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from faces import CLASS, EDGES, FACE, MASKS, add, box_mask, make_root, read
from PIL import Image

from mcltool import DataError
from mcltool.core.config import DataConfig
from mcltool.data.geometry import RandomState, training_geometry


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path)


def test_classes_are_those_of_celebamask_hq() -> None:
    spec = MASKS.spec
    assert (spec.kind, spec.channels, spec.unknown) == ("labels", 19, None)
    order = "background skin nose eye_g l_eye r_eye l_brow r_brow l_ear r_ear mouth u_lip l_lip hair hat"
    assert spec.names == (*order.split(), "ear_r", "neck_l", "neck", "cloth")
    colours = np.array(spec.palette, float)
    apart = np.linalg.norm(colours[:, None] - colours[None], axis=2) + 1000 * np.eye(19)
    assert apart.min() > 40


def test_part_masks_make_one_label_map(root: Path) -> None:
    labels = read(MASKS, root)
    expected = np.zeros((64, 64), np.uint8)
    for part in ("skin", "l_eye", "r_eye", "l_lip", "hair", "ear_r"):
        expected[box_mask(FACE[part]) > 0] = CLASS[part]
    np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize(
    ("below", "above"),
    [
        *(("skin", "l_eye"), ("skin", "nose"), ("skin", "u_lip"), ("skin", "hair"), ("skin", "eye_g")),
        *(("neck", "hair"), ("cloth", "hair"), ("l_ear", "hair"), ("r_brow", "hair"), ("hair", "hat")),
        *(("eye_g", "r_eye"), ("hair", "ear_r"), ("neck", "neck_l"), ("cloth", "neck_l"), ("mouth", "l_lip")),
    ],
)
def test_what_is_in_front_is_painted_last(below: str, above: str, tmp_path: Path) -> None:
    for number in (0, 1):
        add(tmp_path, number, {below: (0, 0, 40, 40), above: (20, 20, 60, 60)})
    labels = read(MASKS, tmp_path)
    assert labels[30, 30] == CLASS[above]
    assert (labels[10, 10], labels[50, 50]) == (CLASS[below], CLASS[above])


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "0 and 1", "16 bit"])
def test_masks_of_other_modes_mean_the_same(mode: str, root: Path) -> None:
    expected = read(MASKS, root)
    for path in (root / "CelebAMask-HQ-mask-anno" / "0").iterdir():
        mask = Image.open(path).convert("L")
        if mode == "0 and 1":
            Image.fromarray((np.asarray(mask) > 0).astype(np.uint8)).save(path)
        elif mode == "16 bit":
            Image.fromarray(np.asarray(mask).astype(np.uint16) * 257).save(path)
        else:
            mask.convert(mode).save(path)
    np.testing.assert_array_equal(read(MASKS, root), expected)


def test_masks_that_cannot_be_used_are_named(root: Path) -> None:
    folder = root / "CelebAMask-HQ-mask-anno" / "0"
    Image.new("RGB", (32, 32)).save(folder / "00010_skin.png")
    with pytest.raises(
        DataError, match=r"00010_.*\.png: \d+ x \d+ pixels, expected \d+ x \d+ as in its other"
    ):
        read(MASKS, root)
    whole = (folder / "00010_hair.png").read_bytes()
    (folder / "00010_hair.png").write_bytes(whole[: len(whole) // 2])
    (folder / "00010_skin.png").unlink()
    for plugin in (EDGES, MASKS):
        with pytest.raises(DataError, match=r"00010_hair\.png: damaged or cut-off"):
            read(plugin, root)


def test_a_mirrored_face_has_left_and_right_exchanged_and_its_lips_not(root: Path) -> None:
    condition = MASKS.condition(MASKS.index(root, "val")[0], 64)
    photo = np.zeros((64, 64, 3), np.uint8)
    photo[:, :32] = 255
    config = DataConfig(size=(64, 64), load_scale=1.0, flip=True)
    seen = set()
    for seed in range(12):
        moved_photo, moved = training_geometry(photo, condition, config, RandomState(seed))
        mirrored = moved_photo[0, 0, 0] == 0
        seen.add(bool(mirrored))
        expected = dict(FACE)
        if mirrored:
            flipped = {
                part: (top, 64 - right, bottom, 64 - left)
                for part, (top, left, bottom, right) in FACE.items()
            }
            expected = flipped | {"l_eye": flipped["r_eye"], "r_eye": flipped["l_eye"]}
        assert moved.raster is not None
        for part in ("l_eye", "r_eye", "l_lip", "ear_r", "hair"):
            np.testing.assert_array_equal(moved.raster == CLASS[part], box_mask(expected[part]) > 0)
    assert seen == {True, False}


def test_label_maps_to_translate_are_indices_or_colours(tmp_path: Path) -> None:
    labels = np.arange(19, dtype=np.uint8)[None].repeat(3, 0)
    Image.fromarray(labels).save(tmp_path / "indices.png")
    Image.fromarray(np.array(MASKS.spec.palette, np.uint8)[labels]).save(tmp_path / "colours.png")
    for name in ("indices.png", "colours.png"):
        condition = MASKS.read_condition([tmp_path / name])
        assert (condition.size, condition.smooth) == ((3, 19), False)
        np.testing.assert_array_equal(condition.raster, labels)
    Image.fromarray(labels + 1).save(tmp_path / "19.png")
    with pytest.raises(DataError, match=r"19\.png: label 19 is outside the classes 0\.\.18"):
        MASKS.read_condition([tmp_path / "19.png"])
    with pytest.raises(DataError, match="one label map or part masks, not 2 files"):
        MASKS.read_condition([tmp_path / "indices.png", tmp_path / "colours.png"])


def test_part_masks_to_translate_are_one_condition_a_face(root: Path) -> None:
    folder = root / "CelebAMask-HQ-mask-anno"
    Image.new("L", (8, 8)).save(folder / "0" / "00010.png")
    Image.new("L", (8, 8)).save(folder / "mine.png")
    for plugin in (EDGES, MASKS):
        found = list(plugin.conditions(folder))
        # A number's own file sorts before its parts ("." before "_"); plan() tells their outputs apart.
        assert [condition.id for condition in found] == ["0/00010", "0/00010", "1/02994", "7/14721", "mine"]
        assert [len(condition.files) for condition in found] == [1, len(FACE), len(FACE), len(FACE), 1]
    files = found[1].files
    np.testing.assert_array_equal(MASKS.read_condition(files).raster, read(MASKS, root))
    np.testing.assert_array_equal(EDGES.read_condition(files).raster, read(EDGES, root))  # the photo is grey
