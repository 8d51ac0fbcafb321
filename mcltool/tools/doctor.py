"""``mcltool doctor``: whether this machine and installation have what mcltool needs, and how to fix what is missing."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

import mcltool
from mcltool.core.errors import UsageError
from mcltool.tools.machine import Finding, devices, disks, first_line, processor

MODULES = {"pillow": "PIL", "opencv-python-headless": "cv2", "pyyaml": "yaml"}
"""Modules of distributions that have another name."""
EXTRAS = ("metrics", "hub", "tensorboard", "wandb", "mlflow", "parquet", "export")
"""Optional extras of the package that users may want."""


def examine(folder: Path) -> Iterator[Finding]:
    """Examine everything; folder: the working folder, which contains runs/.

    Each part imports what it examines by itself, so that one that is broken does not hide the others.
    """
    parts: dict[str, Callable[[], Iterator[Finding]]] = {
        "program": _program,
        "device": devices,
        "processor": processor,
        "disk": lambda: disks(folder),
        "plugin": _plugins,
        "weights": lambda: _weights(folder),
        "network": _networks,
    }
    for group, look in parts.items():
        try:
            yield from look()
        except Exception as error:  # a broken installation can raise anything
            cause = f"cannot be examined: {type(error).__name__}: {first_line(error)}"
            yield Finding(group, "all", "broken", cause, "fix what is broken above")


def _program() -> Iterator[Finding]:
    yield Finding("program", "mcltool", "ok", f"{mcltool.__version__}, {Path(mcltool.__file__).parent}")
    yield Finding("program", "python", "ok", f"{platform.python_version()}, {sys.executable}")
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # importing it would look for a newer version online
    for name in requirements():
        yield _library(name)
    for extra in EXTRAS:
        missing = [name for name in requirements(extra) if find_spec(_module(name)) is None]
        if missing:
            hint = f"pip install 'mcltool[{extra}]'"
            yield Finding("program", f"extra {extra}", "note", f"without {', '.join(missing)}", hint)
        else:
            yield Finding("program", f"extra {extra}", "ok", "installed")


def requirements(extra: str = "") -> list[str]:
    """Names of the distributions that mcltool, or an extra of it, depends on."""
    found = []
    for line in requires("mcltool") or []:
        needed, _, marker = line.partition(";")
        if re.findall(r"extra == ['\"]([\w-]+)", marker) == ([extra] if extra else []):
            found.append(re.split(r"[<>=!~\[ ]", needed)[0].lower())
    return found


def _module(distribution: str) -> str:
    return MODULES.get(distribution, distribution.replace("-", "_"))


def _library(name: str) -> Finding:
    """Whether a dependency can be imported: if two versions do not fit together, one fails here."""
    try:
        imported = import_module(_module(name))
    except Exception as error:  # a broken binary package fails in any of a dozen ways
        cause = f"{type(error).__name__}: {first_line(error)}"
        hint = f"pip install --force-reinstall {name}"
        if "libGL" in cause:
            hint = "pip uninstall opencv-python opencv-python-headless; pip install opencv-python-headless"
        elif name == "torchvision":
            hint = "torch and torchvision must be of one release: pip install --upgrade torch torchvision"
        return Finding("program", name, "broken", cause, hint)
    try:
        found = version(name)
    except PackageNotFoundError:  # from another distribution, such as opencv-python
        found = str(getattr(imported, "__version__", "version unknown"))
    return Finding("program", name, "ok", found)


def _plugins() -> Iterator[Finding]:
    from mcltool.plugin import registry as plugins

    for found in plugins.describe():
        if found.status == "ok":
            detail = f"{found.classes} {found.kind}" if found.kind else "conditions depend on the data"
            detail += f", of {found.distribution}{_data(found.name)}"
            yield Finding("plugin", found.name, "ok", detail)
        elif found.status == "disabled":
            yield Finding("plugin", found.name, "note", found.cause, f"unset {plugins.DISABLE}")
        else:
            hint = f"{plugins.DISABLE}={found.name} disables it; mcltool --debug plugins show {found.name}"
            yield Finding("plugin", found.name, "broken", f"{found.cause} ({found.distribution})", hint)


def _data(name: str) -> str:
    """Where $MCLTOOL_DATA, if set, says that the plugin's data are."""
    from mcltool.plugin import registry as plugins

    root = plugins.data_root(plugins.load(name), None)
    return "" if root is None else f"; data: {root}{'' if root.is_dir() else ' (not there)'}"


def _weights(folder: Path) -> Iterator[Finding]:
    from mcltool.core.lookup import newest_weights, shipped_weights
    from mcltool.core.weights import read_header

    try:
        yield Finding("weights", "shipped", "ok", str(shipped_weights()))
    except UsageError as error:
        yield Finding("weights", "shipped", "broken", str(error), "pip install --force-reinstall mcltool")
    try:
        newest = newest_weights(folder)
        none = "none here: --weights shapes takes the shipped ones"
        about = f"{newest}, for {read_header(newest).plugin}" if newest else none
        yield Finding("weights", "newest run", "ok", about)
    except UsageError as error:
        yield Finding("weights", "newest run", "note", str(error), "name the file with --weights")


def _networks() -> Iterator[Finding]:
    from mcltool.core.pretrained import NETWORKS, is_official, is_whole

    for name, network in NETWORKS.items():
        again = f"delete {network.path} and run mcltool weights get {name}"
        if not network.path.is_file():
            yield Finding("network", name, "note", "not there", f"mcltool weights get {name}")
        elif not is_whole(network):
            yield Finding("network", name, "broken", f"{network.path}: damaged, or another network", again)
        elif not is_official(name):
            yield Finding("network", name, "note", f"{network.path}: not made from the published file", again)
        else:
            yield Finding("network", name, "ok", str(network.path))
