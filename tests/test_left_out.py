"""Files that are not read are named: by data check, fit and pack, evaluate and translate-dir."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from click.testing import CliRunner
from PIL import Image
from scenes import make_scenes
from tiny_weights import make_weights

from mcltool.cli.main import cli
from mcltool.data.reading import unread


def test_pictures_of_kinds_that_are_not_read_are_counted_and_named(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("a.heic", "deep/b.HEIC", "c.psd", "d.png", "e.txt", "README", ".hidden.heic", "photo.JPG"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "downloaded").write_bytes(b"\xff\xd8\xff\xe0")
    assert unread(tmp_path) == (
        f"not read below {tmp_path}: 2 .heic, 1 .psd, 1 without suffix (a.heic, c.psd, downloaded, ...); convert "
        "pictures to PNG or JPEG"
    )
    assert unread(tmp_path / "nowhere") == unread(tmp_path / "d.png") == ""


def test_data_check_names_what_is_not_read_and_what_is_in_no_sample(tmp_path: Path) -> None:
    root = make_scenes(tmp_path / "ade", [((9, 9, 9), np.ones((64, 64), np.uint8))] * 2)
    (root / "images" / "training" / "new.heic").write_bytes(b"x")
    Image.new("L", (8, 8)).save(root / "annotations" / "training" / "new.png")
    result = CliRunner().invoke(cli, ["data", "check", "--plugin", "ade20k", "--root", str(root)])
    assert "not read below" in result.stderr
    assert "new.heic" in result.stderr
    assert "in no sample: 1 pictures below" in result.stdout
    assert "annotations/training/new.png" in result.stdout


def test_translate_dir_names_what_is_left_out_though_nothing_is_left(tmp_path: Path) -> None:
    for folder in ("masks", "photos"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{folder}.heic").write_bytes(b"x")
    weights = make_weights(tmp_path / "w.safetensors")
    folders = [str(tmp_path / name) for name in ("masks", "photos", "out")]
    result = CliRunner().invoke(cli, ["translate-dir", *folders, "--weights", str(weights)])
    assert result.exit_code == 2
    assert "1 .heic (masks.heic)" in result.stderr
    assert "1 .heic (photos.heic)" in result.stderr


def test_what_translate_dir_writes_evaluate_reads(tmp_path: Path) -> None:
    for folder in ("out", "real"):
        (tmp_path / folder).mkdir()
        for number in range(2):
            noise = np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(noise).save(
                tmp_path / folder / f"{number}.{'avif' if folder == 'out' else 'png'}"
            )
    (tmp_path / "real" / "z.heic").write_bytes(b"x")
    given = ["evaluate", str(tmp_path / "out"), "--real", str(tmp_path / "real"), "--metrics", "psnr"]
    result = CliRunner().invoke(cli, [*given, "--to", str(tmp_path / "to"), "--device", "cpu"])
    assert (result.exit_code, "1 .heic (z.heic)" in result.stderr) == (0, True), result.stderr
