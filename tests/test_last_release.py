"""Weights, packs, run folders and output folders that mcltool 0.1.0 (commit 1240eb8) made still serve.

tests/last_release/ holds them: four steps of a miniature of ``tiny`` on ``shapes`` stopped after the second, its
finished weights, a pack of six made-up ``ade20k`` samples, and what translate-dir wrote of three conditions.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from mcltool.cli.main import cli

MADE = Path(__file__).parent / "last_release"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MADE, tmp_path / "made"))


def translate(made: Path, out: Path) -> Result:
    weights = ("--weights", made / "weights.safetensors", "--device", "cpu", "--precision", "fp32")
    return run("translate-dir", made / "masks", made / "photos", out, *weights)


def test_weights_make_the_pictures_that_they_made(made: Path, tmp_path: Path) -> None:
    result = translate(made, tmp_path / "new")
    assert result.exit_code == 0, result.output
    for old in sorted((made / "out").rglob("*.png")):
        new = tmp_path / "new" / old.relative_to(made / "out")
        one, other = (np.asarray(Image.open(path)).astype(int) for path in (old, new))
        assert np.abs(one - other).max() <= 1  # a grey level: other processors round otherwise


def test_an_output_folder_is_up_to_date(made: Path) -> None:
    """Its manifest knows inputs by size and time, which a checkout does not keep."""
    rows = [json.loads(line) for line in (made / "out" / "manifest.jsonl").read_text().splitlines()]
    for row in rows:
        for path, stamp in zip((row["input"], row["exemplar"]), row["source"].split(), strict=True):
            time = int(stamp.partition("@")[2])
            os.utime(made / ("masks" if path == row["input"] else "photos") / path, ns=(time, time))
    before = {path: path.stat().st_mtime_ns for path in (made / "out").rglob("*.png")}
    result = translate(made, made / "out")
    assert result.exit_code == 0, result.output
    assert {path: path.stat().st_mtime_ns for path in (made / "out").rglob("*.png")} == before


def test_an_unfinished_run_goes_on_to_its_end(made: Path) -> None:
    result = run("fit", "--resume", "--run", made / "run")
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in (made / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss_total" in row] == [1, 2, 3, 4]
    assert (made / "run" / "weights.safetensors").is_file()


def test_a_pack_is_sound_and_trains(made: Path, tmp_path: Path) -> None:
    result = run("pack", "check", made / "ade20k.h5")
    assert result.exit_code == 0, result.output
    small = ("--preset", "tiny", "--size", 32, "--batch-size", 2, "--workers", 0, "--max-steps", 1)
    result = run("fit", "--data", made / "ade20k.h5", *small, "--run", tmp_path / "run", "--device", "cpu")
    assert result.exit_code == 0, result.output
