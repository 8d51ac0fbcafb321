"""Nothing is waited for without a limit, and nothing that goes on is ended: see mcltool.core.patience."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys, threading, time
from mcltool.core import patience
from mcltool.core.patience import limited, own_process
patience.LOOK_SECONDS, patience.LOOKS = 0.1, 10

def hang():
    threading.Event().wait(20)

def read(seconds):
    with limited("a.png: reading it"):
        time.sleep(seconds)

with own_process():
"""

WAITS = {
    "a file that is not answered for": (
        "    read(20)",
        1,
        "mcltool: a.png: reading it: no answer in 0.017 minutes; check the file system, then run again to "
        "resume",
    ),
    "the innermost is named": (
        "    with limited('a batch'):\n        read(20)", 1, "mcltool: a.png: reading it: no answer",
    ),
    "what goes on in steps": ("    with limited('a batch'):\n        for _ in range(8): read(0.2)", 0, ""),
    "one that answers late": ("    read(0.3)", 0, ""),
    "outside a wait it may take what it takes": ("    time.sleep(1.5)", 0, ""),
    "a thread at the end": (
        "    threading.Thread(target=hang).start()\n    sys.exit(3)",
        3,
        "mcltool: ended while a thread was still at work",
    ),
    "another thread's": (
        "    threading.Thread(target=read, args=(1.5,), daemon=True).start()\n    time.sleep(1.5)", 0, "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WAITS)
def test_a_wait_ends_with_a_line_and_progress_begins_it_anew(name: str) -> None:
    body, code, line = WAITS[name]
    done = subprocess.run([sys.executable, "-c", PROGRAM + body], capture_output=True, text=True, timeout=15)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == bool(line)


def test_a_library_leaves_the_process_alone() -> None:
    program = PROGRAM.replace("with own_process():", "if True:") + "    read(1.5)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=15)
    assert (done.returncode, done.stderr) == (0, "")
