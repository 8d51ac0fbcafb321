"""``mcltool data``: check, preview and export-conditions, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from scenes import make_scenes
from tiny_weights import make_weights

from mcltool.cli.main import cli
from mcltool.plugin import registry as plugins


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(cli, ["data", *map(str, args)])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two scenes a split, the left quarter wall (1), the rest sky (3)."""
    scenes = []
    for size in ((48, 64), (96, 96)):
        labels = np.full(size, 3, np.uint8)
        labels[:, : size[1] // 4] = 1
        scenes.append(((90, 60, 40), labels))
    return make_scenes(tmp_path / "ade20k", scenes, "{split}{number}")


def check(root: Path, *args: str) -> tuple[int, dict[str, dict[str, object]]]:
    result = run("check", "--plugin", "ade20k", "--root", root, "--json", *args)
    return result.exit_code, {split["split"]: split for split in json.loads(result.stdout)["splits"]}


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_sound_data_set_is_counted_and_measured(root: Path, workers: str) -> None:
    code, splits = check(root, "--workers", workers)
    assert (code, list(splits)) == (0, ["train", "val"])
    train = splits["train"]
    assert (train["samples"], train["with_another_view"], train["problems"]) == (2, 0, [])
    assert train["photo_sizes"]["smallest"] == [48, 64]
    assert train["photo_sizes"]["largest"] == train["condition_sizes"]["largest"] == [96, 96]
    assert train["photo_sizes"]["median_short_side"] == 72
    shares = {number: share for number, share in enumerate(train["shares"]) if share}
    assert shares == {1: pytest.approx(0.25), 3: pytest.approx(0.75)}


def test_masks_of_one_class_small_photos_and_near_duplicates_are_noted(tmp_path: Path) -> None:
    """The held-out photo is one to train on, smaller and as JPEG; another is of one class; all are small."""
    noise = np.random.default_rng(0)
    for number in range(4):
        labels = np.zeros((80, 100), np.uint8)
        labels[10 * number : 30 + 10 * number, 20 + 10 * number : 70] = 1 + number % 2
        colours = noise.integers(0, 256, (3, 3), np.uint8)
        photo, mask = Image.fromarray(colours[labels]), Image.fromarray(labels * (number != 3))
        split = "val" if number == 1 else "train"
        for base, size in (
            {split: (100, 80)}.items() if number else {"train": (100, 80), "val": (75, 60)}.items()
        ):
            for folder, picture in (("images", photo), ("masks", mask)):
                path = tmp_path / base / folder / f"{number}{base}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                picture.resize(size, Image.Resampling.NEAREST).save(path)
    result = run("check", "--root", tmp_path, "--json")
    assert result.exit_code == 0, result.output
    notes = "\n".join(json.loads(result.stdout)["notes"])
    assert "train: 1 of 3 masks are one class all over, such as 3train" in notes
    assert "train: 3 of 3 photos are smaller than the 128 x 128 pixels" in notes
    assert (
        "val: 1 of 2 samples are nearly the same as one of train, such as 0val and 0train of train" in notes
    )
    assert "note: val: 1 of 2 samples are nearly" in run("check", "--root", tmp_path).stdout


def test_the_report_is_for_people_too(root: Path) -> None:
    result = run("check", "--plugin", "ade20k", "--root", root, "--split", "val")
    assert result.exit_code == 0
    for words in ("64 x 48 to 96 x 96 pixels", "2 samples have no other view", "sky", "75.0%", "all is well"):
        assert words in result.stdout
    assert result.stdout.index("sky") < result.stdout.index("wall")
    assert "and 149 labels that do not occur" in result.stdout
    assert "train" not in result.stdout


def test_everything_that_is_broken_is_named_with_its_cause(root: Path) -> None:
    images, annotations = root / "images" / "training", root / "annotations" / "training"
    (images / "training0.jpg").write_bytes(b"not a photo")
    Image.fromarray(np.full((96, 96), 151, np.uint8)).save(annotations / "training1.png")
    Image.new("RGB", (64, 64)).save(images / "training2.jpg")
    Image.fromarray(np.zeros((64, 128), np.uint8)).save(annotations / "training2.png")
    code, splits = check(root)
    found = {problem["sample"]: problem["cause"] for problem in splits["train"]["problems"]}
    assert code == 1
    assert "training0.jpg: not an image that can be read" in found["training0"]
    assert "training1.png: label 151 is outside the classes 0..150" in found["training1"]
    assert "64 x 64 pixels and its condition 128 x 64: expected the same picture" in found["training2"]
    assert splits["val"]["problems"] == []
    result = run("check", "--plugin", "ade20k", "--root", root)
    assert result.exit_code == 1
    assert all(cause in result.stdout for cause in found.values())
    assert "ade20k: 3 problems" in result.stdout


def test_a_photo_without_its_pair_is_a_problem_and_the_other_split_is_still_read(root: Path) -> None:
    (root / "annotations" / "training" / "training1.png").unlink()
    code, splits = check(root)
    assert code == 1
    assert "training1" in json.dumps(splits["train"]["problems"])
    assert (splits["val"]["samples"], splits["val"]["problems"]) == (2, [])


@pytest.mark.parametrize("given", [[], ["--root", "nowhere"]])
@pytest.mark.parametrize("command", [["check"], ["preview", "x.png"], ["export-conditions", "out"]])
def test_a_data_set_that_is_not_there_is_a_usage_error(
    command: list[str], given: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*command, "--plugin", "ade20k", *given)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert "http://sceneparsing.csail.mit.edu" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_root_may_come_from_the_environment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCLTOOL_DATA", str(root.parent))
    assert run("check", "--plugin", "ade20k").exit_code == 0


def test_a_preview_shows_what_training_sees(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "sheet.png"
    result = run("preview", "--plugin", "ade20k", "--root", root, out, "--size", "64x128", "--count", "5")
    assert (result.exit_code, result.stdout) == (0, f"{out}: 2 samples\n")
    sheet = np.asarray(Image.open(out))
    assert sheet.shape[1] == 5 * (128 + 4) + 4
    colours = {tuple(colour) for colour in sheet[-20, 4:132]}
    assert colours == {(120, 120, 120), (6, 230, 230)}  # wall and sky


def test_a_preview_is_a_function_of_its_seed(tmp_path: Path) -> None:
    sheets = []
    for seed in ("0", "0", "1"):
        options = ["--size", "64", "--seed", seed, "--count", "2"]
        run("preview", "--plugin", "shapes", tmp_path / "x.png", *options)
        sheets.append((tmp_path / "x.png").read_bytes())
    assert sheets[0] == sheets[1] != sheets[2]


def test_a_preview_needs_the_name_of_a_png(tmp_path: Path) -> None:
    result = run("preview", "--plugin", "shapes", tmp_path / "sheet.jpg")
    assert (result.exit_code, "expected the name of a .png file" in result.stderr) == (2, True)


def test_drawn_conditions_have_the_size_of_the_model_they_are_for(tmp_path: Path) -> None:
    """Lines that are drawn for 256 px and shrunk to 64 are thicker than what the model was trained on."""
    weights = make_weights(tmp_path / "w.safetensors")  # of 32 px
    given: dict[int, tuple[str | Path, ...]] = {64: (), 48: ("--size", "48"), 32: ("--weights", weights)}
    for side, options in given.items():
        out = tmp_path / str(side)
        command = ("export-conditions", "--plugin", "shapes", "--count", "1", out)
        assert run(*command, *options).exit_code == 0
        (file,) = (path for path in out.rglob("*.png"))
        assert Image.open(file).size == (side, side)


def test_exported_conditions_read_as_what_they_were(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("export-conditions", "--plugin", "ade20k", "--root", root, "--split", "train", out)
    assert (result.exit_code, result.stdout) == (0, f"{out}: 2 written, 0 failed\n")
    plugin = plugins.load("ade20k")
    written = {item.id: plugin.read_condition(item.files).raster for item in plugin.conditions(out)}
    for sample in plugin.index(root, "train"):
        np.testing.assert_array_equal(written.pop(sample.id), plugin.condition(sample, 256).raster)
    assert written == {}
    assert Image.open(out / "training0.png").getpixel((63, 0)) == 3  # indices, shown in the palette's colours
    assert Image.open(out / "training0.png").convert("RGB").getpixel((63, 0)) == (6, 230, 230)


def test_what_is_drawn_is_exported_at_the_size_asked_for(tmp_path: Path) -> None:
    options = ["--count", "2", "--size", "64", "--json"]
    result = run("export-conditions", "--plugin", "shapes", tmp_path, *options)
    rows = json.loads(result.stdout)
    assert [row["id"] for row in rows] == ["val/000000", "val/000001"]
    assert rows[0]["path"] == str(tmp_path / "val" / "000000.png")
    assert Image.open(rows[0]["path"]).size == (64, 64)


def test_a_condition_that_cannot_be_read_does_not_stop_the_export(root: Path, tmp_path: Path) -> None:
    (root / "annotations" / "validation" / "validation0.png").write_bytes(b"")
    result = run("export-conditions", "--plugin", "ade20k", "--root", root, tmp_path / "out")
    assert (result.exit_code, "1 written, 1 failed" in result.stdout) == (1, True)
    assert "failed: validation0:" in result.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["validation1.png"]


def test_exporting_into_a_file_is_a_usage_error(root: Path) -> None:
    out = root / "images" / "training" / "training0.jpg"
    result = run("export-conditions", "--plugin", "ade20k", "--root", root, out)
    assert (result.exit_code, "expected a folder" in result.stderr) == (2, True)
