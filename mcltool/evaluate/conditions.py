"""Pictures of conditions, for the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mcltool import plugins
from mcltool.data.batches import condition_picture
from mcltool.data.images import read_photo
from mcltool.errors import McltoolError
from mcltool.evaluate.folders import find_images
from mcltool.evaluate.report import ConditionPicture

Picture = NDArray[np.uint8]


def folder_pictures(folder: Path | None, plugin_name: str | None) -> ConditionPicture:
    """The pictures of the conditions below ``folder``: as the plugin draws them, without one as the files look.

    A condition that is missing or cannot be read has none. Raises UsageError for an unknown plugin or no folder.
    """
    if folder is None:
        return lambda _: None
    read = _reader(folder, plugin_name)

    def picture(name: str) -> Picture | None:
        try:
            return read(name)
        except (McltoolError, KeyError):
            return None

    return picture


def _reader(folder: Path, plugin_name: str | None) -> Callable[[str], Picture]:
    if plugin_name is None:
        images = find_images(folder, "--conditions")
        return lambda name: read_photo(images[name])
    plugin = plugins.load(plugin_name)
    found = {condition.id: condition for condition in plugin.conditions(folder)}

    def draw(name: str) -> Picture:
        condition = plugin.read_part(found[name].files, found[name].part)
        return condition_picture(plugin.render(condition), plugin.spec)

    return draw
