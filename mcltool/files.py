"""Writing files whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

_numbers = count()


@contextmanager
def replacing(path: Path, scratch: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path, of an empty file; on success it takes ``path``'s place in one step.

    A reader of ``path`` sees the old file or the whole new one. After an exception the temporary file is gone
    and ``path`` is as it was. Missing parent folders are made. scratch: an existing folder of the same file
    system for the temporary file, so that what a killed process leaves is found in one place; without it the
    file is beside ``path``, hidden, and ends in .tmp.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    name = f".{path.name[:40]}.{os.getpid()}.{next(_numbers)}.tmp"  # up to 4 bytes a character, of 255
    temporary = (scratch or path.parent) / name
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    mode = temporary.stat().st_mode
    try:
        yield temporary
        temporary.chmod(mode)  # safetensors makes a file of its own, which nobody else may read
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes, scratch: Path | None = None) -> None:
    """Write ``data`` to ``path`` atomically; ``scratch`` as in ``replacing``."""
    with replacing(path, scratch) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str, scratch: Path | None = None) -> None:
    """Write ``text`` as UTF-8 to ``path`` atomically."""
    write_bytes(path, text.encode(), scratch)
