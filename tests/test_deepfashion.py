"""The data set in its folder: pairs of photos and poses, groups, splits, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from posing import BODY_25, PERSON, PLUGIN, add_photo, coco, people, values, without, write_json, write_text

from mcltool import DataError, UsageError
from mcltool.core.config import resolve
from mcltool.data.dataset import TrainingData

VIEWS = ("01_1_front", "02_1_front", "02_2_side")
PHOTOS = [f"WOMEN/Dresses/id_{number:08d}/{view}" for number in range(8) for view in VIEWS]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Eight garments, one item of each from one side and one from two, with poses as text."""
    for name in PHOTOS:
        add_photo(tmp_path, name)
        write_text(tmp_path / "pose" / name, PERSON)
    return tmp_path


def ids(root: Path, split: str) -> list[str]:
    return [sample.id for sample in PLUGIN.index(root, split)]


def test_photos_and_poses_are_paired_by_their_path(root: Path) -> None:
    samples = [*PLUGIN.index(root, "train"), *PLUGIN.index(root, "val")]
    assert sorted(sample.id for sample in samples) == PHOTOS
    for sample in samples:
        assert sample.photo == root / "img" / f"{sample.id}.jpg"
        assert sample.condition == tuple(
            root / "pose" / f"{sample.id}_{end}.txt" for end in ("candidate", "subset")
        )
        np.testing.assert_array_equal(PLUGIN.condition(sample, 64).points, PERSON)
        assert PLUGIN.condition(sample, 64).size == (100, 80)


@pytest.mark.parametrize(
    "place", ["pose/{}_keypoints.json", "pose/{}.json", "img/{}.json", "img/{}_keypoints.json"]
)
def test_poses_may_be_json_files(place: str, tmp_path: Path) -> None:
    for name in PHOTOS[:3]:
        add_photo(tmp_path, name)
        write_json(tmp_path / place.format(name), people(values(BODY_25, PERSON)))
    samples = [*PLUGIN.index(tmp_path, "train"), *PLUGIN.index(tmp_path, "val")]
    assert sorted(sample.id for sample in samples) == PHOTOS[:3]
    condition = PLUGIN.condition(samples[0], 64)
    np.testing.assert_array_equal(condition.points, PERSON)
    assert condition.size == (100, 80)


@pytest.mark.parametrize("prefix", ["", "img/", "./img/"])
def test_poses_may_be_one_coco_file(prefix: str, tmp_path: Path) -> None:
    poses: dict[str, Any] = {f"{prefix}{name}.jpg": PERSON + n for n, name in enumerate(PHOTOS)}
    poses[f"{prefix}{PHOTOS[3]}.jpg"] = [without("nose"), PERSON - 2, PERSON / 2]
    write_json(tmp_path / "keypoints.json", coco(poses, (200, 160)))
    for name in PHOTOS:
        add_photo(tmp_path, name)
    samples = {sample.id: sample for split in ("train", "val") for sample in PLUGIN.index(tmp_path, split)}
    assert sorted(samples) == PHOTOS
    assert PLUGIN.condition(samples[PHOTOS[5]], 64).points[0].tolist() == [55, 15]
    assert PLUGIN.condition(samples[PHOTOS[3]], 64).points[0].tolist() == [
        48,
        8,
    ]  # all joints, and the largest
    assert PLUGIN.condition(samples[PHOTOS[3]], 64).size == (200, 160)


def test_a_group_is_one_item_of_a_garment(root: Path) -> None:
    samples = [*PLUGIN.index(root, "train"), *PLUGIN.index(root, "val")]
    groups: dict[str, list[str]] = {}
    for sample in samples:
        groups.setdefault(sample.group, []).append(sample.id)
    assert sorted(map(len, groups.values())) == [1] * 8 + [2] * 8
    assert groups["WOMEN/Dresses/id_00000003/02"] == [PHOTOS[10], PHOTOS[11]]


def test_the_exemplar_is_another_view_or_else_the_photo_itself(root: Path) -> None:
    samples = PLUGIN.index(root, "train")
    config = resolve("deepfashion", "tiny", PLUGIN.defaults).data
    data = TrainingData(PLUGIN, samples, config, 0)
    for n, sample in enumerate(samples):
        chosen = data._choose_exemplar(n, np.random.default_rng(0))
        assert samples[chosen].group == sample.group
        assert (chosen == n) == sample.id.endswith("01_1_front")
    item = data[0]
    assert item["condition"].shape == (20, *config.size)
    assert bool(item["paired"])


@pytest.mark.slow
def test_without_lists_garments_are_split_and_stay_where_they_are(root: Path) -> None:
    train, val = ids(root, "train"), ids(root, "val")
    assert train
    assert val
    garments = [{str(Path(name).parent) for name in names} for names in (train, val)]
    assert not garments[0] & garments[1]
    many = [f"WOMEN/id_{n}/01_1_front" for n in range(500)]
    for name in many:
        path = root / "img" / f"{name}.jpg"
        path.parent.mkdir(parents=True)
        path.touch()
        write_text(root / "pose" / name, PERSON)
    assert 30 < sum(name in many for name in ids(root, "val")) < 70
    assert not set(ids(root, "train")) & set(ids(root, "val"))


@pytest.mark.parametrize("names", [PHOTOS[:2], PHOTOS[1:4], ["a", "b"], PHOTOS[:6:3]])
def test_two_groups_fill_both_splits(names: list[str], tmp_path: Path) -> None:
    for name in names:
        add_photo(tmp_path, name)
        write_text(tmp_path / "pose" / name, PERSON)
    train, val = ids(tmp_path, "train"), ids(tmp_path, "val")
    assert train
    assert val
    assert sorted(train + val) == names


def test_a_single_group_serves_both_splits(tmp_path: Path) -> None:
    for name in PHOTOS[1:3]:
        add_photo(tmp_path, name)
        write_text(tmp_path / "pose" / name, PERSON)
    assert ids(tmp_path, "train") == ids(tmp_path, "val") == PHOTOS[1:3]


def test_lists_make_the_splits(root: Path) -> None:
    (root / "val.txt").write_text(f"img/{PHOTOS[2]}.jpg\n\n{PHOTOS[1]}.jpg\r\n./img/{PHOTOS[7]}.jpg\n")
    assert ids(root, "val") == [PHOTOS[1], PHOTOS[2], PHOTOS[7]]
    assert ids(root, "train") == [name for n, name in enumerate(PHOTOS) if n not in (1, 2, 7)]
    (root / "train.txt").write_text(f"{PHOTOS[0]}.jpg\n")
    assert ids(root, "train") == [PHOTOS[0]]
    assert len(ids(root, "val")) == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\n", r"train\.txt: lists no photos"),
        (f"{PHOTOS[0]}.jpg\nnone.jpg\n", r"train\.txt, line 2: no photo none\.jpg below .*img"),
        ("../../etc/passwd\n", r"train\.txt, line 1: no photo"),
        ("\xff", r"train\.txt: cannot be read as text"),
    ],
)
def test_a_bad_list_is_an_error(text: str, words: str, root: Path) -> None:
    (root / "train.txt").write_text(text, encoding="latin-1")
    with pytest.raises(UsageError, match=words):
        PLUGIN.index(root, "train")


def test_a_list_of_all_photos_leaves_none(root: Path) -> None:
    (root / "train.txt").write_text("".join(f"{name}.jpg\n" for name in PHOTOS))
    with pytest.raises(UsageError, match=r"train\.txt: lists all photos, none are left for val"):
        PLUGIN.index(root, "val")


def test_the_canvas_is_that_of_the_upright_photo(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    for name, how in {PHOTOS[1]: {}, PHOTOS[2]: {"exif": turned}}.items():
        add_photo(tmp_path, name, **how)
        write_text(tmp_path / "pose" / name, PERSON)
    for sample, size in zip(PLUGIN.index(tmp_path, "train"), [(100, 80), (80, 100)], strict=True):
        assert PLUGIN.condition(sample, 64).size == size
        assert PLUGIN.photo(sample, 0).shape[:2] == size
        sample.photo.write_bytes(b"no image")
        with pytest.raises(DataError, match="not an image that can be read"):
            PLUGIN.condition(sample, 64)


@pytest.mark.parametrize("given", [None, "nowhere", "."])
def test_a_missing_data_set_says_where_to_get_it_what_it_looks_like_and_its_terms(
    given: str | None, tmp_path: Path
) -> None:
    root = tmp_path / given if given else None
    wanted = (
        r"(?=.*InShopRetrieval\.html)(?=.*img/\*\*/X\.jpg)(?=.*pose/\*\*/X_candidate)(?=.*non-commercial)"
    )
    with pytest.raises(UsageError, match=wanted) as error:
        PLUGIN.index(root, "train")
    assert str(root or "--root") in str(error.value)


def test_an_empty_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "img").mkdir()
    with pytest.raises(UsageError, match=r"img: no photos in it; get the photos"):
        PLUGIN.index(tmp_path, "train")


def test_a_photo_without_pose_names_both(root: Path) -> None:
    for file in (root / "pose" / PHOTOS[0]).parent.iterdir():
        file.unlink()
    split = "train" if PHOTOS[0] in ids_of_photos(root, "train") else "val"
    with pytest.raises(
        UsageError, match=rf"img/{PHOTOS[0]}\.jpg: no pose, expected .*pose/{PHOTOS[0]}_candidate\.txt"
    ):
        PLUGIN.index(root, split)
    (root / f"{split}.txt").write_text(f"{PHOTOS[5]}.jpg\n")
    assert ids(root, split) == [PHOTOS[5]]


def ids_of_photos(root: Path, split: str) -> list[str]:
    try:
        return ids(root, split)
    except UsageError:
        return PHOTOS


def test_a_broken_coco_file_in_the_root_is_an_error(tmp_path: Path) -> None:
    add_photo(tmp_path, "a")
    write_json(tmp_path / "poses.json", "{")
    with pytest.raises(UsageError, match=r"poses\.json: not valid JSON"):
        PLUGIN.index(tmp_path, "train")


def test_two_photos_of_one_name_are_an_error(root: Path) -> None:
    (root / "img" / f"{PHOTOS[0]}.png").touch()
    with pytest.raises(UsageError, match=r"01_1_front\.png: the photo .*01_1_front\.jpg has the same name"):
        PLUGIN.index(root, "train")


def test_an_unknown_split_is_an_error(root: Path) -> None:
    with pytest.raises(UsageError, match="no split 'test'; there are train, val"):
        PLUGIN.index(root, "test")


@pytest.mark.parametrize("preset", ["tiny", "base", "paper"])
def test_the_defaults_are_settings_that_exist(preset: str) -> None:
    config = resolve("deepfashion", preset, PLUGIN.defaults)
    assert (config.train.epochs, config.data.flip, config.data.exemplar_self) == (100, False, 0.0)
    assert config.loss == resolve("shapes", preset).loss  # published: --config paper-*


def test_real_files_are_read(real_samples: Path) -> None:
    root = real_samples / "deepfashion"
    samples = [*PLUGIN.index(root, "train"), *PLUGIN.index(root, "val")]
    assert len(samples) == 4
    assert len(list(PLUGIN.conditions(root / "pose"))) == 4
    for sample in samples:
        photo, condition = PLUGIN.photo(sample, 0), PLUGIN.condition(sample, 0)
        assert photo.shape[:2] == condition.size == (256, 256)
        # The person stands out from a plain background: most joints lie on what differs from it.
        x, y = condition.points[~np.isnan(condition.points[:, 0])].astype(int).T
        difference = np.abs(photo[y, x].astype(int) - photo[3, 60]).max(1)
        assert (difference >= 8).mean() > 0.8


def test_a_photos_canvas_is_turned_only_where_the_photo_is(root: Path) -> None:
    sample = PLUGIN.index(root, "train")[0]
    assert sample.photo
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (300, 260)).save(sample.photo, exif=exif)
    reader = type(PLUGIN)()
    assert reader.condition(sample, 0).size == (300, 260)
    reader.follow_exif = False
    assert reader.condition(sample, 0).size == (260, 300)
