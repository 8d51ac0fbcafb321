"""The plugin folder: what is refused, and with which line."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import trees
from mcltool_folder import FolderPlugin
from mcltool_folder.description import Description, write_toml
from mcltool_folder.look import look_at
from PIL import Image

from mcltool import ConditionSpec, DataError, UsageError


def found(root: Path, condition: str = "") -> FolderPlugin:
    return FolderPlugin().for_data(root, condition)


def ids(plugin: FolderPlugin, root: Path, split: str) -> list[str]:
    return [sample.id for sample in plugin.index(root, split)]


def masks(root: Path, values: np.ndarray, palette: list[int] | None = None, name: str = "0.png") -> Path:
    """One photo and one mask of these values."""
    trees.save(root / "images" / name, np.zeros((*values.shape[:2], 3), np.uint8))
    image = Image.fromarray(values)
    if palette:
        image.putpalette(palette)
    (root / "masks").mkdir(exist_ok=True)
    image.save(root / "masks" / name)
    return root / "masks" / name


def refusal(root: Path, condition: str = "") -> str:
    def use() -> None:
        plugin = found(root, condition)
        for split in ("train", "val"):
            plugin.index(root, split)

    with pytest.raises(UsageError) as error:
        use()
    message = str(error.value)
    assert "\n" not in message
    return message


def test_photos_without_masks_and_masks_without_photos_are_named_and_counted(tmp_path):
    trees.plain_folders(tmp_path, "masks")
    (tmp_path / "masks" / "01.png").unlink()
    (tmp_path / "masks" / "02.png").unlink()
    (tmp_path / "images" / "03.png").unlink()
    message = refusal(tmp_path)
    assert message.startswith(str(tmp_path / "images" / "01.png"))
    assert "2 of 5 photos have no labels (masks) and 1 of 4 labels (masks) have no photo" in message
    assert 'unpaired = "leave out"' in message


def test_what_lacks_its_half_is_left_out_where_the_file_says_so(tmp_path):
    trees.plain_folders(tmp_path, "masks")
    description = look_at(tmp_path).description
    (tmp_path / "masks" / "01.png").unlink()
    (tmp_path / "dataset.toml").write_text(
        write_toml(dataclasses.replace(description, unpaired="leave out"), [])
    )
    plugin = found(tmp_path)
    assert sorted(ids(plugin, tmp_path, "train") + ids(plugin, tmp_path, "val")) == [
        "00",
        "02",
        "03",
        "04",
        "05",
    ]


def test_photos_outside_the_range_of_sizes_are_left_out(tmp_path):
    trees.plain_folders(tmp_path, "masks")
    trees.save(tmp_path / "images" / "01.png", np.zeros((20, 24, 3), np.uint8))
    description = dataclasses.replace(look_at(tmp_path).description, short_side=(30, 40))
    (tmp_path / "dataset.toml").write_text(write_toml(description, []))
    plugin = found(tmp_path)
    assert "01" not in ids(plugin, tmp_path, "train") + ids(plugin, tmp_path, "val")
    assert any("short sides 20 to 40" in line for line in FolderPlugin().for_data(tmp_path, "masks").assumed)


def test_two_candidates_for_one_photo(tmp_path):
    trees.plain_folders(tmp_path, "masks")
    trees.write_condition(tmp_path / "masks" / "01_mask", "masks", 1)
    assert "two candidates for one" in refusal(tmp_path) or "have no photo" in refusal(tmp_path)
    (tmp_path / "masks" / "01_mask.png").rename(tmp_path / "masks" / "01.bmp")
    assert "01.png: two candidates for one" in refusal(tmp_path).replace("01.bmp: and ", "")


def test_mixed_kinds(tmp_path):
    trees.plain_folders(tmp_path, "masks")
    trees.save(tmp_path / "masks" / "02.png", np.full((*trees.SIZE, 3), (1, 200, 3), np.uint8))
    message = refusal(tmp_path)
    assert "02.png: mixed kinds: 5 masks have numbers, 1 colours" in message


def test_masks_of_0_and_1_among_those_of_0_and_255(tmp_path):
    trees.plain_folders(tmp_path, "masks")
    for number, name in enumerate(trees.NAMES):
        trees.save(
            tmp_path / "masks" / f"{name}.png", (trees.classes(number) > 0) * np.uint8(255 if number else 1)
        )
    assert "00.png: mixed kinds: 1 masks are of 0 and 1, 5 of 0 and 255; make them all" in refusal(tmp_path)


def test_mixed_depths(tmp_path):
    trees.plain_folders(tmp_path, "depth16")
    trees.save(tmp_path / "depth" / "02.png", np.full(trees.SIZE, 9, np.uint8))
    assert "uint8, but 00.png is uint16: mixed kinds" in refusal(tmp_path)


def test_more_than_255_classes(tmp_path):
    masks(tmp_path, np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))
    assert "more than 255 classes" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flips = true", "flips: unknown key (did you mean flip?)"),
        ('condition = [{ kind = "label" }]', "condition[0].kind: 'label' (did you mean labels?)"),
        (
            'condition = [{ kind = "edges", clases = [] }]',
            "condition[0].clases: unknown key (did you mean classes?)",
        ),
        ('photos = "../other"', "../other: a path that leaves the folder"),
        ('train = "/etc"', "/etc: a path that leaves the folder"),
        ('condition = [{ kind = "edges", files = "a/../../b" }]', "a/../../b: a path that leaves the folder"),
        ("val = 2", "val: a folder, or a share between 0 and 1"),
        ('val = "."', "val: '.' is the folder of train too"),
        ("flip = 1", "flip: 1, expected true or false"),
        ('condition = [{ kind = "poses", made = true }]', "made: only edges can be made from photos"),
        (
            'condition = [{ kind = "edges", made = true, range = [0, 9], void = 0.0 }]',
            "condition[0].range, condition[0].void: not a key of this kind of condition",
        ),
        ('group = "("', "group: '(' is not a regular expression"),
        ('condition = [{ kind = "labels", files = "masks" }]', "classes: expected 1 to 255"),
        ("train = ", "not valid TOML"),
        ("", "condition: missing"),
    ],
)
def test_a_wrong_description_is_one_line(tmp_path, text, message):
    trees.plain_folders(tmp_path, "masks")
    text = (
        text if "condition" in text or not text else text + '\ncondition = [{ kind = "edges", made = true }]'
    )
    (tmp_path / "dataset.toml").write_text(text)
    found_message = refusal(tmp_path)
    assert found_message.startswith(f"{tmp_path / 'dataset.toml'}: ")
    assert message in found_message


@pytest.mark.parametrize(
    "reading", ["", "[]", "{", '{"condition":[{"kind":"labels","files":"../x"}]}', "[" * 9999]
)
def test_a_wrong_reading_is_a_usage_error(reading):
    with pytest.raises(UsageError):
        FolderPlugin().for_spec(ConditionSpec("labels", ("a",), ((0, 0, 0),), None, reading))


def test_metadata_that_leaves_the_folder(tmp_path):
    trees.listed(tmp_path, "csv")
    path = tmp_path / "metadata.csv"
    path.write_text(path.read_text().replace("a/02.png", "../../02.png"))
    assert "row 3: ../../02.png leaves the folder" in refusal(tmp_path)


def test_a_negative_class_number_is_no_name(tmp_path):
    trees.plain_folders(tmp_path, "masks")
    (tmp_path / "classes.txt").write_text("-1 sky\n1 ground\n2 thing\n")
    assert "classes.txt: '-1 sky': expected a number" in refusal(tmp_path)


def test_a_folder_whose_name_tells_nothing_is_named(tmp_path):
    trees.plain_folders(tmp_path, "masks")
    (tmp_path / "masks").rename(tmp_path / "gt")
    assert "not used: gt/ (known: masks, edges," in refusal(tmp_path)


def test_that_nothing_is_held_out_is_said(tmp_path):
    masks(tmp_path, np.zeros((40, 40), np.uint8))
    assert any("nothing is held out" in line for line in found(tmp_path).assumed)


def test_a_folder_of_another_data_set(tmp_path):
    (tmp_path / "ADEChallengeData2016").mkdir()
    assert "give --plugin ade20k" in refusal(tmp_path)


def test_a_number_of_no_class_is_named(tmp_path):
    masks(tmp_path, np.array([[0, 5]], np.uint8))
    plugin = found(tmp_path)
    with pytest.raises(DataError, match="label 9 is none of"):
        plugin.read_condition([trees.save(tmp_path / "other.png", np.full((2, 2), 9, np.uint8))])


def test_without_data_it_says_what_tells_its_conditions():
    with pytest.raises(UsageError, match="give --root"):
        _ = FolderPlugin().spec
    with pytest.raises(UsageError, match="--root is missing"):
        FolderPlugin().for_data(None)


def test_the_file_in_the_documentation_is_one_that_is_read(tmp_path):
    page = (Path(__file__).parents[1] / "docs" / "own-data.md").read_text()
    (block,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "dataset.toml").write_text(block)
    assert Description.read(tmp_path / "dataset.toml").condition[0].classes[1].number == 255


def test_every_key_of_the_file_is_explained(tmp_path):
    text = found(trees.split_folders(tmp_path, "masks")).description[1]
    keys = [
        line for line in text.splitlines() if " = " in line and not line.startswith((" ", "#", "classes"))
    ]
    assert keys
    assert all("#" in line for line in keys)
    assert Description.from_json(look_at(tmp_path).description.to_json()) == look_at(tmp_path).description


def test_a_byte_order_mark_is_no_fault(tmp_path):
    description = look_at(trees.split_folders(tmp_path, "masks")).description
    (tmp_path / "dataset.toml").write_text(write_toml(description, []), "utf-8-sig")
    assert Description.read(tmp_path / "dataset.toml") == description
