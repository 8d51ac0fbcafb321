"""``mcltool plugins new`` writes a package that keeps the contract as it is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mcltool.cli.main import cli


def new(*args: str) -> Result:
    return CliRunner().invoke(cli, ["plugins", "new", *args])


@pytest.mark.slow
def test_a_new_package_is_complete_and_passes_its_own_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = new("street-views")
    home = tmp_path / "mcltool-street-views"
    assert result.exit_code == 0, result.output
    assert "pip install -e mcltool-street-views" in result.output
    files = {path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()}
    module = "mcltool_street_views"
    assert files == {"pyproject.toml", "README.md", f"{module}.py", "tests/test_street_views.py"}
    project = tomllib.loads((home / "pyproject.toml").read_text())["project"]
    assert project["entry-points"] == {"mcltool.datasets": {"street-views": f"{module}:StreetViewsPlugin"}}
    words = re.compile("two.?tone", re.IGNORECASE)
    assert not any(words.search(path.read_text()) for path in home.rglob("*") if path.is_file())

    pytest_run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    environment = {**os.environ, "PYTHONPATH": str(home)}
    done = subprocess.run(pytest_run, cwd=home, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("Meadow", "lower case"),
        ("my meadow", "lower case"),
        ("2meadow", "lower case"),
        ("meadow_x", "lower case"),
        ("meadow-", "lower case"),
        ("../meadow", "lower case"),
        ("m" * 41, "lower case"),
        ("ade20k", "plugin 'ade20k' already exists, from mcltool"),
    ],
)
def test_a_name_that_will_not_do_is_refused(
    name: str, cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = new(name)
    assert (result.exit_code, cause in result.stderr) == (2, True), result.stderr
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    result = new("meadow", "--out", str(tmp_path / "here"))
    assert (result.exit_code, "here: exists already; give another --out" in result.stderr) == (2, True)
    assert list((tmp_path / "here").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = new("meadow", "--out", str(tmp_path / "file" / "inner"))
    assert (result.exit_code, "cannot be written" in result.stderr) == (2, True), result.stderr
