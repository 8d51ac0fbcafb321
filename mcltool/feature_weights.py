"""The VGG-19 weights of the perceptual losses: where they live and how they are loaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mcltool.errors import UsageError

if TYPE_CHECKING:
    from mcltool.model.vgg import VGGFeatures


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
