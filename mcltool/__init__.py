"""mcltool: exemplar-guided image translation with MCL-Net.

What a data set plugin imports is here; see docs/plugins.md. Names are loaded on first use, so that importing
mcltool costs nothing and never imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcltool.core.drawings import draw_lines, edge_planes, outlines, read_drawing
    from mcltool.core.errors import DataError, McltoolError, UsageError
    from mcltool.core.files import replacing
    from mcltool.core.images import photo_size, read_photo
    from mcltool.core.rasters import read_labels, read_measure
    from mcltool.plugin.contract import (
        CONTRACT_VERSION,
        IMAGE_SUFFIXES,
        Condition,
        ConditionFiles,
        ConditionSpec,
        DatasetPlugin,
        Sample,
        Truth,
        walk_files,
    )
    from mcltool.translate.api import Model, TranslatedImage, from_pretrained, translate_images
    from mcltool.translate.exemplars import Exemplar

__version__ = "0.1.0"

_HOMES = {
    "mcltool.plugin.contract": (
        "CONTRACT_VERSION", "IMAGE_SUFFIXES", "Condition", "ConditionFiles", "ConditionSpec", "DatasetPlugin",
        "Sample", "Truth", "walk_files",
    ),
    "mcltool.core.drawings": ("draw_lines", "edge_planes", "outlines", "read_drawing"),
    "mcltool.core.images": ("photo_size", "read_photo"),
    "mcltool.core.rasters": ("read_labels", "read_measure"),
    "mcltool.core.files": ("replacing",),
    "mcltool.core.errors": ("DataError", "McltoolError", "UsageError"),
    "mcltool.translate.api": ("Model", "TranslatedImage", "from_pretrained", "translate_images"),
    "mcltool.translate.exemplars": ("Exemplar",),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "CONTRACT_VERSION",
    "IMAGE_SUFFIXES",
    "Condition",
    "ConditionFiles",
    "ConditionSpec",
    "DataError",
    "DatasetPlugin",
    "Exemplar",
    "McltoolError",
    "Model",
    "Sample",
    "TranslatedImage",
    "Truth",
    "UsageError",
    "draw_lines",
    "edge_planes",
    "from_pretrained",
    "outlines",
    "photo_size",
    "read_drawing",
    "read_labels",
    "read_measure",
    "read_photo",
    "replacing",
    "translate_images",
    "walk_files",
]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module 'mcltool' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME_OF])
