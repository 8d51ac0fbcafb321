"""Errors a user can cause. The command line shows them as one line; a traceback only with --debug."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class McltoolError(Exception):
    """Something the user can fix. The message is one line: what, where (a path), and the way out."""

    exit_code = 1


class UsageError(McltoolError):
    """The request cannot be carried out as given (wrong folder, wrong name, missing weights)."""

    exit_code = 2


class HungError(McltoolError):
    """The system does not answer, as when a network file system is gone. A thread still waits for it, so the
    process must exit without waiting for its threads."""


class DataError(McltoolError):
    """A file does not contain what was expected."""


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name ``path`` in an OSError of the block that names no file, as for a full disk, or a temporary one.

    Errors of libraries written in Rust, which have the system's number in their text, become OSErrors.
    """
    try:
        yield
    except OSError as error:
        if error.errno and (error.filename is None or str(error.filename).endswith(".tmp")):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    except Exception as error:
        if number := re.search(r"\(os error (\d+)\)", str(error)):
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None
        raise


def printable(text: str) -> str:
    """Text that is safe to show: undecodable bytes and control characters are escaped."""
    shown = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)


def one_line(error: BaseException) -> str:
    """An error's words in one line, after its type where it is none of ours."""
    words = " ".join(str(error).split())
    if isinstance(error, McltoolError):
        return words
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The text " (did you mean X?)" with the name in ``known`` that is closest to ``name``; "" if none is close."""
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
