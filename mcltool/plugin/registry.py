"""Finding data set plugins: entry points of the group ``mcltool.datasets``.

Listing names imports nothing. A plugin is imported when it is asked for, and whatever goes wrong in it is one
line that names its distribution; the others are not touched by it.

``MCLTOOL_DISABLE_PLUGINS`` leaves plugins out: names between commas, or DISTRIBUTION:NAME where two
distributions claim a name. ``MCLTOOL_DATA`` is the folder in which data sets lie by their plugins' names.
"""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Literal

from mcltool.core.errors import UsageError
from mcltool.plugin.contract import CONTRACT_VERSION, ConditionSpec, DatasetPlugin

GROUP = "mcltool.datasets"
DISABLE = "MCLTOOL_DISABLE_PLUGINS"
DATA = "MCLTOOL_DATA"
FOLDER = "folder"
"""The plugin for a folder of one's own."""


@dataclass(frozen=True)
class PluginInfo:
    """One registered plugin. version, kind and classes are empty where it is not ok, cause where it is.

    distribution: what pip installed it with, as "name version".
    version: the plugin's own, which weights are marked with.
    kind: "labels" or "channels"; classes: how many classes or channels a condition has; both empty where the data
    say it.
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
    """Import and make the plugin ``name``.

    Raises UsageError where there is no such plugin (with the nearest name) or it is disabled, where two
    distributions claim the name, or where the plugin is broken (with its distribution and the cause).
    """
    registered = _registered()
    if name not in registered:
        if name in _registered(disabled=True):
            raise UsageError(f"plugin {name!r} is disabled by {DISABLE}={os.environ[DISABLE]}")
        close = get_close_matches(name, registered, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise UsageError(f"no plugin {name!r}{hint}; there are {', '.join(sorted(registered)) or 'none'}")
    try:
        return _make(name, registered[name])
    except _BrokenError as error:
        owners = _owners(registered[name])
        raise UsageError(f"plugin {name!r} of {owners} is broken: {error}") from error.__cause__


def load_data(
    name: str | None, root: Path | None, pack: Path | None = None, condition: str = ""
) -> tuple[DatasetPlugin, Path | None]:
    """A data set and its folder, from --plugin, --root and --condition or from --data, a pack.

    A folder without a plugin's name is one of the plugin FOLDER. Raises UsageError where neither a data set nor
    a pack is given, or both, and as ``load``, ``DatasetPlugin.for_data`` and ``load_packed``.
    """
    if pack is None:
        if name is None and root is None:
            raise UsageError("Missing option '--plugin', or '--root', a folder (or '--data', a pack)")
        plugin = load(name or FOLDER)
        root = data_root(plugin, root)
        return plugin.for_data(root, condition), root
    if root is not None:
        raise UsageError("--root and --data: the samples come from the one or from the other")
    return load_packed(pack, name), None


def load_packed(path: Path, name: str | None = None) -> DatasetPlugin:
    """The data set in a pack (``mcltool pack``), with the plugin that it was made with.

    Raises UsageError where the file is no pack, its plugin is not installed in the same version, or ``name``
    is given and another.
    """
    from mcltool.data.pack import PackedDataset
    from mcltool.data.pack_format import read_header

    made_with = read_header(path).plugin
    if name not in (None, made_with):
        raise UsageError(f"{path}: a pack of plugin {made_with}, not of {name}")
    if made_with not in _registered() | _registered(disabled=True):
        raise UsageError(f"{path}: packed with plugin {made_with}, which is not installed here")
    return PackedDataset(load(made_with).for_spec(read_header(path).spec), path)


def use_canvas(plugin: DatasetPlugin, canvas: tuple[int, int] | None) -> None:
    """Tell ``plugin`` how large the pictures are that its poses were found in (--canvas), (height, width).

    Raises UsageError where that says nothing: for label maps, and for a pack, whose poses lie on their canvas.
    """
    if canvas is None or canvas == plugin.canvas:
        return
    if plugin.spec.kind == "labels":
        raise UsageError(
            f"--canvas: conditions of {plugin.name} are label maps, which say their size themselves"
        )
    from mcltool.data.pack import PackedDataset

    if isinstance(plugin, PackedDataset):
        raise UsageError("--canvas: the poses in a pack lie on their canvas already; give it to mcltool pack")
    plugin.canvas = canvas


def use_reading(plugin: DatasetPlugin, labels: str = "", exif: bool | None = None) -> None:
    """Tell ``plugin`` how the files of its data set are read: how labels are numbered (--labels), and whether photos
    are turned by their EXIF orientation (--exif, --no-exif).

    Raises UsageError for a numbering that it does not know, and for a pack, whose samples were read already.
    """
    from mcltool.data.pack import PackedDataset

    if isinstance(plugin, PackedDataset):
        if labels not in ("", plugin.label_numbering) or exif not in (None, plugin.follow_exif):
            raise UsageError(
                "--labels, --exif: the samples in a pack were read already; give it to mcltool pack"
            )
        return
    known = ["standard", *plugin.numberings]
    if labels and labels not in known:
        raise UsageError(f"--labels {labels}: label files of {plugin.name} are numbered {' or '.join(known)}")
    plugin.label_numbering, plugin.follow_exif = labels, exif


def describe() -> list[PluginInfo]:
    """Every registered plugin, sorted by name; each is imported on its own, and a broken one says why.

    A disabled one is not imported.
    """
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
    """What pip installed the plugin ``name`` with, as "name version"; nothing is imported."""
    return _owners((_registered() | _registered(disabled=True)).get(name, []))


def data_root(plugin: DatasetPlugin, root: Path | None) -> Path | None:
    """The folder of the plugin's data set: ``root`` where given, else $MCLTOOL_DATA/NAME where that is set.

    None where neither says it or the plugin needs no folder: the plugin's index then says what it expects.
    """
    home = os.environ.get(DATA)
    if root is not None or not home or not plugin.needs_root:
        return root
    return Path(home).expanduser() / plugin.name


def _registered(disabled: bool = False) -> dict[str, list[EntryPoint]]:
    """Entry points by name, without the disabled ones, or those alone.

    One distribution that is found twice (on two paths) counts once.
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
    """Import and make a plugin. Whatever goes wrong, a SystemExit too, becomes a _BrokenError.

    What it prints goes to stderr: stdout is the commands' own.
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
        words = " ".join(str(error).split())
        raise _BrokenError(f"{type(error).__name__}: {words}" if words else type(error).__name__) from error


def _checked(name: str, loaded: object) -> DatasetPlugin:
    """An instance of the class that an entry point gave, if it keeps the contract."""
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
        raise _BrokenError(f"its spec is no mcltool.ConditionSpec but {spec!r}")
    return plugin


def spec_of(plugin: DatasetPlugin) -> ConditionSpec | None:
    """A plugin's spec; None where its data are still to say it."""
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
