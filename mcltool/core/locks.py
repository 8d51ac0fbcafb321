"""One process at a time in a folder: a lock that a dead process does not keep."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mcltool.core.errors import UsageError, naming
from mcltool.core.patience import limited

try:
    import fcntl
except ImportError:  # not a POSIX system: nothing is locked there
    fcntl = None  # type: ignore[assignment]

_NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # through a lock that is a link we would write to its target
_held: set[int] = set()
POLL_SECONDS, SAY_SECONDS = 0.1, 60.0
"""Seconds between two tries of a lock that is waited for, and between two lines that say so."""

log = logging.getLogger(__name__)


@contextmanager
def locked(path: Path, message: str, wait: bool = False) -> Iterator[None]:
    """Hold the lock file ``path``; the file is there while the lock is held.

    The system frees the lock of a process that ends, however it ends. wait: for another holder to finish; a line
    names it each minute. Raises UsageError, ``message`` and the holder's process id, where the lock is held, even by
    this process.
    """
    handle = _acquire(path, message, wait)
    _held.add(handle)
    try:
        yield
    finally:
        _held.discard(handle)
        with suppress(OSError):
            path.unlink(missing_ok=True)
        os.close(handle)


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock file ``path``."""
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        return not _try_lock(handle, path)
    finally:
        os.close(handle)


def _acquire(path: Path, message: str, wait: bool) -> int:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | _NO_LINK, 0o666)
        except FileNotFoundError:  # another process has just removed the folder
            continue
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise UsageError(f"{path}: expected a lock, found a link; remove it") from None
        said = time.monotonic()
        while not _try_lock(handle, path):
            holder = f"process {os.pread(handle, 32, 0).decode(errors='replace').strip() or 'unknown'}"
            if not wait:
                os.close(handle)
                raise UsageError(f"{message} ({holder})")
            if time.monotonic() - said > SAY_SECONDS:
                said = time.monotonic()
                log.warning("%s: waiting for %s; ended, it frees the lock", path, holder)
            time.sleep(POLL_SECONDS)
        if _is_same(handle, path):
            with naming(path):
                os.ftruncate(handle, 0)
                os.write(handle, f"{os.getpid()}\n".encode())
            return handle
        os.close(handle)  # its last holder removed the file between our opening and locking it


def _try_lock(handle: int, path: Path) -> bool:
    if fcntl is None:
        return True
    try:
        with limited(f"{path}: locking it"):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_same(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _release_in_child() -> None:
    """A forked child must not keep its parent's locks alive."""
    for handle in _held:
        with suppress(OSError):
            os.close(handle)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_in_child)
