"""The celebahq plugins read the data set as its archive unpacks, and line drawings as people make them."""

from __future__ import annotations

import pickle
import tomllib
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mcltool_celebahq import CelebAHQMaskPlugin, CelebAHQPlugin
from numpy.typing import NDArray
from PIL import Image

from mcltool import Condition, DataError, UsageError
from mcltool.config import DataConfig, resolve
from mcltool.data.resize import resize_condition
from mcltool.data.transforms import pseudo_view, training_geometry

REAL = Path(__file__).parents[2] / "shared" / "real-samples" / "celebahq"
EDGES, MASKS = CelebAHQPlugin(), CelebAHQMaskPlugin()
CLASS = {name: index for index, name in enumerate(MASKS.spec.names)}

Box = tuple[int, int, int, int]
"""Top, left, bottom, right in mask pixels, the last two not included."""
FACE: Mapping[str, Box] = {
    "hair": (0, 8, 20, 56),
    "skin": (12, 16, 56, 48),
    "l_eye": (28, 20, 32, 28),
    "r_eye": (28, 36, 32, 44),
    "l_lip": (46, 26, 50, 38),
    "ear_r": (40, 48, 44, 50),
}


def box_mask(box: Box, size: int = 64) -> NDArray[np.uint8]:
    mask = np.zeros((size, size), np.uint8)
    mask[box[0] : box[2], box[1] : box[3]] = 255
    return mask


def add(root: Path, number: int, parts: Mapping[str, Box], photo: NDArray[np.uint8] | None = None) -> None:
    """One face: a photo of 128 px and part masks of 64 px as RGB files of 0 and 255."""
    photos, masks = root / "CelebA-HQ-img", root / "CelebAMask-HQ-mask-anno" / str(number // 2000)
    for folder in (photos, masks):
        folder.mkdir(parents=True, exist_ok=True)
    grey = np.full((128, 128, 3), 128, np.uint8)
    Image.fromarray(grey if photo is None else photo).save(photos / f"{number}.jpg", quality=95)
    for part, box in parts.items():
        mask = np.stack([box_mask(box)] * 3, axis=2)
        Image.fromarray(mask).save(masks / f"{number:05d}_{part}.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three faces, of which 10 is to validate."""
    for number in (2994, 10, 14721):
        add(tmp_path, number, FACE)
    (tmp_path / "val.txt").write_text("10\n")
    return tmp_path


def rim(box: Box) -> NDArray[np.uint8]:
    """The outermost pixels of a box, by hand."""
    lines = box_mask(box)
    lines[box[0] + 1 : box[2] - 1, box[1] + 1 : box[3] - 1] = 0
    return lines


# --- the folders ------------------------------------------------------------------------------------------


def test_photos_and_their_part_masks_are_found_in_the_archives_layout(root: Path) -> None:
    train, val = MASKS.index(root, "train"), MASKS.index(root, "val")
    assert [sample.id for sample in train] == ["2994", "14721"]
    assert [sample.id for sample in val] == ["10"]
    assert train[0].photo == root / "CelebA-HQ-img" / "2994.jpg"
    folder = root / "CelebAMask-HQ-mask-anno" / "1"
    assert set(train[0].condition) == {folder / f"02994_{part}.png" for part in FACE}
    assert all(path.is_file() for path in (*train[1].condition, *val[0].condition))
    assert all(path.parent.name == "7" for path in train[1].condition)
    drawn = EDGES.index(root, "train")[0].condition
    assert (set(drawn[:-1]), drawn[-1]) == (set(train[0].condition), train[0].photo)


def test_the_samples_are_a_sequence_that_workers_can_have(root: Path) -> None:
    samples = EDGES.index(root, "train")
    assert list(pickle.loads(pickle.dumps(samples))) == list(samples) == [samples[0], samples[-1]]
    assert list(samples[1:]) == [samples[1]]
    with pytest.raises(IndexError):
        samples[2]


def test_the_folder_that_the_archive_makes_may_lie_in_the_root(root: Path) -> None:
    (root / "CelebAMask-HQ").mkdir()
    for name in ("CelebA-HQ-img", "CelebAMask-HQ-mask-anno"):
        (root / name).rename(root / "CelebAMask-HQ" / name)
    assert [sample.id for sample in MASKS.index(root, "val")] == ["10"]  # val.txt is still in the root


def test_other_files_are_not_photos_or_masks(root: Path) -> None:
    (root / "CelebA-HQ-img" / "index.html").touch()
    (root / "CelebA-HQ-img" / "cover.jpg").touch()
    folder = root / "CelebAMask-HQ-mask-anno"
    (folder / "README.txt").touch()
    for name in ("02994_beard.png", "02994_skin.png.bak", "14721_cloth.png"):
        (folder / "1" / name).touch()  # 14721 belongs into folder 7
    train = MASKS.index(root, "train")
    assert [sample.id for sample in train] == ["2994", "14721"]
    assert [len(sample.condition) for sample in train] == [len(FACE)] * 2


@pytest.mark.parametrize("plugin", [EDGES, MASKS])
@pytest.mark.parametrize("given", [None, "nowhere", "."])
def test_a_missing_data_set_says_where_to_get_it_what_it_looks_like_and_its_terms(
    given: str | None, plugin: CelebAHQPlugin, tmp_path: Path
) -> None:
    root = tmp_path / given if given else None
    wanted = (
        r"(?=.*https://github\.com/switchablenorms/CelebAMask-HQ)(?=.*CelebA-HQ-img/N\.jpg)"
        r"(?=.*CelebAMask-HQ-mask-anno/\{N // 2000\}/NNNNN_part\.png)"
        r"(?=.*non-commercial research and education)"
    )
    with pytest.raises(UsageError, match=wanted) as error:
        plugin.index(root, "train")
    assert str(root or "--root") in str(error.value)


def test_empty_folders_and_double_photos_are_errors(root: Path) -> None:
    (root / "CelebA-HQ-img" / "02994.jpg").touch()
    with pytest.raises(UsageError, match=r"02994\.jpg and 2994\.jpg are both photo 2994"):
        EDGES.index(root, "train")
    for path in (root / "CelebAMask-HQ-mask-anno").rglob("*.png"):
        path.unlink()
    (root / "CelebA-HQ-img" / "02994.jpg").unlink()
    with pytest.raises(UsageError, match=r"mask-anno: no part masks such as .*0/00000_skin\.png"):
        EDGES.index(root, "train")
    for path in (root / "CelebA-HQ-img").iterdir():
        path.unlink()
    with pytest.raises(UsageError, match=r"CelebA-HQ-img: no photos named by numbers"):
        EDGES.index(root, "train")
    with pytest.raises(UsageError, match="celebahq-mask: no split 'test'; there are train, val"):
        MASKS.index(root, "test")


@pytest.mark.parametrize("plugin", [EDGES, MASKS])
def test_a_photo_without_any_mask_is_one_line_with_the_pattern_expected(
    plugin: CelebAHQPlugin, root: Path
) -> None:
    for path in (root / "CelebAMask-HQ-mask-anno" / "1").iterdir():
        path.unlink()
    sample = plugin.index(root, "train")[0]
    with pytest.raises(DataError, match=r"2994\.jpg: no part masks .* expected .*mask-anno/1/02994_\*\.png"):
        plugin.condition(sample, 64)
    assert plugin.condition(plugin.index(root, "train")[1], 64).size == (64, 64)


# --- splits -----------------------------------------------------------------------------------------------


def ids(root: Path) -> tuple[list[str], list[str]]:
    train, val = ([sample.id for sample in MASKS.index(root, split)] for split in ("train", "val"))
    return train, val


@pytest.mark.parametrize(
    ("train", "val"),
    [
        ("2994.jpg\n14721.jpg\n", "10.jpg\n"),
        ("CelebA-HQ-img/14721.jpg\n\n02994\n", "00010\n"),
        ("\ufeff2994\r\n14721\r\n", None),
        (None, "CelebA-HQ-img\\10.jpg"),
    ],
)
def test_lists_of_numbers_or_names_decide(train: str | None, val: str | None, root: Path) -> None:
    (root / "val.txt").unlink()
    for name, text in (("train.txt", train), ("val.txt", val)):
        if text is not None:
            (root / name).write_text(text, encoding="utf-8")
    assert ids(root) == (["2994", "14721"], ["10"])


@pytest.mark.parametrize(
    ("train", "val", "message"),
    [
        ("2994\n10\n", "10\n", r"val\.txt: photo 10 is in train\.txt too"),
        ("2994\nface\n", "10\n", r"train\.txt, line 2: expected the number .* found 'face'"),
        ("2994\n7\n", "10\n", r"train\.txt, line 2: photo 7 is not there"),
        ("\n", "10\n", r"no photo is for 'train' by .*train\.txt and .*val\.txt"),
    ],
)
def test_wrong_lists_say_where(train: str, val: str, message: str, root: Path) -> None:
    (root / "train.txt").write_text(train)
    (root / "val.txt").write_text(val)
    with pytest.raises(UsageError, match=message):
        MASKS.index(root, "train")


def test_the_official_split_of_celeba_is_taken_and_its_test_photos_left_out(root: Path) -> None:
    (root / "val.txt").unlink()
    add(root, 3, FACE)
    mapping = root / "CelebA-HQ-to-CelebA-mapping.txt"
    mapping.write_text(
        "idx    orig_idx    orig_file\n3    119612    119613.jpg\n10    99094    099095.jpg\n"
        "2994    200120    200121.jpg\n14721    10    000011.jpg\n29999    1    000002.jpg\n"
    )
    partition = root / "list_eval_partition.txt"
    codes = "119613.jpg 0\n099095.jpg 0\n200121.jpg 2\n000011.jpg 1\n000002.jpg 0\n"
    partition.write_text(codes)
    assert ids(root) == (["3", "10"], ["14721"])
    partition.write_text(codes.replace("099095", "000000"))
    with pytest.raises(UsageError, match=r"partition\.txt: no line for 099095\.jpg, the photo 10"):
        ids(root)
    mapping.write_text("idx orig_idx orig_file\n3 119612\n")
    with pytest.raises(UsageError, match=r"mapping\.txt, line 2: expected 'idx orig_idx orig_file'"):
        ids(root)
    mapping.unlink()
    with pytest.raises(
        UsageError, match=r"partition\.txt: CelebA-HQ-to-CelebA-mapping\.txt .* is not beside it"
    ):
        ids(root)


def bare_tree(root: Path, numbers: range) -> None:
    """A tree of names alone."""
    folder = root / "CelebAMask-HQ-mask-anno" / "0"
    folder.mkdir(parents=True)
    (folder / "00000_skin.png").touch()
    (root / "CelebA-HQ-img").mkdir()
    for number in numbers:
        (root / "CelebA-HQ-img" / f"{number}.jpg").touch()


def test_without_lists_a_tenth_is_held_out_by_the_number_alone(tmp_path: Path) -> None:
    bare_tree(tmp_path / "all", range(600))
    bare_tree(tmp_path / "some", range(200, 500))
    train, val = (set(names) for names in ids(tmp_path / "all"))
    assert (len(train) + len(val), len(train & val)) == (600, 0)
    assert 35 < len(val) < 85
    some_train, some_val = (set(names) for names in ids(tmp_path / "some"))
    assert some_train < train
    assert some_val < val


def test_of_two_photos_or_more_no_split_is_empty(tmp_path: Path) -> None:
    for first in range(12):
        for count in (2, 3, 4):
            root = tmp_path / f"{first}-{count}"
            bare_tree(root, range(first, first + count))
            train, val = ids(root)
            assert len(train) + len(val) == count
    bare_tree(tmp_path / "one", range(1))
    assert len(MASKS.index(tmp_path / "one", "train")) == 1
    with pytest.raises(UsageError, match="no photo is for 'val' by the split by hash"):
        MASKS.index(tmp_path / "one", "val")


# --- labels -----------------------------------------------------------------------------------------------


def read(plugin: CelebAHQPlugin | CelebAHQMaskPlugin, root: Path, short_side: int = 0) -> NDArray[np.uint8]:
    raster = plugin.condition(plugin.index(root, "val")[0], short_side).raster
    assert raster is not None
    return raster


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
        moved_photo, moved = training_geometry(photo, condition, config, seed)
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


# --- line drawings ----------------------------------------------------------------------------------------


def test_a_square_part_gives_its_outline(tmp_path: Path) -> None:
    box = (20, 10, 50, 44)
    for number in (0, 1):
        add(tmp_path, number, {"skin": box})
    condition = EDGES.condition(EDGES.index(tmp_path, "val")[0], 64)
    assert (condition.size, condition.smooth) == ((64, 64), True)
    np.testing.assert_array_equal(condition.raster, rim(box))


def test_a_part_at_the_border_has_no_line_along_it(tmp_path: Path) -> None:
    for number in (0, 1):
        add(tmp_path, number, {"hair": (0, 0, 30, 64)})
    expected = np.zeros((64, 64), np.uint8)
    expected[29] = 255
    np.testing.assert_array_equal(read(EDGES, tmp_path), expected)


def test_the_photos_edges_count_on_hair_and_background_and_not_on_the_face(tmp_path: Path) -> None:
    """A photo whose right half is lighter: one edge from top to bottom, at x = 31.5 of 64."""
    photo = np.full((128, 128, 3), 60, np.uint8)
    photo[:, 64:] = 190
    for number in (0, 1):
        add(tmp_path, number, {"hair": (8, 0, 24, 64), "skin": (24, 16, 52, 48)}, photo)
    lines = read(EDGES, tmp_path) > 0
    near = lines[:, 30:34].any(axis=1)
    # Rows of background and hair, but for a margin of one pixel at the face; the outlines are rows 8, 23, 51.
    assert near[:22].all()
    assert near[54:].all()
    assert not near[25:51].any()
    assert not lines[54:, :30].any()
    assert not lines[54:, 34:].any()


@pytest.mark.parametrize("short_side", [32, 48, 64, 200, 0])
def test_lines_are_drawn_as_fine_as_the_picture_they_are_for(short_side: int, root: Path) -> None:
    side = min(short_side or 64, 64)
    lines = read(EDGES, root, short_side)
    assert lines.shape == (side, side)
    assert set(np.unique(lines)) == {0, 255}
    bottom = round(56 * side / 64) - 1  # the last row of skin, with no hair or neck below it
    assert (lines[bottom, round(18 * side / 64) : round(46 * side / 64)] == 255).all()
    assert not lines[bottom + 2 :].any()


def distances(edge: NDArray[np.bool_]) -> NDArray[np.float64]:
    """From each pixel to the nearest edge pixel, all pairs compared."""
    pixels = np.stack(np.mgrid[: edge.shape[0], : edge.shape[1]], axis=-1).reshape(-1, 1, 2)
    return np.asarray(np.sqrt(((pixels - np.argwhere(edge)[None]) ** 2).sum(-1)).min(1).reshape(edge.shape))


def planes_of(lines: NDArray[np.uint8]) -> NDArray[np.float32]:
    return EDGES.render(Condition((lines.shape[0], lines.shape[1]), lines, smooth=True))


@pytest.mark.parametrize("size", [(40, 40), (32, 56), (64, 36)])
def test_the_second_channel_is_the_distance_to_the_nearest_line(size: tuple[int, int]) -> None:
    lines = (np.random.default_rng(1).random(size) > 0.985).astype(np.uint8) * np.uint8(255)
    lines[:, size[1] // 2 :] = 0  # far enough from any line for the distance to be cut off
    planes = planes_of(lines)
    assert (planes.shape, planes.dtype) == ((*size, 2), np.float32)
    np.testing.assert_array_equal(planes[..., 0], lines / 255)
    expected = np.minimum(distances(lines > 0) / (min(size) / 8), 1)
    np.testing.assert_allclose(planes[..., 1], expected, atol=1e-5)
    assert planes[..., 1].max() == 1


def test_rendering_is_repeatable_to_the_bit() -> None:
    """Wherever the arrays lie in memory: OpenCV's distances alone are not."""
    lines = (np.random.default_rng(2).random((64, 64)) > 0.98).astype(np.uint8) * np.uint8(255)
    exact = np.sqrt(np.rint(np.square(distances(lines > 0))).astype(np.float32)) / np.float32(8)
    for _ in range(50):
        np.testing.assert_array_equal(planes_of(lines)[..., 1], np.minimum(exact, 1))


def test_a_crop_without_lines_is_far_from_them_all_over() -> None:
    planes = planes_of(np.zeros((32, 32), np.uint8))
    np.testing.assert_array_equal(planes, np.broadcast_to(np.float32([0, 1]), (32, 32, 2)))


@pytest.mark.parametrize("side", [16, 32, 50, 64, 100, 128, 256, 511, 700, 1024])
def test_a_thin_line_stays_whole_at_any_size(side: int) -> None:
    """A circle and a slanting line, a pixel wide on 512: each stays one piece, hardly wider."""
    lines = np.zeros((512, 512), np.uint8)
    cv2.circle(lines, (200, 200), 150, 255, 1)
    cv2.line(lines, (380, 500), (500, 40), 255, 1)
    edge = EDGES.render(resize_condition(Condition((512, 512), lines, smooth=True), (side, side)))[..., 0]
    pieces, _ = cv2.connectedComponents(edge.astype(np.uint8), connectivity=8)
    assert pieces == 3  # and the ground
    width = edge.sum() / ((2 * np.pi * 150 + np.hypot(120, 460)) * side / 512)
    assert 0.9 < width < (1.5 if side <= 512 else 2 * side / 512)


def test_a_turned_line_stays_whole() -> None:
    lines = np.zeros((64, 64), np.uint8)
    cv2.circle(lines, (32, 32), 14, 255, 1)
    photo = np.zeros((64, 64, 3), np.uint8)
    for seed in range(20):
        _, moved = pseudo_view(photo, Condition((64, 64), lines, smooth=True), seed, flip=True)
        edge = EDGES.render(moved)[..., 0].astype(np.uint8)
        assert cv2.connectedComponents(edge, connectivity=8)[0] == 2
        assert 0.7 < edge.sum() / (np.pi * 28) < 2.6


# --- drawings to translate ---------------------------------------------------------------------------------


def strokes() -> NDArray[np.bool_]:
    lines = np.zeros((48, 60), bool)
    lines[10:40, 12] = lines[10, 12:50] = lines[30:33, 5:55] = True
    return lines


def paint(ground: tuple[int, ...], line: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.where(strokes()[..., None], np.uint8(line), np.uint8(ground))


DRAWINGS: dict[str, Callable[[], Any]] = {
    "black on white": lambda: paint((255,), (0,))[..., 0],
    "white on black": lambda: paint((0,), (255,))[..., 0],
    "grey on paper": lambda: paint((235, 228, 210), (120, 118, 119)),
    "yellow on white": lambda: paint((255, 255, 255), (255, 255, 60)),
    "white on grey": lambda: paint((128, 128, 128), (250, 250, 250)),
    "black on clear": lambda: paint((0, 0, 0, 0), (0, 0, 0, 255)),
    "white on clear": lambda: paint((255, 255, 255, 0), (255, 255, 255, 255)),
    "white on clear black": lambda: paint((0, 0, 0, 0), (255, 255, 255, 255)),
    "grey and alpha": lambda: Image.fromarray(paint((0, 0, 0, 0), (0, 0, 0, 255)), "RGBA").convert("LA"),
    "opaque alpha": lambda: paint((255, 255, 255, 255), (20, 20, 60, 255)),
    "one bit": lambda: Image.fromarray(~strokes()),
    "palette": lambda: Image.fromarray(paint((255, 255, 255), (200, 0, 0))).convert("P"),
    "16 bit": lambda: paint((255,), (0,))[..., 0].astype(np.uint16) * 257,
}


@pytest.mark.parametrize("kind", DRAWINGS)
def test_lines_of_any_polarity_and_file_are_found(kind: str, tmp_path: Path) -> None:
    picture = DRAWINGS[kind]()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(tmp_path / "drawing.png")
    condition = EDGES.read_condition([tmp_path / "drawing.png"])
    assert (condition.size, condition.smooth) == ((48, 60), True)
    np.testing.assert_array_equal(condition.raster, strokes() * np.uint8(255))


def test_the_noise_of_a_jpeg_is_not_lines(tmp_path: Path) -> None:
    Image.fromarray(paint((255, 255, 255), (0, 0, 0))).save(tmp_path / "drawing.jpg", quality=60)
    raster = EDGES.read_condition([tmp_path / "drawing.jpg"]).raster
    np.testing.assert_array_equal(raster, strokes() * np.uint8(255))


@pytest.mark.parametrize("colour", ["white", "black", "#808080", "#00000000"])
def test_an_empty_sheet_is_an_error_that_names_it(colour: str, tmp_path: Path) -> None:
    Image.new("RGBA", (40, 30), colour).save(tmp_path / "sheet.png")
    with pytest.raises(DataError, match=r"sheet\.png: expected a line drawing, found one even colour"):
        EDGES.read_condition([tmp_path / "sheet.png"])


def test_what_is_no_drawing_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(DataError, match=r"broken\.png: "):
        EDGES.read_condition([tmp_path / "broken.png"])
    for files in ([], [tmp_path / "a.png", tmp_path / "b.png"]):
        with pytest.raises(DataError, match=f"one line drawing or part masks, not {len(files)} files"):
            EDGES.read_condition(files)
    with pytest.raises(DataError, match="without a line drawing"):
        EDGES.render(Condition((4, 4)))


def test_a_drawing_written_and_read_is_the_one_trained_on(root: Path) -> None:
    sample = EDGES.index(root, "val")[0]
    condition = EDGES.condition(sample, 48)
    written = EDGES.read_condition([EDGES.write_condition(condition, root / "drawing")])
    np.testing.assert_array_equal(written.raster, condition.raster)
    np.testing.assert_array_equal(EDGES.render(written), EDGES.render(condition))
    # And the sample's files, the photo among them, are a condition as they stand.
    np.testing.assert_array_equal(EDGES.read_condition(sample.condition).raster, read(EDGES, root))


# --- settings and the real thing ---------------------------------------------------------------------------


@pytest.mark.parametrize("plugin", [EDGES, MASKS])
@pytest.mark.parametrize("preset", ["tiny", "paper"])
def test_the_defaults_are_settings_that_exist(plugin: CelebAHQPlugin, preset: str) -> None:
    config = resolve(plugin.name, preset, plugin.defaults)
    assert (config.loss.perc, config.loss.perc_layer, config.loss.cyc) == (0.001, "relu4_2", 1.0)
    assert (config.train.epochs, config.data.flip, config.data.exemplar_self) == (60, True, 0.3)


def test_both_are_registered_under_their_names() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    for plugin in (EDGES, MASKS):
        module, _, name = project["entry-points"]["mcltool.datasets"][plugin.name].partition(":")
        assert getattr(import_module(module), name) is type(plugin)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the real samples are not at {REAL}")
def test_real_files_are_read() -> None:
    train, val = ids(REAL)
    assert sorted([*train, *val], key=int) == ["2994", "14721", "29539", "29642"]
    assert train
    assert val
    for split in ("train", "val"):
        for drawn, labelled in zip(EDGES.index(REAL, split), MASKS.index(REAL, split), strict=True):
            photo, edges = EDGES.photo(drawn, 256), EDGES.condition(drawn, 256)
            assert photo.shape[0] >= 256
            assert edges.size == (256, 256)
            share = EDGES.render(edges)[..., 0].mean()
            assert 0.02 < share < 0.2
            raster = MASKS.condition(labelled, 256).raster
            assert raster is not None
            assert raster.shape == (512, 512)
            assert set(np.unique(raster)) >= {
                CLASS[part] for part in ("background", "skin", "nose", "hair", "neck")
            }
            # Left and right in the names are the viewer's or the face's, but always one on each side.
            eyes = [np.argwhere(raster == CLASS[part])[:, 1].mean() for part in ("l_eye", "r_eye")]
            assert abs(eyes[0] - eyes[1]) > 60
