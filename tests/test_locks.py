"""A lock file: one holder at a time, and none once the holder is dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Timer

import pytest

from mcltool import UsageError
from mcltool.core import locks
from mcltool.core.locks import is_locked, locked

HOLDER = """
import os, sys, time
from pathlib import Path
from mcltool.core.locks import locked
with locked(Path(sys.argv[1]), "busy"):
    if not sys.argv[2:] or os.fork() == 0:  # where it forks, the child speaks: only then has it let go
        print(os.getpid(), flush=True)
    time.sleep(60)
"""


def hold(path: Path, *fork: str) -> tuple[subprocess.Popen[str], int]:
    """A process that holds the lock, and the number of the one that spoke: its child, if it was asked to fork."""
    command = [sys.executable, "-c", HOLDER, str(path), *fork]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    return holder, int(holder.stdout.readline())


def test_a_held_lock_is_refused_with_the_holders_number_and_gone_after_use(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lock"
    with locked(path, "OUT is busy"):
        assert is_locked(path)
        with (
            pytest.raises(UsageError, match=rf"^OUT is busy \(process {os.getpid()}\)$"),
            locked(path, "OUT is busy"),
        ):
            pass
        assert is_locked(path), "a refused attempt has freed it"
    assert not path.exists()
    assert not is_locked(path)
    with locked(path, "free again"):
        pass


def test_an_exception_frees_the_lock(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="inside"), locked(tmp_path / "lock", "busy"):
        raise ValueError("inside")
    with locked(tmp_path / "lock", "busy"):
        pass


@pytest.mark.parametrize("fork", [[], ["fork"]])
def test_a_killed_holder_does_not_keep_it_even_where_its_child_lives(tmp_path: Path, fork: list[str]) -> None:
    path = tmp_path / "lock"
    holder, child = hold(path, *fork)
    try:
        with pytest.raises(UsageError, match=rf"busy \(process {holder.pid}\)"), locked(path, "busy"):
            pass
        holder.kill()
        holder.wait()
        with locked(path, "busy"):
            pass
    finally:
        holder.kill()
        if fork:
            os.kill(child, signal.SIGKILL)


def test_who_waits_is_told_for_whom_and_gets_the_lock_at_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(locks, "SAY_SECONDS", 0.2)
    holder, _ = hold(tmp_path / "lock")
    with caplog.at_level("WARNING"):
        Timer(0.6, holder.kill).start()
        with locked(tmp_path / "lock", "", wait=True):
            assert holder.wait() == -signal.SIGKILL
    assert f"waiting for process {holder.pid}; ended, it frees the lock" in caplog.text
