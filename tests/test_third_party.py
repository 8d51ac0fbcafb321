"""Packages of others, installed with pip: the example, and one that ``plugins new`` wrote."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[1] / "plugins" / "example"
Run = Callable[..., str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs python -m ARGS in an environment of its own, laid over the running one (torch is 5 GB)."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    own = sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)})
    # A path alone would leave out the editable installs that the running environment may have.
    lines = [f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})"]
    (Path(own) / "running.pth").write_text("\n".join(lines))
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}

    def call(*args: str | Path, expected: int = 0) -> str:
        done = subprocess.run(
            [python, "-m", *map(str, args)],
            cwd=home,
            env=clean | {"OMP_NUM_THREADS": "1", "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == expected, done.stdout + done.stderr
        return done.stdout

    return call


@pytest.fixture(scope="module")
def installed(run: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Both packages installed; what ``plugins list`` says of each."""
    home = tmp_path_factory.mktemp("packages")
    run("mcltool", "plugins", "new", "meadow", "--out", home / "meadow")
    options = ["--no-deps", "--no-build-isolation", "--quiet"]
    for package in (EXAMPLE, home / "meadow"):
        # pip builds in the folder that it is given: not in the repository
        copy = home / f"copy-{package.name}"
        shutil.copytree(package, copy, ignore=lambda *_: {"__pycache__"})
        run("pip", "install", *options, copy)
    listed = json.loads(run("mcltool", "plugins", "list", "--json"))
    return {info["name"]: f"{info['status']} {info['distribution']}" for info in listed}


def two_tone_data(root: Path) -> Path:
    """Two things from two sides each, a light disc on a dark ground, one of them held out."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    rows, columns = np.mgrid[:48, :64]
    for thing in range(2):
        for view in range(2):
            inside = (rows - 24) ** 2 + (columns - 20 - 20 * view) ** 2 < 200
            photo = np.where(inside[..., None], (200, 60 + 60 * thing, 40), (40, 50, 70)).astype(np.uint8)
            Image.fromarray(photo).save(root / "images" / f"disc{thing}_{view}.jpg")
            Image.fromarray(inside).save(root / "masks" / f"disc{thing}_{view}.png")
    return root


PACKAGES = {"two-tone": "ok mcltool-two-tone 0.1.0", "meadow": "ok mcltool-meadow 0.1.0"}


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_of_others_is_listed_checked_and_trains(
    name: str, run: Run, installed: dict[str, str], tmp_path: Path
) -> None:
    root = two_tone_data(tmp_path / "data")
    assert installed[name] == PACKAGES[name]
    assert "all is well" in run("mcltool", "plugins", "check", name, "--root", root)
    out = tmp_path / "run"
    data = ["--plugin", name, "--root", root, "--size", "32", "--batch-size", "2", "--workers", "0"]
    run("mcltool", "fit", *data, "--preset", "tiny", "--max-steps", "5", "--device", "cpu", "--run", out)
    last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 5
    shown = json.loads(run("mcltool", "weights", "show", out / "weights.safetensors", "--json"))
    assert shown["plugin"] == name
