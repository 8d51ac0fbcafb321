"""``--canvas``: poses whose files do not say how large their picture was, through all commands that read them."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result
from posing import PERSON, add_photo, people, values, write_json

from mcltool.cli.main import cli
from mcltool.core.weights import read_header

from mcltool.poses.pose import NAMES  # isort: skip

OUTSIDE = "18 of 18 joints lie outside its photo, 64 x 64 pixels; --canvas HxW"
CANVAS = ("--canvas", "1000x800")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of 64 x 64, joints of 800 x 1000 (width x height)."""
    root = tmp_path_factory.mktemp("df")
    for n in range(3):
        add_photo(root, f"id_{n:08d}/01_1_front", (64, 64))
        write_json(root / f"pose/id_{n:08d}/01_1_front.json", people(values(NAMES, PERSON * 10)))
    return root


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(cli, list(map(str, args)))


@pytest.mark.slow
def test_check_pack_pair_preview_and_export(root: Path, tmp_path: Path) -> None:
    data_set = ("--plugin", "deepfashion", "--root", root)
    checked = run("data", "check", *data_set)
    assert checked.exit_code == 1
    assert checked.stdout.count(OUTSIDE) == 3
    right = run("data", "check", *data_set, *CANVAS)
    assert right.exit_code == 0, right.output
    assert (
        "photos of 64 x 64 pixels, joints on a canvas of 800 x 1000: taken for photos that were stretched"
        in right.stderr
    )
    for command in (
        ("data", "preview", tmp_path / "p.png", "--size", "64"),
        ("pair", tmp_path / "p.csv", "--workers", "0"),
    ):
        assert OUTSIDE in run(*command, *data_set).output
        done = run(*command, *data_set, *CANVAS)
        assert done.exit_code == 0, done.output
    pack = ("pack", *data_set, "--size", "64", "--workers", "0", tmp_path / "p.h5")
    assert OUTSIDE in run(*pack).output
    assert run(*pack, *CANVAS).exit_code == 0
    with h5py.File(tmp_path / "p.h5") as file:
        points = file["train/buckets/0/points"][0]
    np.testing.assert_allclose(
        points, PERSON * [0.8, 0.64], atol=0.5
    )  # half a pixel: centres of larger pixels
    exported = run("data", "export-conditions", *data_set, *CANVAS, tmp_path / "out")
    assert exported.exit_code == 0
    document = json.loads(next((tmp_path / "out").rglob("*.json")).read_text())
    assert (document["canvas_height"], document["canvas_width"]) == (64, 64)


@pytest.mark.slow
def test_fit_keeps_it_and_explain_takes_it(root: Path, tmp_path: Path) -> None:
    options = ("--preset", "tiny", "--size", "32", "--max-steps", "1", "--batch-size", "2", "--workers", "0")
    fit = (
        "fit",
        "--plugin",
        "deepfashion",
        "--root",
        root,
        *options,
        "--device",
        "cpu",
        "--run",
        tmp_path / "run",
    )
    assert OUTSIDE in run(*fit).output
    done = run(*fit, "--set", "train.validation_samples=1", *CANVAS)
    assert done.exit_code == 0, done.output
    weights = tmp_path / "run" / "weights.safetensors"
    assert read_header(weights).config.data.canvas == (1000, 800)
    photo = root / "img/id_00000000/01_1_front.jpg"
    pose = root / "pose/id_00000000/01_1_front.json"
    explain = ("explain", pose, photo, tmp_path / "seen.png", "--weights", weights, "--device", "cpu")
    assert "18 of 18 joints lie outside the usual canvas, 256 x 256 pixels" in run(*explain).output
    assert run(*explain, *CANVAS).exit_code == 0
    pack = run("fit", "--data", tmp_path / "none.h5", *CANVAS)
    assert pack.exit_code == 2


def test_it_is_refused_where_it_says_nothing(tmp_path: Path) -> None:
    labels = run("data", "check", "--plugin", "shapes", *CANVAS)
    assert labels.exit_code == 2
    assert "--canvas: conditions of shapes are label maps" in labels.output
    wrong = run("data", "check", "--plugin", "deepfashion", "--canvas", "1000by800")
    assert "--canvas 1000by800: expected S or HxW in pixels" in wrong.output
