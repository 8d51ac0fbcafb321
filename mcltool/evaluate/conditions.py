"""The conditions that outputs were made of: their pictures for the report, and their exemplars' weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcltool.core.errors import McltoolError, UsageError
from mcltool.core.images import read_photo
from mcltool.core.pixels import Size
from mcltool.data.batch import condition_picture
from mcltool.evaluate.folders import Picture, find_images
from mcltool.plugin.contract import Condition, DatasetPlugin
from mcltool.translate.exemplars import STRIDE, Exemplar, Weights, check, weights_of
from mcltool.translate.reader import prepare_condition


class Conditions:
    """Those below ``folder``, by the outputs' names. plugin: which reads them; None: they are pictures, to look at.

    Raises UsageError where there is no folder or nothing in it.
    """

    def __init__(self, folder: Path | None, plugin: DatasetPlugin | None) -> None:
        self.plugin = plugin if folder else None
        self._images = find_images(folder, "--conditions") if folder and not plugin else {}
        self._files = {found.id: found for found in plugin.conditions(folder)} if folder and plugin else {}

    def picture(self, name: str) -> Picture | None:
        """As the plugin draws it, or as the file looks; None where it is missing or cannot be read."""
        try:
            if self.plugin is None:
                return read_photo(self._images[name])
            return condition_picture(self.plugin.render(self._read(name)), self.plugin.spec)
        except (McltoolError, KeyError):
            return None

    def check(self, name: str, exemplars: Sequence[Exemplar]) -> None:
        """Raises UsageError for exemplars of which ``weights`` cannot be told."""
        where = f"--exemplars: {name} was made of several"
        if not any(one.classes for one in exemplars):
            return
        if self.plugin is None:
            classes = ", ".join(sorted({name for one in exemplars for name in one.classes}))
            raise UsageError(
                f"{where}, which act by region or class ({classes}): needs --conditions and --plugin, and the regions' "
                "files where they were"
            )
        if name not in self._files:
            raise UsageError(f"{where}, which act by class: its condition is not below --conditions")
        check(exemplars, self.plugin.spec, where)

    def weights(self, name: str, exemplars: Sequence[Exemplar], made: Size, seen: Size) -> Weights | None:
        """Of several exemplars, as translating had them, on a grid of the output's places; None of one.

        made, seen: the output's size in its file, and as it is compared. Raises DataError for files that do not fit.
        """
        if len(exemplars) < 2:
            return None
        size = (max(STRIDE, seen[0] // STRIDE * STRIDE), max(STRIDE, seen[1] // STRIDE * STRIDE))
        planes: NDArray[Any] = np.zeros(size, np.uint8)
        if self.plugin and any(one.classes for one in exemplars):
            planes = prepare_condition(self.plugin, self._read(name), size)
        return weights_of(exemplars, planes, made, self.plugin.spec if self.plugin else None)[0]

    def _read(self, name: str) -> Condition:
        assert self.plugin is not None
        found = self._files[name]
        return self.plugin.read_part(found.files, found.part)
