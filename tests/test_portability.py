"""Where a system lacks what Linux has: ``resource`` and ``fcntl`` (Windows), and ``fork`` (Windows, macOS)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WITHOUT = "import sys; sys.modules['resource'] = sys.modules['fcntl'] = None\n"
SPAWN = "import multiprocessing as m; m.set_start_method('spawn')\n"
MAIN = "from mcltool.cli.main import main; main()"
FIT = (
    "fit",
    "--plugin",
    "shapes",
    "--preset",
    "tiny",
    "--size",
    "32",
    "--batch-size",
    "2",
    "--max-steps",
    "2",
)


def run(code: str, place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=240)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "workers"), [(WITHOUT, "0"), (SPAWN, "1")], ids=["no resource, no fcntl", "spawn"]
)
def test_training_needs_neither_resource_nor_fcntl_nor_fork(code: str, workers: str, tmp_path: Path) -> None:
    fitted = run(code + MAIN, tmp_path, *FIT, "--workers", workers, "--device", "cpu", "--run", "runs/x")
    assert fitted.returncode == 0, fitted.stderr
    assert (tmp_path / "runs" / "x" / "weights.safetensors").is_file()
