"""A package that ``plugins new`` of the last release wrote, for version 1 of the contract, still does all it did.

tests/fixtures/contract1/mcltool-meadow is as it was written: never change it.
"""

from __future__ import annotations

import importlib
import json
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mcltool.cli.main import cli

HOME = Path(__file__).parent / "fixtures" / "contract1" / "mcltool-meadow"
SMALL = ["--preset", "tiny", "--size", "32", "--batch-size", "2", "--max-steps", "1", "--workers", "0"]


@pytest.fixture(params=["inherited", "stated"])
def meadow(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Its data, the package installed as pip would; version 1 of the contract inherited or stated."""
    info = tmp_path / "site" / "mcltool_meadow-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mcltool-meadow\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[mcltool.datasets]\nmeadow = mcltool_meadow:MeadowPlugin\n")
    monkeypatch.syspath_prepend(info.parent)
    monkeypatch.syspath_prepend(HOME)
    monkeypatch.chdir(tmp_path)
    if request.param == "stated":
        monkeypatch.setattr(
            importlib.import_module("mcltool_meadow").MeadowPlugin, "contract", 1, raising=False
        )
    tests = runpy.run_path(str(HOME / "tests" / "test_mcltool_meadow.py"))
    tests["make_data"](tmp_path / "data")
    yield tmp_path / "data"
    del sys.modules["mcltool_meadow"]


def run(*args: str | Path) -> Result:
    result = CliRunner().invoke(cli, [str(arg) for arg in args])
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.slow
def test_it_passes_check_trains_and_translates(meadow: Path, tmp_path: Path) -> None:
    assert "all is well" in run("plugins", "check", "meadow", "--root", meadow).output
    run("fit", "--plugin", "meadow", "--root", meadow, "--run", "run", *SMALL)
    weights = tmp_path / "run" / "weights.safetensors"
    run("translate-dir", meadow / "val/masks", meadow / "val/images", "out", "--weights", weights)
    lines = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["ok", "ok"]


def test_its_own_test_passes(meadow: Path, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    tests = runpy.run_path(str(HOME / "tests" / "test_mcltool_meadow.py"))
    tests["test_the_plugin_keeps_the_contract"](tmp_path / "own")
