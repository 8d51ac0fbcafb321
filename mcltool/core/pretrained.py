"""Pretrained feature networks: which there are, and how they are loaded (``core.convert`` makes their files).

VGG-19 serves training's perceptual losses and two of ``evaluate``'s metrics; AlexNet and Inception serve its LPIPS
and FID. The index says where each one's official file is; what is needed of it is kept as .safetensors, VGG-19's with
the scale of each layer (``model.vgg.layer_scales``) in its metadata.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mcltool.core.errors import UsageError
from mcltool.core.index import find_entry, home
from mcltool.core.weights import open_tensors

if TYPE_CHECKING:
    from torch import Tensor

    from mcltool.model.vgg import VGGFeatures

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Network:
    """A published network.

    title: as messages call it. file: the converted weights' name. shapes: tensors that it must have. whole: keep
    the others too. scaled: keep the layers' scales.
    """

    title: str
    file: str
    shapes: Callable[[], Shapes]
    whole: bool = False
    scaled: bool = False

    @property
    def path(self) -> Path:
        """The converted weights, whether or not they are there."""
        return home() / "weights" / self.file


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
    """Some that identify it; torch-fidelity compares them all when it loads them."""
    return {"Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3), "fc.weight": (1008, 2048), "fc.bias": (1008,)}


NETWORKS = {
    "vgg19": Network("torchvision's VGG-19 weights", "vgg19-features.safetensors", _vgg_shapes, scaled=True),
    "alexnet": Network("torchvision's AlexNet weights", "alexnet-features.safetensors", _alexnet_shapes),
    "inception": Network(
        "torch-fidelity's Inception weights",
        "inception-2015-12-05.safetensors",
        _inception_shapes,
        whole=True,
    ),
}


CAFFE_VGG = Network("Caffe's VGG-19 weights", "vgg19-caffe-features.safetensors", _vgg_shapes)
"""The original network, whose features the published perceptual weights are in units of. Only converted."""


def vgg_file() -> Path:
    """The converted VGG-19 weights, whether or not they are there."""
    return NETWORKS["vgg19"].path


def load_vgg(path: Path) -> VGGFeatures:
    """VGG-19 with the weights of ``path``. Raises UsageError where they are not VGG-19's."""
    from mcltool.model.vgg import VGGFeatures

    network = VGGFeatures()
    try:
        network.load_state_dict(read_tensors(path))
    except (UsageError, RuntimeError) as error:
        cause = str(error).splitlines()[0]
        raise UsageError(f"{path}: not the VGG-19 feature weights ({cause}); download them again") from None
    return network


def load_scales(path: Path) -> dict[str, float]:
    """The scale of each layer of the converted VGG-19 in ``path``. Raises UsageError where it has none."""
    from mcltool.model.vgg import LAYERS

    try:
        scales = {name: float(json.loads(metadata_of(path)["scales"])[name]) for name in LAYERS}
        if all(math.isfinite(scale) and scale > 0 for scale in scales.values()):
            return scales
    except (KeyError, TypeError, ValueError):
        pass
    raise UsageError(
        f"{path}: has no feature scales, which the losses need (converted by an older mcltool); add them with "
        f"'mcltool weights convert {path}'"
    )


def metadata_of(path: Path) -> dict[str, str]:
    try:
        return open_tensors(path)[0]
    except UsageError as error:
        raise UsageError(f"{error}; download it again") from None


def weights_file(name: str) -> Path:
    """The weights of NETWORKS[name]. Raises UsageError, with the way to get them, where they are missing."""
    network = NETWORKS[name]
    if not network.path.is_file():
        official = find_entry(name).url.rsplit("/", 1)[1]
        raise UsageError(
            f"{network.path}: missing; get it with 'mcltool weights get {name}', or 'mcltool weights convert' "
            f"a copy of {official}"
        )
    return network.path


def load_tensors(name: str) -> dict[str, Tensor]:
    """As ``weights_file``, read."""
    return read_tensors(weights_file(name))


def is_official(name: str) -> bool:
    """Whether the weights that are there were made from the official file."""
    return metadata_of(NETWORKS[name].path).get("source_sha256", "").startswith(find_entry(name).sha256)


def read_tensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    metadata_of(path)  # says what is wrong with the file
    return load_file(path)


def is_whole(network: Network) -> bool:
    """Whether the weights that are there have the network's tensors."""
    try:
        shapes = open_tensors(network.path)[1]
    except UsageError:
        return False
    return all(shapes.get(name) == shape for name, shape in network.shapes().items())
