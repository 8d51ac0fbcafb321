"""Pretrained feature networks from their official files: download, check, convert."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcltool.core.errors import DataError, McltoolError, UsageError
from mcltool.core.files import digest, replace, replacing
from mcltool.core.index import check_address, fetch, find_entry, home
from mcltool.core.lookup import shipped_weights
from mcltool.core.pretrained import CAFFE_VGG, NETWORKS, Network, is_whole, metadata_of, read_tensors
from mcltool.core.weights import read_header

if TYPE_CHECKING:
    from torch import Tensor

CAFFE_MEAN = (123.68, 116.779, 103.939)
"""Red, green and blue of the mean image that Caffe's VGG-19 subtracts (Simonyan and Zisserman's model page)."""


def get_weights(name: str, url: str | None = None, index: str | None = None) -> Path:
    """The file of the weights ``name`` in an index, downloaded and checked unless it is there already.

    url: a mirror of the file. index: URL or file of an index; None takes mcltool's own. A feature network is converted.
    Raises McltoolError where the file cannot be had, DataError where it is another one; nothing is written then.
    """
    entry = find_entry(name, index)
    if entry.path and index is None:
        return shipped_weights(name)
    network = NETWORKS.get(name)
    target = network.path if network else home() / "weights" / f"{name}.safetensors"
    if target.exists() and (is_whole(network) if network else digest(target).startswith(entry.sha256)):
        if network and network.scaled and "scales" not in metadata_of(target):
            convert_weights(target, target, network)
        return target
    if url:
        check_address(url, "--url")
    with _writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=target.parent) as folder:
            file = Path(folder) / ("official.pth" if network else target.name)
            # Whoever keeps another index, a feature network is the published one.
            fetch(url or entry.url, file, find_entry(name).sha256 if network else entry.sha256)
            if network:
                convert_weights(file, target, network)
            else:
                read_header(file)
                replace(file, target)
    return target


def convert_weights(source: Path, out: Path | None = None, network: Network | None = None) -> Path:
    """Convert the official file ``source`` (.pth) of any of NETWORKS to ``out`` (default its ``path``); returns that.

    A file that was converted before (.safetensors) gets what this version adds, in place. network: which one it must
    be; None recognises it by its tensors. Raises UsageError where there is no such file, DataError where it holds
    something else.
    """
    from safetensors.torch import save_file

    converted = source.suffix == ".safetensors"
    found = read_tensors(source) if converted else _unpacked(source)
    known = metadata_of(source).get("source_sha256") if converted else None
    network = network or _recognised(found)
    tensors = _checked(network, str(source), found)
    metadata = {"source_sha256": known or digest(source)}
    if network.scaled:
        metadata["scales"] = json.dumps(_measured_scales(str(source), tensors))
    target = out or (source if converted else network.path)
    with _writing(target), replacing(target) as temporary:
        save_file(tensors, temporary, metadata=metadata)
    return target


def _measured_scales(name: str, tensors: Mapping[str, Tensor]) -> dict[str, float]:
    from mcltool.model.vgg import VGGFeatures, layer_scales

    network = VGGFeatures()
    network.load_state_dict(tensors)
    scales = layer_scales(network)
    for layer, scale in scales.items():
        if not (math.isfinite(scale) and scale > 0):
            raise DataError(f"{name}: not trained weights: {layer} is {scale:g} on average, whatever it sees")
    return scales


def _unpacked(path: Path) -> Any:
    import torch

    try:
        with path.open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)  # runs no code of the file's
    except OSError as error:
        raise UsageError(f"{path}: expected a .pth file with weights ({error.strerror})") from None
    except Exception as error:  # a wrong file trips the reader in any of a dozen ways
        cause = f"{type(error).__name__}: {str(error).partition('.')[0]}"[:100]
        raise DataError(f"{path}: cut off, or not a PyTorch weights file ({cause})") from None


def _recognised(found: Any) -> Network:
    """Whose weights these are; VGG-19's where nothing tells."""
    first = found.get("features.0.weight") if isinstance(found, dict) else None
    if isinstance(found, dict) and any(key in found for key in NETWORKS["inception"].shapes()):
        return NETWORKS["inception"]
    if getattr(first, "shape", None) == NETWORKS["alexnet"].shapes()["features.0.weight"]:
        return NETWORKS["alexnet"]
    return CAFFE_VGG if isinstance(found, dict) and "conv1_1.weight" in found else NETWORKS["vgg19"]


def _from_caffe(found: Mapping[str, Any]) -> dict[str, Any]:
    """Convolutions convB_N, which take BGR from 0 to 255 less CAFFE_MEAN, as features.I, which take normalised RGB."""
    import torch

    from mcltool.model.vgg import DEVIATION, MEAN, VGGFeatures

    places = [i for i, layer in enumerate(VGGFeatures().features) if isinstance(layer, torch.nn.Conv2d)]
    names = [
        f"conv{block}_{n}" for block, count in enumerate((2, 2, 4, 4, 4), 1) for n in range(1, count + 1)
    ]
    made = {
        f"features.{place}.{part}": found[f"{name}.{part}"]
        for place, name in zip(places, names, strict=False)
        for part in ("weight", "bias")
        if f"{name}.{part}" in found
    }
    first = made["features.0.weight"].flip(1)  # to RGB
    shift = 255 * torch.tensor(MEAN) - torch.tensor(CAFFE_MEAN)
    made["features.0.bias"] = made["features.0.bias"] + (first * shift.view(1, 3, 1, 1)).sum((1, 2, 3))
    made["features.0.weight"] = first * (255 * torch.tensor(DEVIATION)).view(1, 3, 1, 1)
    return made


def _checked(network: Network, name: str, found: Any) -> dict[str, Tensor]:
    """The tensors in ``found`` that make the network."""
    import torch

    if not isinstance(found, dict):
        raise DataError(f"{name}: expected {network.title} by name, found {type(found).__name__}")
    if "conv1_1.weight" in found and "conv1_1.bias" in found and network is CAFFE_VGG:
        found = _from_caffe(found)
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


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    """Turn trouble in writing ``target`` into an error that names it."""
    try:
        yield
    except OSError as error:
        raise McltoolError(f"{error.filename or target}: cannot be written ({error.strerror})") from None
