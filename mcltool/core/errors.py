"""Errors a user can cause. The command line shows them as one line; a traceback only with --debug."""

from __future__ import annotations


class McltoolError(Exception):
    """Something the user can put right. The message is one line: what, where (a path), and the way out."""

    exit_code = 1


class UsageError(McltoolError):
    """The request itself cannot be carried out as given (wrong folder, wrong name, missing weights)."""

    exit_code = 2


class HungError(McltoolError):
    """The system does not answer, as with a network file system that is gone. A thread still waits for it, so that
    the process, to end, must not wait for its threads."""


class DataError(McltoolError):
    """A file holds something else than what is expected of it."""


def printable(text: str) -> str:
    """Text that is safe to show: undecodable bytes and control characters are escaped."""
    shown = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
