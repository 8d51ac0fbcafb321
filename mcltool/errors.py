"""Errors a user can cause. The command line shows them as one line; a traceback only with --debug."""

from __future__ import annotations


class McltoolError(Exception):
    """Something the user can put right. The message is one line: what, where (a path), and the way out."""

    exit_code = 1


class UsageError(McltoolError):
    """The request itself cannot be carried out as given (wrong folder, wrong name, missing weights)."""

    exit_code = 2


class DataError(McltoolError):
    """A file holds something else than what is expected of it."""
