"""The ade20k plugin reads the data set as it comes out of its archive."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mcltool_ade20k import Ade20kPlugin
from PIL import Image

from mcltool import DataError, UsageError
from mcltool.core.config import resolve

PLUGIN = Ade20kPlugin()


def add(root: Path, split: str, name: str, labels: np.ndarray) -> None:
    """One scene: a grey photo and its label map."""
    for kind in ("images", "annotations"):
        (root / kind / split).mkdir(parents=True, exist_ok=True)
    height, width = labels.shape
    Image.new("RGB", (width, height), "grey").save(root / "images" / split / f"{name}.jpg")
    Image.fromarray(labels.astype(np.uint8)).save(root / "annotations" / split / f"{name}.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The archive's layout in miniature: two scenes to train on, one to validate."""
    labels = np.array([[0, 1, 150], [3, 3, 7]])
    add(tmp_path, "training", "ADE_train_00000002", labels)
    add(tmp_path, "training", "ADE_train_00000001", labels.T)
    add(tmp_path, "validation", "ADE_val_00000001", labels)
    return tmp_path


def test_photos_and_annotations_of_a_split_are_paired_by_name(root: Path) -> None:
    train, val = PLUGIN.index(root, "train"), PLUGIN.index(root, "val")
    assert [sample.id for sample in train] == ["ADE_train_00000001", "ADE_train_00000002"]
    assert [sample.id for sample in val] == ["ADE_val_00000001"]
    assert val[0].photo == root / "images" / "validation" / "ADE_val_00000001.jpg"
    assert val[0].condition == (root / "annotations" / "validation" / "ADE_val_00000001.png",)


def test_the_folder_that_the_archive_makes_may_lie_in_the_root(root: Path) -> None:
    inner = root / "ADEChallengeData2016"
    inner.mkdir()
    for kind in ("images", "annotations"):
        (root / kind).rename(inner / kind)
    assert len(PLUGIN.index(root, "train")) == 2


@pytest.mark.parametrize("folder", ["images", "."])
def test_annotations_may_lie_beside_the_photos(folder: str, root: Path) -> None:
    """The merged layout, with and without images/."""
    official = {split: PLUGIN.index(root, split) for split in ("train", "val")}
    rasters = [PLUGIN.condition(sample, 0).raster for sample in official["train"]]
    for split in ("training", "validation"):
        (root / folder / split).mkdir(exist_ok=True)
        for kind in ("images", "annotations"):
            for path in (root / kind / split).iterdir():
                path.rename(root / folder / split / path.name)
            if kind != folder:
                (root / kind / split).rmdir()
    (root / "annotations").rmdir()
    for split, samples in official.items():
        found = PLUGIN.index(root, split)
        assert [sample.id for sample in found] == [sample.id for sample in samples]
        for sample in found:
            assert sample.photo is not None
            assert sample.photo.is_file()
            assert sample.condition == (sample.photo.with_suffix(".png"),)
    for sample, raster in zip(PLUGIN.index(root, "train"), rasters, strict=True):
        np.testing.assert_array_equal(PLUGIN.condition(sample, 0).raster, raster)


def test_a_photo_without_its_annotation_beside_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    for name in ("one.jpg", "one.png", "two.jpg"):
        Image.new("L", (2, 2)).save(tmp_path / "training" / name)
    with pytest.raises(UsageError, match=r"two\.jpg: no annotation, expected .*training/two\.png"):
        PLUGIN.index(tmp_path, "train")


def test_photos_without_any_annotations_miss_the_official_folder(root: Path) -> None:
    for path in (root / "annotations" / "training").iterdir():
        path.unlink()
    (root / "annotations" / "training").rmdir()
    with pytest.raises(UsageError, match=r"annotations/training: no such folder; get ADEChallengeData2016"):
        PLUGIN.index(root, "train")


def test_a_condition_is_read_as_class_indices(root: Path) -> None:
    condition = PLUGIN.condition(PLUGIN.index(root, "val")[0], 256)
    assert condition.size == (2, 3)
    np.testing.assert_array_equal(condition.raster, [[0, 1, 150], [3, 3, 7]])


def test_colour_coded_masks_are_read_by_the_standard_palette(tmp_path: Path) -> None:
    colours = np.array([[[0, 0, 0], [120, 120, 120]], [[6, 230, 230], [92, 0, 255]]], np.uint8)
    Image.fromarray(colours).save(tmp_path / "mask.png")
    raster = PLUGIN.read_condition([tmp_path / "mask.png"]).raster
    np.testing.assert_array_equal(raster, [[0, 1], [3, 150]])  # unknown, wall; sky, flag


def test_classes_are_those_of_the_scene_parsing_benchmark() -> None:
    spec = PLUGIN.spec
    assert (spec.kind, spec.channels, spec.unknown) == ("labels", 151, 0)
    facts = {0: "unknown", 1: "wall", 3: "sky", 13: "person", 21: "car", 76: "swivel chair", 150: "flag"}
    assert {index: spec.names[index] for index in facts} == facts
    assert len(set(spec.names)) == 151
    # The palette's one double entry is the standard's own: road (7) and skyscraper (49).
    assert len(set(spec.palette)) == 150
    assert spec.palette[7] == spec.palette[49] == (140, 140, 140)


def test_a_label_outside_the_classes_is_one_line_naming_the_file(tmp_path: Path) -> None:
    Image.fromarray(np.full((2, 2), 151, np.uint8)).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match=r"mask\.png: label 151 is outside the classes 0\.\.150"):
        PLUGIN.read_condition([tmp_path / "mask.png"])


# --- scenes in folders, photos of other kinds ---


def test_scenes_in_folders_that_number_their_photos_anew_keep_their_own_masks(tmp_path: Path) -> None:
    for number, scene in enumerate(("beach", "kitchen"), 1):
        add(tmp_path, f"training/{scene}", "0001", np.full((2, 2), number))
    samples = PLUGIN.index(tmp_path, "train")
    assert [sample.id for sample in samples] == ["beach/0001", "kitchen/0001"]
    for number, sample in enumerate(samples, 1):
        assert sample.photo is not None
        assert sample.photo.parent.name == sample.condition[0].parent.name
        np.testing.assert_array_equal(PLUGIN.condition(sample, 0).raster, np.full((2, 2), number))


def test_a_mask_of_another_folder_is_none(tmp_path: Path) -> None:
    add(tmp_path, "training/beach", "0001", np.ones((2, 2)))
    (tmp_path / "annotations/training/beach").rename(tmp_path / "annotations/training/kitchen")
    with pytest.raises(UsageError, match=r"beach/0001\.jpg: no annotation, expected .*beach/0001\.png"):
        PLUGIN.index(tmp_path, "train")


@pytest.mark.parametrize("suffix", [".jpeg", ".png", ".jfif", ".webp", ".JPG"])
def test_photos_of_any_kind_are_taken(suffix: str, root: Path) -> None:
    folder = root / "images" / "training"
    Image.new("RGB", (3, 2)).save(folder / f"new{suffix}")
    Image.new("L", (3, 2)).save(root / "annotations" / "training" / "new.png")
    samples = PLUGIN.index(root, "train")
    assert [sample.id for sample in samples][-1] == "new"
    assert PLUGIN.photo(samples[-1], 0).shape == (2, 3, 3)


def test_two_photos_of_one_name_are_refused(root: Path) -> None:
    Image.new("RGB", (3, 2)).save(root / "images" / "training" / "ADE_train_00000001.jpeg")
    with pytest.raises(
        UsageError, match=r"ADE_train_00000001\.jpg: ADE_train_00000001\.jpeg beside it has the same"
    ):
        PLUGIN.index(root, "train")


# --- other numberings and encodings ---


@pytest.mark.parametrize("unknown", [150, 255])
def test_labels_from_zero_on_are_read_where_that_is_said(unknown: int, tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 2, 149, unknown]], np.uint8)).save(tmp_path / "mask.png")
    plugin = Ade20kPlugin()
    plugin.label_numbering = "zero-based"
    np.testing.assert_array_equal(plugin.read_condition([tmp_path / "mask.png"]).raster, [[1, 3, 150, 0]])


def test_255_names_the_way_out(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 255]], np.uint8)).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match=r"label 255 is outside the classes 0\.\.150; .* --labels zero-based"):
        PLUGIN.read_condition([tmp_path / "mask.png"])


def test_a_flag_is_doubted_unless_the_numbering_was_named(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 150]], np.uint8)).save(tmp_path / "mask.png")
    plugin = Ade20kPlugin()
    condition = plugin.read_condition([tmp_path / "mask.png"])
    assert "--labels zero-based" in plugin.doubt(condition)
    plugin.label_numbering = "standard"
    assert plugin.doubt(condition) == ""


def test_label_maps_of_the_full_data_set_are_read(tmp_path: Path) -> None:
    """wall 2978, wardrobe 533 as well as 2985, flag 954; 2979 is none of the 150. Blue is the instance."""
    numbers, instances = np.array([[2978, 533, 2985, 954, 2979, 0]]), np.array([[7, 200, 1, 0, 3, 0]])
    colours = np.stack([numbers // 256 * 10, numbers % 256, instances], -1)
    Image.fromarray(colours.astype(np.uint8)).save(tmp_path / "a_seg.png")
    raster = PLUGIN.read_condition([tmp_path / "a_seg.png"]).raster
    np.testing.assert_array_equal(raster, [[1, 36, 36, 150, 0, 0]])


def test_the_folders_of_the_full_data_set_are_taken(tmp_path: Path) -> None:
    folder = tmp_path / "images" / "training" / "a" / "abbey"
    folder.mkdir(parents=True)
    for name in ("ADE_1.jpg", "ADE_1_seg.png", "ADE_1_parts_1.png"):
        Image.new("RGB", (2, 2)).save(folder / name)
    (sample,) = PLUGIN.index(tmp_path, "train")
    assert (sample.id, sample.condition) == ("a/abbey/ADE_1", (folder / "ADE_1_seg.png",))


def test_a_label_map_with_none_of_the_classes_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.array([[[110, 163, 0]]], np.uint8)).save(tmp_path / "a_seg.png")
    with pytest.raises(
        DataError, match=r"a_seg\.png: none of its classes \(2979, as the full ADE20K counts\)"
    ):
        PLUGIN.read_condition([tmp_path / "a_seg.png"])


@pytest.mark.parametrize("given", [None, "nowhere", "."])
def test_a_missing_data_set_says_where_to_get_it_what_it_looks_like_and_its_terms(
    given: str | None, tmp_path: Path
) -> None:
    root = tmp_path / given if given else None
    wanted = (
        r"(?=.*http://sceneparsing\.csail\.mit\.edu)(?=.*images/\{training,validation\})(?=.*non-commercial)"
    )
    with pytest.raises(UsageError, match=wanted) as error:
        PLUGIN.index(root, "train")
    assert str(root or "--root") in str(error.value)


def test_an_empty_folder_is_an_error_that_names_it(root: Path) -> None:
    for photo in (root / "images" / "validation").iterdir():
        photo.unlink()
    with pytest.raises(UsageError, match=r"images/validation: no photos in it"):
        PLUGIN.index(root, "val")


def test_a_photo_without_annotation_names_both_files(root: Path) -> None:
    (root / "annotations" / "training" / "ADE_train_00000002.png").unlink()
    photo, mask = r"images/training/ADE_train_00000002\.jpg", r"annotations/training/ADE_train_00000002\.png"
    with pytest.raises(UsageError, match=f"{photo}: no annotation, expected .*{mask}"):
        PLUGIN.index(root, "train")


def test_an_unknown_split_is_an_error(root: Path) -> None:
    with pytest.raises(UsageError, match="no split 'test'; there are train, val"):
        PLUGIN.index(root, "test")


@pytest.mark.parametrize("preset", ["tiny", "base", "paper"])
def test_the_defaults_are_settings_that_exist(preset: str) -> None:
    config = resolve("ade20k", preset, PLUGIN.defaults)
    assert (config.train.epochs, config.data.flip, config.data.exemplar_self) == (200, True, 0.3)
    assert config.loss == resolve("shapes", preset).loss  # published: --config paper-*


def test_real_files_are_read(real_samples: Path) -> None:
    root = real_samples / "ade20k"
    for split in ("train", "val"):
        samples = PLUGIN.index(root, split)
        assert len(samples) == 3
        for sample in samples:
            photo, condition = PLUGIN.photo(sample, 0), PLUGIN.condition(sample, 0)
            assert photo.shape[:2] == condition.size
            assert condition.raster is not None
            assert len(np.unique(condition.raster)) > 2
