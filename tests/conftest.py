"""What holds for all tests."""

from __future__ import annotations

import signal

# A shell starts what it puts in the background with Ctrl-C ignored, and every process that a test starts inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
