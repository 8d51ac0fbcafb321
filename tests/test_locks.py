"""A folder is one process's at a time, and nobody's once that process is dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mcltool.errors import UsageError
from mcltool.locks import is_locked, locked

HOLD = """
import pathlib, sys, time
from mcltool.locks import locked
with locked(pathlib.Path(sys.argv[1]), "a run"):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_folder_in_work_is_refused_by_name_and_process(tmp_path: Path) -> None:
    process = holder(tmp_path)
    try:
        assert is_locked(tmp_path)
        with (
            pytest.raises(UsageError, match=f"{tmp_path}: a run that process {process.pid} is working in"),
            locked(tmp_path, "a run"),
        ):
            pass
    finally:
        process.kill()
        process.wait()


def test_a_killed_process_keeps_nothing(tmp_path: Path) -> None:
    process = holder(tmp_path)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not is_locked(tmp_path)
    with locked(tmp_path, "a run"):
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)


def test_a_folder_never_held_is_free(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    assert list(tmp_path.iterdir()) == []
