"""Networks that others publish and we look through: how their weights are got, where they live, how they are loaded.

VGG-19 serves training's perceptual losses and two of ``evaluate``'s metrics; AlexNet and Inception serve its LPIPS
and FID. Each comes from its official file, whose name ends in the beginning of its own SHA-256, and is kept as
.safetensors: what is needed of it, never a pickle.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse, IncompleteRead
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from mcltool.core.errors import DataError, McltoolError, UsageError
from mcltool.core.files import replacing

if TYPE_CHECKING:
    from torch import Tensor

    from mcltool.model.vgg import VGGFeatures


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
        while block := _read_answer(url, response):
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


def _read_answer(url: str, response: HTTPResponse) -> bytes:
    try:
        return response.read(_BLOCK)
    except IncompleteRead as error:
        return error.partial  # the count of bytes tells
    except (OSError, HTTPException) as error:
        raise _unreachable(url, error) from None


def _unreachable(url: str, error: Exception) -> McltoolError:
    cause = str(error.reason if isinstance(error, URLError) else error) or type(error).__name__
    return McltoolError(f"{url}: cannot be downloaded ({cause}); {OTHERWISE}")


Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Network:
    """A published network.

    title: as messages call it. file: the converted weights' name. url: of the official file. sha256: what that
    one's checksum begins with. shapes: tensors that it must have. whole: keep the others too.
    """

    name: str
    title: str
    file: str
    url: Callable[[], str]
    sha256: str
    shapes: Callable[[], Shapes]
    whole: bool = False

    @property
    def path(self) -> Path:
        """The converted weights, whether or not they are there."""
        return home() / "weights" / self.file


def home() -> Path:
    """Where downloaded networks live: $MCLTOOL_HOME, else the user's cache folder."""
    given = os.environ.get("MCLTOOL_HOME")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(given) if given else cache / "mcltool"


def official_url() -> str:
    """Where torchvision publishes VGG-19's weights."""
    from torchvision.models import VGG19_Weights

    return str(VGG19_Weights.IMAGENET1K_V1.url)


def _alexnet_url() -> str:
    from torchvision.models import AlexNet_Weights

    return str(AlexNet_Weights.IMAGENET1K_V1.url)


def _inception_url() -> str:
    folder = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0"
    return f"{folder}/weights-inception-2015-12-05-6726825d.pth"


def _vgg_shapes() -> Shapes:
    from mcltool.model.vgg import VGGFeatures

    return {key: tuple(tensor.shape) for key, tensor in VGGFeatures().state_dict().items()}


def _alexnet_shapes() -> Shapes:
    weights = {
        0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)
    }  # fmt: skip
    found: dict[str, tuple[int, ...]] = {}
    for index, shape in weights.items():
        found |= {f"features.{index}.weight": shape, f"features.{index}.bias": shape[:1]}
    return found


def _inception_shapes() -> Shapes:
    """Some that tell; torch-fidelity compares them all when it loads them."""
    return {"Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3), "fc.weight": (1008, 2048), "fc.bias": (1008,)}


NETWORKS = {
    network.name: network
    for network in (
        Network(
            "vgg19", "torchvision's VGG-19 weights", "vgg19-features.safetensors",
            lambda: official_url(), "dcbb9e9d", _vgg_shapes,
        ),
        Network(
            "alexnet", "torchvision's AlexNet weights", "alexnet-features.safetensors",
            _alexnet_url, "7be5be79", _alexnet_shapes,
        ),
        Network(
            "inception", "torch-fidelity's Inception weights", "inception-2015-12-05.safetensors",
            _inception_url, "6726825d", _inception_shapes, whole=True,
        ),
    )
}  # fmt: skip


def vgg_file() -> Path:
    """The converted VGG-19 weights, whether or not they are there."""
    return NETWORKS["vgg19"].path


def load_vgg(path: Path) -> VGGFeatures:
    """VGG-19 with the weights of ``path``. Raises UsageError where they are not VGG-19's."""
    from mcltool.model.vgg import VGGFeatures

    network = VGGFeatures()
    try:
        network.load_state_dict(_read(path))
    except (UsageError, RuntimeError) as error:
        cause = str(error).splitlines()[0]
        raise UsageError(f"{path}: not the VGG-19 feature weights ({cause}); get them anew") from None
    return network


def load_tensors(name: str) -> dict[str, Tensor]:
    """The weights of NETWORKS[name]. Raises UsageError, with the way to get them, where they are not there."""
    network = NETWORKS[name]
    if not network.path.is_file():
        official = network.url().rsplit("/", 1)[1]
        raise UsageError(
            f"{network.path}: missing; get it with 'mcltool weights get {name}', or 'mcltool weights convert' "
            f"a copy of {official}"
        )
    return _read(network.path)


def is_official(name: str) -> bool:
    """Whether the weights that are there were made from the official file."""
    from safetensors import safe_open

    with safe_open(NETWORKS[name].path, framework="numpy") as file:
        source = (file.metadata() or {}).get("source_sha256", "")
    return str(source).startswith(NETWORKS[name].sha256)


def get_weights(name: str, url: str | None = None) -> Path:
    """Download the weights of NETWORKS[name], check and convert them; returns their file. Good ones are kept.

    url: a mirror of the official file. Raises McltoolError where it cannot be had or is another file; then
    nothing is written.
    """
    network = NETWORKS[name]
    target = network.path
    if target.exists() and is_whole(network):
        return target
    official = network.url()
    url = url or official
    with _writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent) as file:  # without a name: whatever happens, it goes
            digest = download(url, file, official.rsplit("/", 1)[1])
            if not digest.startswith(network.sha256):
                found = f"the SHA-256 begins with {digest[:16]}, not with {network.sha256}"
                raise DataError(f"{url}: not {network.title} as published ({found}); {OTHERWISE}")
            file.seek(0)
            _save(target, _checked(network, url, _unpacked(url, file)), digest)
    return target


def convert_weights(source: Path, out: Path | None = None) -> tuple[Network, Path]:
    """Convert the official file ``source`` (.pth) of any of NETWORKS to ``out`` (default its ``path``).

    Which one it is is told by what it holds. Raises UsageError where there is no such file, DataError where it
    holds something else.
    """
    try:
        file = source.open("rb")
    except OSError as error:
        raise UsageError(f"{source}: expected a .pth file with weights ({error.strerror})") from None
    with file:
        found = _unpacked(str(source), file)
        network = _recognised(found)
        tensors = _checked(network, str(source), found)
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    target = out or network.path
    with _writing(target):
        _save(target, tensors, digest)
    return network, target


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{path}: cannot be read ({str(error).splitlines()[0]}); get it anew") from None


def is_whole(network: Network) -> bool:
    """Whether the weights that are there have the network's tensors."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(network.path, framework="numpy") as file:
            names = set(file.keys())
            return all(
                name in names and tuple(file.get_slice(name).get_shape()) == shape
                for name, shape in network.shapes().items()
            )
    except (OSError, SafetensorError):
        return False


def _unpacked(name: str, file: IO[bytes]) -> Any:
    """name: what errors call the file."""
    import torch

    try:
        return torch.load(file, map_location="cpu", weights_only=True)  # runs no code of the file's
    except Exception as error:  # a wrong file trips the reader in any of a dozen ways
        cause = f"{type(error).__name__}: {str(error).partition('.')[0]}"[:100]
        raise DataError(f"{name}: cut off, or not a PyTorch weights file ({cause})") from None


def _recognised(found: Any) -> Network:
    """Whose weights these are; VGG-19's where nothing tells."""
    first = found.get("features.0.weight") if isinstance(found, dict) else None
    if isinstance(found, dict) and any(key in found for key in _inception_shapes()):
        return NETWORKS["inception"]
    if getattr(first, "shape", None) == _alexnet_shapes()["features.0.weight"]:
        return NETWORKS["alexnet"]
    return NETWORKS["vgg19"]


def _checked(network: Network, name: str, found: Any) -> dict[str, Tensor]:
    """The tensors in ``found`` that make the network."""
    import torch

    if not isinstance(found, dict):
        raise DataError(f"{name}: expected {network.title} by name, found {type(found).__name__}")
    for key, shape in network.shapes().items():
        tensor = found.get(key)
        if not isinstance(tensor, torch.Tensor):
            raise DataError(f"{name}: not {network.title}: {key} is missing")
        if tensor.shape != shape:
            shapes = f"{'x'.join(map(str, tensor.shape))} instead of {'x'.join(map(str, shape))}"
            raise DataError(f"{name}: not {network.title}: {key} is {shapes}")
    kept = {key: found[key] for key in (found if network.whole else network.shapes())}
    tensors = {str(key): value for key, value in kept.items() if isinstance(value, torch.Tensor)}
    for key, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise DataError(f"{name}: {key} has values that are not finite")
    return {key: t.float().contiguous() if t.is_floating_point() else t for key, t in tensors.items()}


def _save(target: Path, tensors: dict[str, Tensor], source_sha256: str) -> None:
    from safetensors.torch import save_file

    with replacing(target) as temporary:
        save_file(tensors, temporary, metadata={"source_sha256": source_sha256})


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    """Trouble in writing ``target`` as an error that names it."""
    try:
        yield
    except OSError as error:
        raise McltoolError(f"{error.filename or target}: cannot be written ({error.strerror})") from None
