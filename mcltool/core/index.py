"""Weights by name: an index (JSON: name -> where the file is, its SHA-256, its licence), and downloads from it."""

from __future__ import annotations

import dataclasses
import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urljoin, urlsplit
from urllib.request import url2pathname, urlopen

from mcltool.core.errors import DataError, McltoolError, UsageError, did_you_mean
from mcltool.core.files import MIB, parse_json, read_limited

TIMEOUT = 30.0
"""Seconds without an answer after which a server counts as gone."""
WAY_OUT = "try again, or give a mirror with --url"
"""What a user can do where a download fails."""


@dataclass(frozen=True)
class Entry:
    """One line of an index.

    url: of the file, absolute or relative to the index. megabytes: about how large. sha256: 64 hexadecimal digits, or
    the beginning of them that the publisher gives. license: its SPDX name. card: where it is described.
    """

    url: str
    megabytes: float
    sha256: str
    license: str
    card: str

    @property
    def path(self) -> Path | None:
        """The file itself, where it is on this machine."""
        return Path(url2pathname(urlsplit(self.url).path)) if self.url.startswith("file:") else None


def home() -> Path:
    """Where downloads live: $MCLTOOL_HOME, else the user's cache folder."""
    given = os.environ.get("MCLTOOL_HOME")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(given) if given else cache / "mcltool"


def shipped_folder() -> Path:
    """Where the weights that come with mcltool are: in the package, or in weights/ of a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "shipped_weights"
    return installed if installed.is_dir() else package.parent / "weights"


def read_index(source: str | None = None) -> dict[str, Entry]:
    """The entries of an index by name. source: its URL or file; None takes the one that comes with mcltool.

    Raises UsageError where it is not an index, McltoolError where a server does not give it.
    """
    source = source or str(shipped_folder() / "index.json")
    is_url = source.startswith(("https://", "http://"))
    base = source if is_url else Path(source).absolute().as_uri()
    try:
        text = _downloaded(source) if is_url else read_limited(Path(source), MIB)
        document = parse_json(text)
        if not isinstance(document, dict):
            raise ValueError("expected an object: name -> entry")
        entries = {name: _entry(name, raw) for name, raw in document.items()}
    except OSError as error:
        raise UsageError(f"{source}: the index cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise UsageError(f"{source}: not an index of weights ({error})") from None
    for name, entry in entries.items():
        entries[name] = dataclasses.replace(entry, url=urljoin(base, entry.url))
        check_address(entries[name].url, f"{source}: {name}", local=not is_url)
    return entries


def find_entry(name: str, source: str | None = None) -> Entry:
    """The entry ``name`` of an index. Raises UsageError, with the names there are, where it has none."""
    entries = read_index(source)
    if name not in entries:
        hint = did_you_mean(name, entries)
        raise UsageError(f"no weights {name!r} in the index{hint}; there are {', '.join(entries)}")
    return entries[name]


def check_address(url: str, what: str, local: bool = False) -> None:
    """Raises UsageError, naming ``what``, where ``url`` is not a web address (local: or a file's)."""
    if not url.startswith(("https://", "http://", *(["file://"] if local else []))):
        raise UsageError(f"{what}: {url}: expected an address like https://HOST/FILE")


def fetch(url: str, target: Path, sha256: str) -> None:
    """Download ``url`` to ``target``, with progress on stderr, if its SHA-256 begins with ``sha256``.

    Raises DataError where it is another file, McltoolError where it cannot be had; nothing is written then.
    """
    from torch import hub

    if not sys.stderr.isatty():
        print(f"downloading {url}", file=sys.stderr, flush=True)
    with _explained(url):
        try:
            hub.download_url_to_file(url, str(target), sha256, progress=sys.stderr.isatty())
        except RuntimeError as error:  # torch's word for a wrong checksum
            found = re.search(r'got "(\w+)"', str(error))
            got = found[1][:16] if found else "unknown"
            raise DataError(
                f"{url}: cut off, or not the file that was published (SHA-256 {got}, expected {sha256[:16]}); "
                f"{WAY_OUT}"
            ) from None


def _downloaded(url: str) -> bytes:
    with _explained(url), urlopen(url, timeout=TIMEOUT) as response:
        text: bytes = response.read(MIB)
    return text


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """Turn trouble with a server, and one that stops answering, into one line that names ``url``."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    except HTTPError as error:
        raise McltoolError(f"{url}: the server answers {error.code} {error.reason}; {WAY_OUT}") from None
    except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
        cause = (error.reason if isinstance(error, URLError) else error) or type(error).__name__
        raise McltoolError(f"{url}: cannot be downloaded ({cause}); {WAY_OUT}") from None
    finally:
        socket.setdefaulttimeout(before)


def _entry(name: str, raw: Any) -> Entry:
    try:
        entry = Entry(**raw)
    except TypeError:
        expected = ", ".join(field.name for field in dataclasses.fields(Entry))
        raise ValueError(f"{name}: expected {expected}") from None
    texts = (entry.url, entry.sha256, entry.license, entry.card)
    if not all(isinstance(text, str) for text in texts) or not isinstance(entry.megabytes, int | float):
        raise ValueError(f"{name}: megabytes must be a number and all else text")
    if not re.fullmatch(r"[\w-][\w.-]*", name):
        raise ValueError(f"{name!r}: a name has letters, digits, '.', '_' and '-'")
    if not re.fullmatch("[0-9a-f]{8,64}", entry.sha256):
        raise ValueError(f"{name}: sha256 must be 8 to 64 hexadecimal digits, not {entry.sha256!r}")
    return entry
