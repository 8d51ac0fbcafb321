"""Files: written whole or not at all, read up to a limit where anyone may have written them, and found in folders.

All that writing asks of the system goes through a few functions: one place in which tests have it fail.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import IO, Any

from mcltool.core.errors import UsageError, naming
from mcltool.core.patience import limited

MIB = 1 << 20
_BINARY = getattr(os, "O_BINARY", 0)  # Windows: no translation of line ends

# Errors of one output's name. Any other, such as a full disk, would hit the next output too.
NAME_ERRORS = {
    errno.ENOENT, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EILSEQ, errno.ENOTEMPTY,
    errno.EXDEV,
}  # fmt: skip

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif", ".avif"}
    | {".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm"}
)

_numbers = count()


@contextmanager
def replacing(path: Path, scratch: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path, of an empty file; on success it takes ``path``'s place in one step.

    A reader of ``path`` sees the old file or the whole new one. After an exception the temporary file is gone
    and ``path`` is as it was; until then nobody else may read it. Missing parent folders are made. scratch: an
    existing folder of the same file system for the temporary file, so that what a killed process leaves is found
    in one place; without it the file is beside ``path``, hidden, and ends in .tmp.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    name = f".{path.name[:40]}.{os.getpid()}.{next(_numbers)}.tmp"  # up to 4 bytes a character, of 255
    temporary = (scratch or path.parent) / name
    try:
        with naming(path):
            handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | _BINARY, 0o666)
            mode = os.fstat(handle).st_mode  # what the user's umask makes of a new file
            os.fchmod(handle, 0o600)
            os.close(handle)
            yield temporary
            temporary.chmod(mode)
            replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes, scratch: Path | None = None) -> None:
    """Write ``data`` to ``path`` atomically; ``scratch`` as in ``replacing``."""
    with limited(f"{path}: writing it"), replacing(path, scratch) as temporary, create(temporary) as file:
        file.write(data)


def write_text(path: Path, text: str, scratch: Path | None = None) -> None:
    """Write ``text`` as UTF-8 to ``path`` atomically."""
    write_bytes(path, text.encode(), scratch)


def read_limited(path: Path, limit: int) -> bytes:
    """The bytes of a file. Raises OSError, also where there are more than ``limit``."""
    data = bytearray()
    with limited(f"{path}: reading it"), path.open("rb") as file:
        while block := file.read(min(MIB, limit + 1 - len(data))):
            data += block
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"larger than {limit // MIB} MiB, which no such file is", str(path))
    return bytes(data)


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path, limit: int = MIB) -> Any:
    """The document in a JSON file. Raises OSError as ``read_limited``, ValueError as ``parse_json``."""
    return parse_json(read_limited(path, limit))


def parse_json(text: str | bytes) -> Any:
    """As ``json.loads``, with a ValueError for what is nested too deeply as well."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def reserve(path: Path, size: int) -> None:
    """Make a file of ``size`` bytes, for which the disk has room. Raises OSError where it has none: writing to the
    mapped file would end the process instead (SIGBUS)."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            with naming(path):
                os.posix_fallocate(file.fileno(), 0, size)
        file.truncate(size)


# --- what writing asks of the system, for tests to make it fail ---


def create(path: Path) -> IO[bytes]:
    """Open a temporary file to write what it is to hold."""
    return path.open("wb")


def append(handle: int, data: bytes) -> int:
    """Write at the end of an open file; returns how many bytes there was room for."""
    return os.write(handle, data)


def replace(source: Path, target: Path) -> None:
    """Give a finished file its name, replacing any file that has it."""
    os.replace(source, target)


def to_disk(path: Path) -> None:
    """Flush a file or folder to the disk: a name must not get there before what it names."""
    if os.name == "nt" and path.is_dir():
        return  # Windows has no handles of folders, and orders names itself
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# --- folders ---


def walk_files(folder: Path, suffixes: frozenset[str], every: bool = False) -> Iterator[Path]:
    """Files below ``folder`` with one of ``suffixes`` (lower case, with dot), sorted, hidden ones left out.

    Links to folders are not followed. every: also anything with such a name that is not a file: dangling links, links
    to folders, pipes, folders in which nothing is found. Raises UsageError for a folder that is not there or cannot
    be listed.
    """
    return (Path(folder, name) for name in walk_names(folder, suffixes, every))


def walk_names(folder: Path, suffixes: frozenset[str], every: bool = False, inner: str = "") -> Iterator[str]:
    """As ``walk_files``, but names relative to ``folder``, of files below its ``inner`` ("" or "a/b/").

    It holds the names of one folder at a time and creates no Path objects: a million names take a second.
    """
    try:
        with os.scandir(os.path.join(folder, inner)) as entries:
            names, folders = _wanted(entries, suffixes, every)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{folder / inner}: no such folder") from None
    except OSError as error:
        raise UsageError(f"{folder / inner}: cannot be listed ({error.strerror})") from None
    for name in names:
        if name not in folders:
            yield inner + name
            continue
        empty = True
        for found in walk_names(folder, suffixes, every, f"{inner}{name}/"):
            empty = False
            yield found
        if every and empty and _has_suffix(name, suffixes):
            yield inner + name


def _wanted(
    entries: Iterable[os.DirEntry[str]], suffixes: frozenset[str], every: bool
) -> tuple[list[str], set[str]]:
    """Sorted names of folders and of entries with one of ``suffixes``; and which of them are folders."""
    names, folders = [], set()
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            folders.add(entry.name)
            names.append(entry.name)
        elif _has_suffix(entry.name, suffixes) and (every or entry.is_file()):
            names.append(entry.name)
    names.sort()
    return names, folders


def _has_suffix(name: str, suffixes: frozenset[str]) -> bool:
    return "." + name.rpartition(".")[2].lower() in suffixes
