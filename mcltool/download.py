"""Downloading a file over HTTP, with a progress bar and every failure as one line."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from mcltool.errors import McltoolError, UsageError

TIMEOUT = 30.0
"""Seconds without an answer after which a server counts as gone."""

OTHERWISE = "try again, give a mirror with --url, or 'mcltool weights convert FILE.pth' a file from elsewhere"
"""What a user can do where a download fails."""

MOST_BYTES = 1 << 30
"""The largest of the files that are downloaded has 548 MiB; a server may send without end."""
_BLOCK = 1 << 20


def download(url: str, file: IO[bytes], name: str) -> str:
    """Write what ``url`` gives to ``file``, with a progress bar; returns its SHA-256 in hexadecimal.

    name: of the file that is meant, for messages. Raises UsageError for what is no address, McltoolError where
    the file cannot be had or is cut off.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    digest, done = hashlib.sha256(), 0
    console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
    columns = (
        TextColumn("[bold]downloading"),
        BarColumn(bar_width=None),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with (
        _connected(url, name) as response,
        Progress(*columns, console=console, disable=not console.is_terminal) as bar,
    ):
        length = response.length  # None where the server does not say
        if not console.is_terminal:
            console.print(f"downloading {url}" + (f", {length / 1e6:.1f} MB" if length else ""), markup=False)
        task = bar.add_task("", total=length)
        while block := _read(url, response):
            file.write(block)
            digest.update(block)
            done += len(block)
            if done > MOST_BYTES:
                raise McltoolError(
                    f"{url}: more than {MOST_BYTES >> 20} MiB, which {name} is not; {OTHERWISE}"
                )
            bar.update(task, completed=done)
    if length is not None and done != length:
        raise McltoolError(f"{url}: cut off after {done} of {length} bytes; {OTHERWISE}")
    return digest.hexdigest()


@contextmanager
def _connected(url: str, name: str) -> Iterator[HTTPResponse]:
    if not url.startswith(("https://", "http://")):
        raise UsageError(f"--url {url}: expected an address like https://HOST/{name}")
    try:
        response = urlopen(url, timeout=TIMEOUT)
    except HTTPError as error:
        cause = f"the server answers {error.code} {error.reason}"
        raise McltoolError(f"{url}: {cause}; {OTHERWISE}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise _unreachable(url, error) from None
    with response:
        yield response


def _read(url: str, response: HTTPResponse) -> bytes:
    try:
        return response.read(_BLOCK)
    except IncompleteRead as error:
        return error.partial  # the count of bytes tells
    except (OSError, HTTPException) as error:
        raise _unreachable(url, error) from None


def _unreachable(url: str, error: Exception) -> McltoolError:
    cause = str(error.reason if isinstance(error, URLError) else error) or type(error).__name__
    return McltoolError(f"{url}: cannot be downloaded ({cause}); {OTHERWISE}")
