"""Finding data set plugins: entry points of the group ``mcltool.datasets``.

Listing names imports nothing. A plugin is imported on its own when it is needed; an error in it becomes one line that
names its distribution and does not affect other plugins.

``MCLTOOL_DISABLE_PLUGINS`` disables plugins: comma-separated names, or DISTRIBUTION:NAME where two distributions
claim a name. ``MCLTOOL_DATA`` is the folder of data sets, with a subfolder for each plugin's name.
"""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Literal

from mcltool.core.errors import UsageError, did_you_mean, one_line
from mcltool.plugin.contract import CONTRACT_VERSION, ConditionSpec, DatasetPlugin

GROUP = "mcltool.datasets"
DISABLE = "MCLTOOL_DISABLE_PLUGINS"
DATA = "MCLTOOL_DATA"
FOLDER = "folder"
"""The plugin for your own folders."""


@dataclass(frozen=True)
class PluginInfo:
    """One registered plugin.

    distribution: the package that it came with, as "name version".
    version: the plugin's own, which is stored with weights; only where status is "ok".
    kind, classes: "labels" or "channels", and how many a condition has; empty if that depends on the data.
    cause: why it is not ok.
    """

    name: str
    status: Literal["ok", "broken", "disabled"]
    distribution: str
    version: str = ""
    kind: str = ""
    classes: int = 0
    cause: str = ""


def names() -> list[str]:
    """Names of all registered plugins that are not disabled, sorted; none is imported."""
    return sorted(_registered())


def load(name: str) -> DatasetPlugin:
    """Import the plugin ``name`` and create an instance.

    Raises UsageError for a plugin that does not exist (with a suggestion), is disabled, is claimed by two
    distributions, or is broken (with its distribution and the cause).
    """
    registered = _registered()
    if name not in registered:
        if name in _registered(disabled=True):
            raise UsageError(f"plugin {name!r} is disabled by {DISABLE}={os.environ[DISABLE]}")
        known = ", ".join(sorted(registered)) or "none"
        raise UsageError(f"no plugin {name!r}{did_you_mean(name, registered)}; there are {known}")
    try:
        return _make(name, registered[name])
    except _BrokenError as error:
        owners = _owners(registered[name])
        raise UsageError(f"plugin {name!r} of {owners} is broken: {error}") from error.__cause__


def load_data(
    name: str | None, root: Path | None, pack: Path | None = None, condition: str = ""
) -> tuple[DatasetPlugin, Path | None]:
    """A data set and its folder, from --plugin, --root and --condition, or from --data, a pack.

    A folder without a plugin name is read by the plugin FOLDER. Raises UsageError where neither a data set nor a pack
    is given, or both, and as ``load``, ``DatasetPlugin.for_data`` and ``load_packed`` do.
    """
    if pack is None:
        if name is None and root is None:
            raise UsageError("Missing option '--plugin', or '--root', a folder (or '--data', a pack)")
        plugin = load(name or FOLDER)
        root = data_root(plugin, root)
        return plugin.for_data(root, condition), root
    if root is not None:
        raise UsageError("--root and --data: samples come from a folder or from a pack; give one of them")
    return load_packed(pack, name), None


def load_packed(path: Path, name: str | None = None) -> DatasetPlugin:
    """The data set in a pack (``mcltool pack``), read by the plugin that made it.

    Raises UsageError where the file is not a pack, its plugin is not installed in the same version, or ``name`` is
    another plugin.
    """
    from mcltool.data.pack import PackedDataset, read_header

    made_with = read_header(path).plugin
    if name not in (None, made_with):
        raise UsageError(f"{path}: a pack of plugin {made_with}, not of {name}")
    if made_with not in _registered() | _registered(disabled=True):
        raise UsageError(f"{path}: packed with plugin {made_with}, which is not installed here")
    return PackedDataset(load(made_with).for_spec(read_header(path).spec), path)


def use_reading(
    plugin: DatasetPlugin, labels: str = "", exif: bool | None = None, canvas: tuple[int, int] | None = None
) -> None:
    """Tell ``plugin`` what the user says of its files: how labels are numbered (--labels), whether EXIF turns photos
    (--exif, --no-exif), and the (height, width) of the pictures in which poses were found (--canvas).

    Raises UsageError for a numbering that it does not know, for a canvas of label maps, which say their size
    themselves, and for a pack, whose samples were already read.
    """
    from mcltool.data.pack import PackedDataset

    canvas = None if canvas == plugin.canvas else canvas
    if canvas and plugin.spec.kind == "labels":
        raise UsageError(
            f"--canvas: conditions of {plugin.name} are label maps, which say their size themselves"
        )
    if isinstance(plugin, PackedDataset):
        if canvas:
            raise UsageError(
                "--canvas: the poses in a pack lie on their canvas already; give it to mcltool pack"
            )
        if labels not in ("", plugin.label_numbering) or exif not in (None, plugin.follow_exif):
            raise UsageError(
                "--labels, --exif: samples in a pack were already read; give these options to mcltool pack"
            )
        return
    known = ["standard", *plugin.numberings]
    if labels and labels not in known:
        raise UsageError(f"--labels {labels}: label files of {plugin.name} are numbered {' or '.join(known)}")
    plugin.label_numbering, plugin.follow_exif, plugin.canvas = labels, exif, canvas or plugin.canvas


def describe() -> list[PluginInfo]:
    """Every registered plugin, sorted by name; a broken one with the cause. Disabled ones are not imported."""
    found = [
        PluginInfo(name, "disabled", _owners(entries), cause=f"left out by {DISABLE}")
        for name, entries in _registered(disabled=True).items()
    ]
    for name, entries in sorted(_registered().items()):
        owners = _owners(entries)
        try:
            plugin = _make(name, entries)
        except _BrokenError as error:
            found.append(PluginInfo(name, "broken", owners, cause=str(error)))
        else:
            spec = spec_of(plugin)
            kind, classes = (spec.kind, spec.channels) if spec else ("", 0)
            found.append(PluginInfo(name, "ok", owners, str(plugin.version), kind, classes))
    return sorted(found, key=lambda info: info.name)


def distribution(name: str) -> str:
    """The package that the plugin ``name`` came with, as "name version"; nothing is imported."""
    return _owners((_registered() | _registered(disabled=True)).get(name, []))


def data_root(plugin: DatasetPlugin, root: Path | None) -> Path | None:
    """The folder of the plugin's data set: ``root`` where given, else $MCLTOOL_DATA/NAME where that is set.

    None if neither is given or the plugin needs no folder; the plugin's index then says what it expects.
    """
    home = os.environ.get(DATA)
    if root is not None or not home or not plugin.needs_root:
        return root
    return Path(home).expanduser() / plugin.name


def _registered(disabled: bool = False) -> dict[str, list[EntryPoint]]:
    """The entry points that are not disabled, or those that are, by name.

    A distribution found twice (on two paths) counts once.
    """
    left_out = {word.strip() for word in os.environ.get(DISABLE, "").split(",")}
    found: dict[str, dict[tuple[str, str], EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        full_name = f"{entry.dist.name if entry.dist else ''}:{entry.name}"
        if (entry.name in left_out or full_name in left_out) is not disabled:
            continue
        found.setdefault(entry.name, {}).setdefault((_distribution(entry), entry.value), entry)
    return {name: list(entries.values()) for name, entries in found.items()}


def _make(name: str, entries: list[EntryPoint]) -> DatasetPlugin:
    """Import a plugin and create an instance. Any exception, even SystemExit, becomes a _BrokenError.

    What it prints goes to stderr: stdout belongs to the commands.
    """
    if len(entries) > 1:
        way_out = f"uninstall one of them, or set {DISABLE}=DISTRIBUTION:{name} to leave one out"
        raise _BrokenError(f"both register this name; {way_out}")
    try:
        with redirect_stdout(sys.stderr):
            return _checked(name, entries[0].load())
    except (_BrokenError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise _BrokenError(one_line(error)) from error


def _checked(name: str, loaded: object) -> DatasetPlugin:
    """An instance of an entry point's class, if that keeps the contract."""
    if not (isinstance(loaded, type) and issubclass(loaded, DatasetPlugin)):
        raise _BrokenError(f"expected a subclass of mcltool.DatasetPlugin, found {loaded!r}")
    if not 1 <= loaded.contract <= CONTRACT_VERSION:
        wanted = f"this mcltool has version {CONTRACT_VERSION}"
        raise _BrokenError(f"it is made for plugin contract version {loaded.contract}, {wanted}")
    if getattr(loaded, "name", None) != name:
        raise _BrokenError(f"it calls itself {getattr(loaded, 'name', None)!r}")
    plugin = loaded()
    spec = spec_of(plugin)
    if spec is not None and not isinstance(spec, ConditionSpec):
        raise _BrokenError(f"its spec is {spec!r}, expected a mcltool.ConditionSpec")
    return plugin


def spec_of(plugin: DatasetPlugin) -> ConditionSpec | None:
    """A plugin's spec; None if that depends on data not seen yet."""
    try:
        return plugin.spec
    except UsageError:
        return None


def _owners(entries: list[EntryPoint]) -> str:
    return " and ".join(_distribution(entry) for entry in entries)


def _distribution(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown distribution"


class _BrokenError(Exception):
    """A plugin that cannot be used; the message is the cause, in one line."""
