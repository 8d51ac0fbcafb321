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
    with pytest.raises(UsageError, match=r"images/validation: no \.jpg photos"):
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
    assert (config.loss.perc_layer, config.train.epochs, config.data.flip) == ("relu5_2", 200, True)


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
