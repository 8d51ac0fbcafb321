"""What holds for all tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import hypothesis
import pytest

# The tests' networks are so small that a second thread only waits, on a busy machine for minutes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell starts what it puts in the background with Ctrl-C ignored, and every process that a test starts inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Property tests try the same examples each time, and few: the fuzzer (tests/fuzz) tries many.
hypothesis.settings.register_profile(
    "mcltool",
    derandomize=True,
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.filter_too_much],
)
hypothesis.settings.load_profile("mcltool")


@pytest.fixture
def real_samples() -> Path:
    """A folder with a few real samples of each data set, beside the repository; they are not part of it."""
    folder = Path(__file__).parents[2] / "shared" / "real-samples"
    if not folder.is_dir():
        pytest.skip(f"the real samples are not at {folder}")
    return folder
