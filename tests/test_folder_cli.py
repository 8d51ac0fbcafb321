"""From a bare folder to pictures, on the command line: nothing is written by hand, and weights need nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import trees
from click.testing import CliRunner

from mcltool.cli.main import cli

SMALL = ["--preset", "tiny", "--size", "32", "--batch-size", "2", "--max-steps", "1", "--workers", "0"]


def run(*args: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(cli, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_bare_folder_trains_at_once_and_its_weights_translate_without_it() -> None:
    trees.plain_folders(Path("garden"), "masks", "depth16")
    said = run("fit", "--root", "garden", "--run", "run", *SMALL)
    assert "garden: not described yet; taken for" in said
    assert "depth: depth from 500 to 5000" in said
    run("data", "export-conditions", "--root", "garden", "--split", "train", "--count", "2", "conditions")
    shutil.move("garden/images", "photos")
    shutil.rmtree("garden")
    run("translate-dir", "conditions", "photos", "out", "--weights", "run", "--save", "grid")
    lines = [json.loads(line) for line in Path("out/manifest.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["ok", "ok"]


@pytest.mark.slow
def test_describe_writes_what_fit_then_takes() -> None:
    trees.split_folders(Path("garden"), "masks")
    shown = run("data", "describe", "garden")
    assert "masks: masks, 3 classes by number" in shown
    path = Path("garden/dataset.toml")
    path.write_text(path.read_text().replace("class 2", "thing").replace("flip = true", "flip = false"))
    assert "thing" in run("data", "describe", "garden")
    dry = json.loads(run("fit", "--root", "garden", "--dry-run", "--json", *SMALL))
    assert "not described" not in run("fit", "--root", "garden", "--run", "run", *SMALL)
    assert '"flip": false' in json.dumps(dry)
    shown = json.loads(run("weights", "show", "run", "--json"))
    assert shown["condition"]["names"] == ["class 0", "class 1", "thing"]


def test_a_pack_of_it_carries_the_description() -> None:
    trees.split_folders(Path("garden"), "depth16")
    run("pack", "--root", "garden", "--size", "40", "--workers", "0", "garden.h5")
    shutil.rmtree("garden")
    run("pair", "--data", "garden.h5", "--features", "plain", "--top", "2", "--workers", "0")
    run("fit", "--data", "garden.h5", "--run", "run", *SMALL)
    shown = json.loads(run("weights", "show", "run", "--json"))
    assert json.loads(shown["condition"]["reading"])["condition"][0]["range"] == [500.0, 5000.0]


def test_photos_without_masks_are_refused_until_the_file_that_describe_wrote_allows_it() -> None:
    trees.plain_folders(Path("garden"), "masks")
    Path("garden/masks/02.png").unlink()
    for command in (["fit", "--root", "garden", *SMALL], ["data", "describe", "garden"]):
        last = run(*command, code=2).strip().splitlines()[-1]
        assert last.startswith("mcltool: garden/images/02.png: 1 of 6 photos have no labels (masks)")
    path = Path("garden/dataset.toml")
    path.write_text(path.read_text().replace('unpaired = "refuse"', 'unpaired = "leave out"'))
    assert json.loads(run("data", "check", "--root", "garden", "--json"))["splits"][0]["samples"] == 4


def test_what_is_wrong_is_one_line() -> None:
    trees.plain_folders(Path("garden"), "masks")
    Path("garden/dataset.toml").write_text("flips = true")
    assert "flips: unknown key (did you mean flip?)" in run("fit", "--root", "garden", *SMALL, code=2)
    assert run("fit", "--plugin", "shapes", "--condition", "edges", *SMALL, code=2).count("\n") == 1
