"""The plugin that a weights file needs, and what one path means to it, without loading the model (or torch)."""

from __future__ import annotations

from pathlib import Path

from mcltool.core.errors import McltoolError, UsageError
from mcltool.core.weights import WeightsHeader, read_header
from mcltool.plugin import registry as plugins
from mcltool.plugin.contract import ConditionFiles, DatasetPlugin


def plugin_of(weights: Path) -> DatasetPlugin:
    """The installed plugin that a weights file was trained with.

    Raises UsageError where it is not installed, or its conditions are not those of the weights.
    """
    header = read_header(weights)
    try:
        plugin = plugins.load(header.plugin).for_spec(header.condition)
    except UsageError as error:
        raise UsageError(f"{weights}: needs the plugin it was trained with: {error}") from None
    if plugin.spec != header.condition:
        raise UsageError(f"{weights}: {_difference(header, plugin)}")
    return plugin


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


def files_of(plugin: DatasetPlugin, path: Path, part: str = "") -> ConditionFiles:
    """The condition that ``path`` is one of the files of; part: which one, where they hold several."""
    alone = ConditionFiles(path.stem, (path,), part)
    if type(plugin).conditions is DatasetPlugin.conditions:  # a condition is a file
        return alone
    try:
        of_path = (found for found in plugin.conditions(path.parent) if path in found.files)
        return next((found for found in of_path if part in ("", found.part)), alone)
    except McltoolError:  # of another file in the folder
        return alone
