"""translate-dir over files of poses: several in one file, and canvases that the file does not tell."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from mcltool_deepfashion import DeepFashionPlugin
from PIL import Image
from tiny_weights import make_weights

from mcltool.cli.main import cli


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_weights(tmp_path / "w.safetensors", "deepfashion", DeepFashionPlugin().spec)
    (tmp_path / "photos").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "photos" / "style.png")
    (tmp_path / "poses").mkdir()
    return tmp_path


def run(*options: str) -> Result:
    return CliRunner().invoke(
        cli, ["translate-dir", "poses", "photos", "out", "--weights", "w.safetensors", *options]
    )


def keypoints(shift: float) -> list[float]:
    """17 COCO joints down a slanted line, all visible."""
    return [value for n in range(17) for value in (10 + shift + n, 5 + 3 * n, 2)]


def openpose(path: Path) -> None:
    flat = [value for n in range(18) for value in (10 + n, 5 + 3 * n, 0.9)]
    path.write_text(json.dumps({"people": [{"pose_keypoints_2d": flat}]}))


def test_every_pose_of_a_coco_file_is_an_image_of_its_own(work: Path) -> None:
    images = [
        {"id": 1, "file_name": "tall.jpg", "width": 40, "height": 80},
        {"id": 2, "file_name": "wide.jpg", "width": 90, "height": 60},
    ]
    annotations = [
        {"id": 7, "image_id": 1, "keypoints": keypoints(0)},
        {"id": 8, "image_id": 2, "keypoints": keypoints(20)},
    ]
    (work / "poses" / "many.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    result = run()
    assert result.exit_code == 0, result.output
    sizes = {path.stem: Image.open(path).size for path in (work / "out").rglob("*.png")}
    assert sizes == {"tall": (32, 64), "wide": (48, 32)}  # width x height, the aspects of their images
    assert len((work / "out" / "manifest.jsonl").read_text().splitlines()) == 2


def test_the_canvas_is_the_users_where_the_file_has_none(work: Path) -> None:
    openpose(work / "poses" / "a.json")
    assert run().exit_code == 0
    assert Image.open(work / "out" / "a.png").size == (32, 32)  # the data set's own canvas is square
    result = run("--canvas", "120x60")
    assert result.exit_code == 0
    assert Image.open(work / "out" / "a.png").size == (32, 64), "another canvas, and yet skipped"


def test_a_canvas_that_is_no_size_is_one_line(work: Path) -> None:
    openpose(work / "poses" / "a.json")
    for canvas in ("big", "0x60"):
        result = run("--canvas", canvas)
        assert result.exit_code == 2
        assert result.output.splitlines()[-1].startswith(f"mcltool: --canvas {canvas}: expected")
        assert not (work / "out").exists()
