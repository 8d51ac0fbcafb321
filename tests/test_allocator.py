"""Freed memory is kept for what comes next, until it is asked back; the commands decide that, the library does not."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from mcltool.core.process import keep_freed_memory, release_freed_memory
from mcltool.cli.main import cli

def resident():
    return next(int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith("VmRSS")) // 1024

def grown_by_a_freed_array():
    before = resident()
    array = np.ones(8 << 20)  # 64 MiB
    del array
    return resident() - before

found = [grown_by_a_freed_array()]
if sys.argv[1] == "function":
    keep_freed_memory()
else:
    try:
        cli(["plugins", "list"])
    except SystemExit:
        pass
found += [grown_by_a_freed_array(), grown_by_a_freed_array()]
before = resident()
release_freed_memory()
print(*found, before - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the memory of another C library")
@pytest.mark.parametrize("by", ["function", "command"])
def test_freed_memory_is_kept_from_then_on_until_it_is_released(by: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, by], capture_output=True, text=True, check=True)
    at_first, kept, used_again, released = map(int, done.stdout.splitlines()[-1].split())
    assert at_first < 16
    assert 48 < kept < 80
    assert used_again < 16
    assert released > 48
