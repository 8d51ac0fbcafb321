"""The archive's folders, and which faces are for what: see mcltool_celebahq.layout and .splits."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from faces import EDGES, FACE, MASKS, add, ids, make_root
from mcltool_celebahq import CelebAHQPlugin

from mcltool import DataError, UsageError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path)


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


def test_a_val_list_alone_leaves_the_test_photos_out_where_its_split_is_there_or_says_that_it_does_not(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert ids(root)[0] == ["2994", "14721"]
    assert "all the other 2 photos train; the authors leave CelebA's test photos out" in caplog.text
    (root / "CelebA-HQ-to-CelebA-mapping.txt").write_text(
        "idx orig_idx orig_file\n10 1 000001.jpg\n2994 2 000002.jpg\n14721 3 000003.jpg\n"
    )
    (root / "list_eval_partition.txt").write_text("000001.jpg 1\n000002.jpg 0\n000003.jpg 2\n")
    assert ids(root) == (["2994"], ["10"])
