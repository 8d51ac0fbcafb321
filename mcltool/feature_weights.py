"""The VGG-19 weights of the perceptual losses: how they are got, where they live and how they are loaded.

They come from torchvision's official file (IMAGENET1K_V1); the convolutions that the losses look at are kept.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse, IncompleteRead
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from mcltool.errors import DataError, McltoolError, UsageError
from mcltool.files import replacing

if TYPE_CHECKING:
    from torch import Tensor

    from mcltool.model.vgg import VGGFeatures

VGG_SHA256 = "dcbb9e9d"
"""What the SHA-256 of the official file begins with; published as part of its name, vgg19-dcbb9e9d.pth."""
TIMEOUT = 30.0
"""Seconds without an answer after which a server counts as gone."""

_BLOCK = 1 << 20
_OTHERWISE = (
    "try again, give a mirror with --url, or 'mcltool weights convert FILE.pth' a file from elsewhere"
)


def home() -> Path:
    """Where downloaded networks live: $MCLTOOL_HOME, else the user's cache folder."""
    given = os.environ.get("MCLTOOL_HOME")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(given) if given else cache / "mcltool"


def vgg_file() -> Path:
    """The converted VGG-19 weights, whether or not they are there."""
    return home() / "weights" / "vgg19-features.safetensors"


def load_vgg(path: Path) -> VGGFeatures:
    """VGG-19 with the weights of ``path``. Raises UsageError where they are not VGG-19's."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from mcltool.model.vgg import VGGFeatures

    network = VGGFeatures()
    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        cause = str(error).splitlines()[0]
        raise UsageError(f"{path}: not the VGG-19 feature weights ({cause}); get them anew") from None
    return network


def official_url() -> str:
    """Where torchvision publishes VGG-19's weights."""
    from torchvision.models import VGG19_Weights

    return str(VGG19_Weights.IMAGENET1K_V1.url)


def get_vgg(url: str | None = None) -> Path:
    """Download VGG-19's weights, check and convert them; returns ``vgg_file()``. Good ones there are kept.

    url: a mirror of the official file. Raises McltoolError where it cannot be had or is another file; then
    nothing is written.
    """
    target = vgg_file()
    if target.exists():
        try:
            load_vgg(target)
        except UsageError:
            pass  # damaged: get it anew
        else:
            return target
    url = url or official_url()
    with _writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent) as file:  # without a name: whatever happens, it goes
            digest = _download(url, file)
            if not digest.startswith(VGG_SHA256):
                found = f"the SHA-256 begins with {digest[:16]}, not with {VGG_SHA256}"
                raise DataError(f"{url}: not the official VGG-19 weights ({found}); {_OTHERWISE}")
            file.seek(0)
            _convert(url, file, target)
    return target


def convert_vgg(source: Path, out: Path | None = None) -> Path:
    """Convert torchvision's vgg19 ``source`` (.pth) to ``out`` (default ``vgg_file()``); returns that.

    Raises UsageError where there is no such file, DataError where it holds something else.
    """
    target = out or vgg_file()
    try:
        file = source.open("rb")
    except OSError as error:
        raise UsageError(f"{source}: expected a .pth file with VGG-19's weights ({error.strerror})") from None
    with file, _writing(target):
        _convert(str(source), file, target)
    return target


def _convert(name: str, file: IO[bytes], target: Path) -> None:
    """name: what errors call the file."""
    import torch
    from safetensors.torch import save_file

    try:
        found = torch.load(file, map_location="cpu", weights_only=True)  # runs no code of the file's
    except Exception as error:  # a wrong file trips the reader in any of a dozen ways
        cause = f"{type(error).__name__}: {str(error).partition('.')[0]}"[:100]
        raise DataError(f"{name}: cut off, or not a PyTorch weights file ({cause})") from None
    tensors = _features(name, found)
    with replacing(target) as temporary:
        save_file(tensors, temporary)


def _features(name: str, found: Any) -> dict[str, Tensor]:
    """Those of the tensors in ``found`` that make a VGGFeatures, checked."""
    import torch

    from mcltool.model.vgg import VGGFeatures

    if not isinstance(found, dict):
        raise DataError(f"{name}: expected VGG-19's weights by name, found {type(found).__name__}")
    tensors = {}
    for key, wanted in VGGFeatures().state_dict().items():
        tensor = found.get(key)
        if not isinstance(tensor, torch.Tensor):
            raise DataError(f"{name}: not torchvision's VGG-19 weights: {key} is missing")
        if tensor.shape != wanted.shape:
            shapes = f"{'x'.join(map(str, tensor.shape))} instead of {'x'.join(map(str, wanted.shape))}"
            raise DataError(f"{name}: not torchvision's VGG-19 weights: {key} is {shapes}")
        if not tensor.isfinite().all():
            raise DataError(f"{name}: {key} has values that are not finite")
        tensors[key] = tensor.float().contiguous()
    return tensors


def _download(url: str, file: IO[bytes]) -> str:
    """Write what ``url`` gives to ``file``, with a progress bar; returns its SHA-256 in hexadecimal."""
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
        _connected(url) as response,
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
            bar.update(task, completed=done)
    if length is not None and done != length:
        raise McltoolError(f"{url}: cut off after {done} of {length} bytes; {_OTHERWISE}")
    return digest.hexdigest()


@contextmanager
def _connected(url: str) -> Iterator[HTTPResponse]:
    if not url.startswith(("https://", "http://")):
        raise UsageError(f"--url {url}: expected an address like https://HOST/vgg19-{VGG_SHA256}.pth")
    try:
        response = urlopen(url, timeout=TIMEOUT)
    except HTTPError as error:
        cause = f"the server answers {error.code} {error.reason}"
        raise McltoolError(f"{url}: {cause}; {_OTHERWISE}") from None
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
    return McltoolError(f"{url}: cannot be downloaded ({cause}); {_OTHERWISE}")


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    """Trouble in writing ``target`` as an error that names it."""
    try:
        yield
    except OSError as error:
        raise McltoolError(f"{error.filename or target}: cannot be written ({error.strerror})") from None
