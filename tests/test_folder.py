"""The plugin folder: layouts, and what a folder is taken for."""

from __future__ import annotations

import dataclasses
import pickle
import tomllib
from pathlib import Path

import numpy as np
import pytest
import trees
from mcltool_folder import FolderPlugin
from mcltool_folder.description import write_toml
from mcltool_folder.look import look_at
from PIL import Image

from mcltool import ConditionSpec, UsageError


def found(root: Path, condition: str = "") -> FolderPlugin:
    return FolderPlugin().for_data(root, condition)


def ids(plugin: FolderPlugin, root: Path, split: str) -> list[str]:
    return [sample.id for sample in plugin.index(root, split)]


# --- layouts ---


def test_a_val_folder_is_what_is_held_out(tmp_path):
    plugin = found(trees.split_folders(tmp_path, "masks"))
    assert ids(plugin, tmp_path, "train") == ["00", "01", "02", "03"]
    assert ids(plugin, tmp_path, "val") == ["04", "05"]


def test_the_splits_may_be_inside_the_folders(tmp_path):
    trees.split_folders(tmp_path / "outside", "masks")
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (tmp_path / "data" / kind).mkdir(parents=True, exist_ok=True)
            (tmp_path / "outside" / split / kind).rename(tmp_path / "data" / kind / split)
    root = tmp_path / "data"
    plugin = found(root)
    assert (ids(plugin, root, "train"), ids(plugin, root, "val")) == (["00", "01", "02", "03"], ["04", "05"])
    [sample] = [sample for sample in plugin.index(root, "val") if sample.id == "04"]
    assert sample.photo == next((root / "images" / "val").glob("04.*"))
    assert sample.condition == (root / "masks" / "val" / "04.png",)


def test_without_a_val_folder_photos_are_held_out_by_name_and_stay_so(tmp_path):
    trees.plain_folders(tmp_path, "masks")
    plugin = found(tmp_path)
    train, val = ids(plugin, tmp_path, "train"), ids(plugin, tmp_path, "val")
    assert val
    assert sorted(train + val) == list(trees.NAMES)
    (tmp_path / "images" / "04.png").unlink()
    (tmp_path / "masks" / "04.png").unlink()
    assert set(ids(found(tmp_path), tmp_path, "train")) <= {*train}


def test_a_share_of_many_photos_is_held_out(tmp_path):
    for number in range(400):
        for folder in ("images", "masks"):
            trees.save(tmp_path / folder / f"{number}.png", np.eye(4, dtype=np.uint8))
    assert 20 <= len(ids(found(tmp_path), tmp_path, "val")) <= 60


@pytest.mark.parametrize("ending", ["", "_mask", "-label"])
def test_masks_beside_photos_are_theirs(tmp_path, ending):
    plugin = found(trees.beside(tmp_path, "masks", ending))
    (sample,) = [sample for sample in plugin.index(tmp_path, "train") if sample.id == "01"]
    assert (sample.photo, sample.condition) == (tmp_path / "01.jpg", (tmp_path / f"01{ending}.png",))


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_metadata_lists_photos_conditions_and_groups(tmp_path, form):
    if form == "parquet":
        pytest.importorskip("pyarrow", reason="needs mcltool[parquet]")
    plugin = found(trees.listed(tmp_path, form))
    samples = [sample for split in ("train", "val") for sample in plugin.index(tmp_path, split)]
    (sample,) = [sample for sample in samples if sample.id == "b/03"]
    assert (sample.photo, sample.condition) == (tmp_path / "b/03.jpg", (tmp_path / "a/03.png",))
    assert sample.group == "thing1"
    held_out = {sample.group for sample in plugin.index(tmp_path, "val")}
    assert not held_out & {sample.group for sample in plugin.index(tmp_path, "train")}


def test_photos_match_masks_by_their_paths_not_by_their_names(tmp_path):
    for number, place in enumerate(("a/0", "b/0")):
        trees.write_photo(tmp_path / "images" / f"{place}.jpg", number)
        trees.write_condition(tmp_path / "masks" / place, "masks", number)
    plugin = found(tmp_path)
    for split in ("train", "val"):
        (sample,) = plugin.index(tmp_path, split)
        assert sample.condition == (tmp_path / "masks" / f"{sample.id}.png",)


@pytest.mark.parametrize(
    ("rule", "group"),
    [("", ""), ("folder", "red/car"), ("^[^/]+", "red"), (r"car/(\d\d)", "01"), ("none", "")],
)
def test_a_group_is_a_folder_or_what_a_pattern_finds(tmp_path, rule, group):
    for number in range(2):
        trees.write_photo(tmp_path / "images" / "red" / "car" / f"010{number}.png", number)
        trees.write_condition(tmp_path / "masks" / "red" / "car" / f"010{number}", "masks", number)
    description = dataclasses.replace(look_at(tmp_path).description, group=rule, val=1e-9)
    (tmp_path / "dataset.toml").write_text(write_toml(description, []))
    samples = found(tmp_path).index(tmp_path, "train")
    assert {sample.group for sample in samples} <= {group}


# --- what a folder is taken for ---


@pytest.mark.parametrize("kind", ["masks", "colours"])
def test_masks_give_the_classes_that_were_drawn(tmp_path, kind):
    plugin = found(trees.split_folders(tmp_path, kind))
    for number, sample in enumerate(plugin.index(tmp_path, "train")):
        raster = plugin.condition(sample, 64).raster
        colours = np.array(plugin.spec.palette)[raster]
        if kind == "masks":
            assert np.array_equal(raster, trees.classes(number))
        else:
            assert np.array_equal(colours, np.array(trees.COLOURS)[trees.classes(number)])


def masks(root: Path, values: np.ndarray, palette: list[int] | None = None, name: str = "0.png") -> Path:
    """One photo and one mask of these values."""
    trees.save(root / "images" / name, np.zeros((*values.shape[:2], 3), np.uint8))
    image = Image.fromarray(values)
    if palette:
        image.putpalette(palette)
    (root / "masks").mkdir(exist_ok=True)
    image.save(root / "masks" / name)
    return root / "masks" / name


def test_sparse_numbers_are_classes_and_255_is_asked_about(tmp_path):
    path = masks(tmp_path, np.array([[3, 3, 7], [90, 255, 7]], np.uint8))
    plugin = found(tmp_path)
    assert plugin.spec.names == ("class 3", "class 7", "class 90", "unknown")
    assert plugin.spec.unknown == 3
    assert plugin.read_condition([path]).raster.tolist() == [[0, 0, 1], [2, 3, 1]]
    assert any("QUESTION" in line and "255" in line for line in plugin.assumed)


def test_black_and_white_masks_are_ground_and_thing(tmp_path):
    path = masks(tmp_path, np.array([[0, 255], [255, 0]], np.uint8))
    plugin = found(tmp_path)
    assert (plugin.spec.names, plugin.spec.unknown) == (("background", "thing"), None)
    assert plugin.read_condition([path]).raster.tolist() == [[0, 1], [1, 0]]


def test_a_palette_gives_the_classes_their_colours(tmp_path):
    path = masks(tmp_path, np.array([[0, 1], [2, 1]], np.uint8), [9, 8, 7, 200, 0, 0, 0, 0, 200])
    plugin = found(tmp_path)
    assert plugin.spec.palette == ((9, 8, 7), (200, 0, 0), (0, 0, 200))
    assert plugin.read_condition([path]).raster.tolist() == [[0, 1], [2, 1]]


def test_smoothed_edges_of_colours_are_the_nearest_class_and_said(tmp_path):
    y, x = np.mgrid[:200, :200]
    share = np.clip((x - 100) / 2.0 + y / 400, 0, 1)[..., None]
    values = np.rint(share * np.array([200, 40, 10]) + (1 - share) * np.array([0, 90, 250])).astype(np.uint8)
    path = masks(tmp_path, values)
    plugin = found(tmp_path)
    assert set(plugin.spec.palette) == {(200, 40, 10), (0, 90, 250)}
    red = plugin.spec.palette.index((200, 40, 10))
    assert np.array_equal(plugin.read_condition([path]).raster == red, share[..., 0] > 0.5)
    assert any("between the classes'" in line for line in plugin.assumed)


def test_smoothed_edges_of_black_and_white_are_the_nearest_tone(tmp_path):
    share = np.clip((np.mgrid[:300, :300][1] - 150.3) / 9, 0, 1)
    path = masks(tmp_path, np.rint(255 * share).astype(np.uint8))
    plugin = found(tmp_path)
    assert len(plugin.spec.names) == 2
    assert np.array_equal(plugin.read_condition([path]).raster == 1, share > 0.5)
    numbers = masks(tmp_path / "elsewhere", (share > 0.99).astype(np.uint8))  # 0 and 1 instead of 0 and 255
    assert np.array_equal(plugin.read_condition([numbers]).raster == 1, share > 0.99)


def test_masks_are_turned_as_photos_are(tmp_path):
    path = masks(tmp_path, np.eye(8, 12, dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)
    plugin = found(tmp_path)
    assert plugin.read_condition([path]).size == (12, 8)
    plugin.follow_exif = False
    assert plugin.read_condition([path]).size == (8, 12)


@pytest.mark.parametrize(
    ("name", "text", "names"),
    [
        ("classes.txt", "0 ground\n1 tall tree\n2 sky\n", ("ground", "tall tree", "sky")),
        ("classes.csv", "id,name\n2,sky\n0,ground\n1,tree\n", ("sky", "ground", "tree")),
        ("classes.txt", "ground\ntree\nsky\n", ("ground", "tree", "sky")),
        (
            "classes.csv",
            '"id","name"\n0,ground\n"1","tall, old tree"\n2,"level 7 sky"\n',
            ("ground", "tall, old tree", "level 7 sky"),
        ),
        (
            "classes.csv",
            "name,id,r,g,b\nground,0,1,2,3\ntree,1,4,5,6\nsky,2,7,8,9\n",
            ("ground", "tree", "sky"),
        ),
    ],
)
def test_classes_are_named_by_a_list(tmp_path, name, text, names):
    (tmp_path / name).write_text(text)
    path = masks(tmp_path, np.array([[0, 1, 2]], np.uint8))
    plugin = found(tmp_path)
    assert plugin.spec.names == names
    assert [names[value] for value in plugin.read_condition([path]).raster[0]] == [
        next(n for n in names if n.endswith(word)) for word in ("ground", "tree", "sky")
    ]


@pytest.mark.parametrize(
    "text", ["10 20 30\tground", "ground,10,20,30", "#0a141e ground", "name,r,g,b,counts\nground,10,20,30,1"]
)
def test_classes_are_named_by_their_colours(tmp_path, text):
    (tmp_path / "classes.txt").write_text(text)
    masks(tmp_path, np.full((4, 4, 3), (10, 20, 30), np.uint8))
    plugin = found(tmp_path)
    assert (plugin.spec.names, plugin.spec.palette) == (("ground",), ((10, 20, 30),))


def test_sides_in_the_names_of_classes_forbid_mirroring(tmp_path):
    (tmp_path / "classes.txt").write_text("ground\nleft arm\nright arm\n")
    masks(tmp_path, np.array([[0, 1, 2]], np.uint8))
    assert found(tmp_path).defaults["data.flip"] is False


def test_photos_alone_need_to_be_asked_for_edges(tmp_path):
    trees.plain_folders(tmp_path)
    with pytest.raises(UsageError, match="--condition edges makes drawings"):
        found(tmp_path)
    plugin = found(tmp_path, "edges")
    sample = plugin.index(tmp_path, "train")[0]
    assert plugin.spec.names == ("edge", "distance")
    assert 0.01 < (plugin.condition(sample, 40).raster > 0).mean() < 0.4


def test_made_edges_follow_outlines_and_leave_the_background_empty(tmp_path):
    labels = np.zeros((64, 64), np.uint8)
    labels[16:48, 16:48] = 1
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    masks(tmp_path, labels)
    Image.fromarray(noise).save(tmp_path / "images" / "0.png")
    plugin = found(tmp_path, "edges")
    samples = [*plugin.index(tmp_path, "train"), *plugin.index(tmp_path, "val")]
    lines = plugin.condition(samples[0], 64).raster
    inside = np.zeros_like(labels, bool)
    inside[16:48, 16:48] = True
    assert not lines[~inside].any()
    assert lines[16, 16:48].all()
    assert lines[20:44, 20:44].any()


def test_the_file_says_the_same_as_the_folder(tmp_path):
    plugin = found(trees.split_folders(tmp_path, "masks", "depth16", "normals", "edges"))
    name, text = plugin.description
    (tmp_path / name).write_text(text)
    again = found(tmp_path)
    assert again.spec == plugin.spec
    assert not again.assumed
    assert tomllib.loads(text)["condition"][0]["kind"] == "depth"


def test_the_spec_says_how_files_are_read(tmp_path):
    plugin = found(trees.split_folders(tmp_path, "depth16"))
    told = FolderPlugin().for_spec(ConditionSpec.from_json(plugin.spec.to_json()))
    path = tmp_path / "train" / "depth" / "00.png"
    assert np.array_equal(told.read_condition([path]).raster, plugin.read_condition([path]).raster)
    assert pickle.loads(pickle.dumps(told)).spec == plugin.spec


def test_what_is_written_is_read_again(tmp_path):
    kinds = ("masks", "depth16", "normals", "edges", "poses")
    plugin = found(trees.plain_folders(tmp_path / "data", *kinds))
    written = {sample.id: plugin.condition(sample, 40) for sample in plugin.index(tmp_path / "data", "train")}
    for name, condition in written.items():
        plugin.write_condition(condition, tmp_path / "out" / name)
    files = {one.id: one for one in plugin.conditions(tmp_path / "out")}
    assert files.keys() == written.keys()
    for name, condition in written.items():
        read = plugin.read_part(files[name].files, files[name].part)
        assert np.allclose(plugin.render(read), plugin.render(condition), atol=1e-3)
