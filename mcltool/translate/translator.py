"""One condition and one exemplar in, one picture out: the model with all that its weights file says of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcltool import plugins
from mcltool.data.contract import Condition, DatasetPlugin
from mcltool.data.images import read_photo
from mcltool.device import autocast, pick_device, pick_precision
from mcltool.errors import DataError, McltoolError, UsageError
from mcltool.translate.prepare import finish, network_size, output_size, prepare_condition, prepare_photo
from mcltool.weights import WeightsHeader, load_model, read_header


def plugin_of(weights: Path) -> DatasetPlugin:
    """The installed plugin that a weights file was trained with.

    Raises UsageError where it is not installed, or its conditions are not those of the weights.
    """
    header = read_header(weights)
    try:
        plugin = plugins.load(header.plugin)
    except UsageError as error:
        raise UsageError(f"{weights}: needs the plugin it was trained with: {error}") from None
    if plugin.spec != header.condition:
        raise UsageError(f"{weights}: {_difference(header, plugin)}")
    return plugin


class Translator:
    """Translates conditions with the model of ``weights``.

    plugin: ``plugin_of(weights)``. precision, device: as --precision and --device. Raises UsageError where
    the weights or the device cannot be used.
    """

    def __init__(
        self, weights: Path, plugin: DatasetPlugin, precision: str = "auto", device: str | None = None
    ) -> None:
        self.plugin = plugin
        self.device = pick_device(device)
        self.precision = pick_precision(precision, self.device)
        self.model, header = load_model(weights, self.device)
        self.short_side = min(header.size)
        self._exemplar = lru_cache(maxsize=1)(self._read_exemplar)  # one photo often serves all in a row

    def translate(self, files: Sequence[Path], part: str, exemplar: Path) -> NDArray[np.uint8]:
        """The picture (H, W, 3) uint8: of the condition's aspect, its short side as long as in training.

        files, part: as in ConditionFiles. Raises DataError naming the file that cannot be read, or saying what does
        not fit.
        """
        condition = self._read_condition(files, part)
        try:
            X_BKHW = prepare_condition(self.plugin, condition, network_size(condition.size, self.short_side))
            size = output_size(condition.size, self.short_side)
        except DataError as error:
            raise DataError(f"{files[0]}: {error}") from None
        return finish(self._forward(X_BKHW, self._exemplar(exemplar)), size)

    def _forward(self, X_BKHW: Tensor, Z_B3HW: Tensor) -> Tensor:
        try:
            with torch.inference_mode(), autocast(self.device, self.precision):
                image: Tensor = self.model(X_BKHW.to(self.device), Z_B3HW).image
                return image
        except torch.OutOfMemoryError:
            height, width = X_BKHW.shape[2:]
            raise DataError(f"the device's memory does not suffice for {height} x {width} pixels") from None

    def _read_condition(self, files: Sequence[Path], part: str) -> Condition:
        try:
            return self.plugin.read_part(files, part)
        except McltoolError:
            raise
        except Exception as error:  # a plugin is anyone's code: its trouble with one file is that file's
            raise DataError(f"{files[0]}: {type(error).__name__}: {error}") from error

    def _read_exemplar(self, path: Path) -> Tensor:
        photo = read_photo(path, self.short_side)
        try:
            return prepare_photo(photo, self.short_side).to(self.device)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None


def _difference(header: WeightsHeader, plugin: DatasetPlugin) -> str:
    """In words, how the conditions of weights and of the installed plugin differ."""
    theirs, ours = header.condition, plugin.spec
    if (theirs.kind, theirs.channels) != (ours.kind, ours.channels):
        what = f"{theirs.channels} {theirs.kind}, the installed one has {ours.channels} {ours.kind}"
    elif theirs.names != ours.names:
        pairs = zip(theirs.names, ours.names, strict=True)
        index, (a, b) = next((i, pair) for i, pair in enumerate(pairs) if pair[0] != pair[1])
        what = f"{a!r} as number {index}, the installed one has {b!r}"
    else:
        what = "another palette or unknown class than the installed one"
    made_with = f"{header.plugin} version {header.plugin_version}"
    return f"made with {made_with}, which has {what} (version {plugin.version})"
