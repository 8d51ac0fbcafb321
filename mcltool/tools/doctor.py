"""``mcltool doctor``: what this machine has of what mcltool needs, and what to do about the rest."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import mcltool
from mcltool.core.errors import UsageError
from mcltool.core.threads import cores

if TYPE_CHECKING:
    import torch

LIBRARIES = {
    "torch": "torch", "torchvision": "torchvision", "numpy": "numpy", "pillow": "PIL", "click": "click",
    "albumentations": "albumentations", "opencv-python-headless": "cv2", "h5py": "h5py", "rich": "rich",
    "safetensors": "safetensors", "jinja2": "jinja2", "pyyaml": "yaml",
}  # fmt: skip
"""What the package depends on: names of the distributions and of their modules."""
EXTRAS = {
    "metrics": ("torchmetrics", "torch_fidelity"),
    "hub": ("huggingface_hub",),
    "tensorboard": ("tensorboard",),
    "wandb": ("wandb",),
    "mlflow": ("mlflow",),
    "export": ("onnx", "onnxscript", "onnxruntime"),
}
"""Optional extras of the package, and the modules that tell whether one is there."""
NVIDIA = Path("/proc/driver/nvidia")
"""Is there where the driver is."""
ROOM = 5 << 30
"""Bytes free that a run of the larger presets with its checkpoints may take."""
SHARED = 512 << 20
"""Bytes of shared memory, through which loader processes hand over their batches."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. hint: the way out, where it is not ok.

    status: "ok"; "note", nothing is wrong, but something cannot be done as it is; "broken".
    """

    group: str
    name: str
    status: Literal["ok", "note", "broken"]
    detail: str
    hint: str = ""


def examine(folder: Path) -> Iterator[Finding]:
    """Look at everything; folder: the working folder, where runs/ would be.

    Each part imports what it looks at by itself, so that one that is broken leaves the others to be seen.
    """
    parts: dict[str, Callable[[], Iterator[Finding]]] = {
        "program": _program,
        "device": _devices,
        "processor": _processor,
        "disk": lambda: _disks(folder),
        "plugin": _plugins,
        "weights": lambda: _weights(folder),
        "network": _networks,
    }
    for group, look in parts.items():
        try:
            yield from look()
        except Exception as error:  # whatever a broken installation comes up with
            cause = f"cannot be looked at: {type(error).__name__}: {_line(error)}"
            yield Finding(group, "all", "broken", cause, "put right what is broken above")


def _program() -> Iterator[Finding]:
    yield Finding("program", "mcltool", "ok", f"{mcltool.__version__}, {Path(mcltool.__file__).parent}")
    yield Finding("program", "python", "ok", f"{platform.python_version()}, {sys.executable}")
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # importing it would look for a newer one online
    for name, module in LIBRARIES.items():
        yield _library(name, module)
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if find_spec(module) is None]
        if missing:
            hint = f"pip install 'mcltool[{extra}]'"
            yield Finding("program", f"extra {extra}", "note", f"without {', '.join(missing)}", hint)
        else:
            yield Finding("program", f"extra {extra}", "ok", "installed")


def _library(name: str, module: str) -> Finding:
    """Whether a dependency can be imported: of two that do not fit together, one fails here."""
    try:
        imported = import_module(module)
    except Exception as error:  # a broken binary package fails in any of a dozen ways
        cause = f"{type(error).__name__}: {_line(error)}"
        hint = f"pip install --force-reinstall {name}"
        if "libGL" in cause:
            hint = "pip uninstall opencv-python opencv-python-headless; pip install opencv-python-headless"
        elif module == "torchvision":
            hint = "torch and torchvision must be of one release: pip install --upgrade torch torchvision"
        return Finding("program", name, "broken", cause, hint)
    try:
        found = version(name)
    except PackageNotFoundError:  # of another distribution, such as opencv-python
        found = str(getattr(imported, "__version__", "version unknown"))
    return Finding("program", name, "ok", found)


def _devices() -> Iterator[Finding]:
    import torch

    from mcltool.core.device import pick_precision

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    devices = [torch.device("cuda", number) for number in range(count)]
    if torch.backends.mps.is_available():
        devices.append(torch.device("mps"))
    for device in [*devices, torch.device("cpu")]:
        try:
            torch.ones(8, 8, device=device) @ torch.ones(8, 8, device=device)
            detail = f"{_about(device)}; --precision auto takes {pick_precision('auto', device)}"
            yield Finding("device", str(device), "ok", detail)
        except Exception as error:  # no kernels for it, taken by another process, out of memory
            hint = "a torch built for this GPU: https://pytorch.org/get-started/locally; or --device cpu"
            yield Finding("device", str(device), "broken", _line(error), hint)
    if not count and NVIDIA.exists():
        words = " ".join(_line(warning.message) for warning in said) or "torch finds none"
        if torch.version.cuda is None:
            words = f"torch {torch.__version__} is built without CUDA"
        hint = "a torch built for the driver: https://pytorch.org/get-started/locally"
        yield Finding("device", "cuda", "broken", f"there is an NVIDIA GPU, and {words}", hint)


def _processor() -> Iterator[Finding]:
    from mcltool.tools.processor import remarks

    for remark in remarks():
        yield Finding(
            "processor", remark.name, "note" if remark.meaning else "ok", remark.detail, remark.meaning
        )


def _about(device: torch.device) -> str:
    import torch

    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        major, minor = torch.cuda.get_device_capability(device)
        name = torch.cuda.get_device_name(device)
        bf16 = "native" if torch.cuda.is_bf16_supported(including_emulation=False) else "emulated"
        memory = f"{_size(free)} of {_size(total)} free"
        return f"{name}, {memory}, compute capability {major}.{minor}, fp16, bf16 {bf16}"
    if device.type == "mps":
        return "Apple GPU"
    return f"{cores()} cores"


def _disks(folder: Path) -> Iterator[Finding]:
    from mcltool.core.index import home

    yield _disk("working folder", folder, "runs and results need room; write elsewhere with --run, --out")
    yield _disk("downloads", home(), "MCLTOOL_HOME=DIR puts downloaded networks elsewhere")
    yield _disk("temporary files", Path(tempfile.gettempdir()), "TMPDIR=DIR puts them elsewhere")
    shared = Path("/dev/shm")
    if shared.is_dir():
        free = shutil.disk_usage(shared).free
        about = f"{_size(free)} free, {shared}"
        if free < SHARED:
            hint = "loader processes may die of it: docker run --shm-size 2g, or --workers 0"
            yield Finding("disk", "shared memory", "note", about, hint)
        else:
            yield Finding("disk", "shared memory", "ok", about)


def _disk(name: str, folder: Path, way_out: str) -> Finding:
    """Whether a file can be written to ``folder`` (the nearest that is there), and how much room there is."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        free = shutil.disk_usage(there).free
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"x")
    except OSError as error:
        return Finding("disk", name, "broken", f"{there}: cannot be written ({error.strerror})", way_out)
    if free < ROOM:
        return Finding("disk", name, "note", f"only {_size(free)} free, {folder}", way_out)
    return Finding("disk", name, "ok", f"{_size(free)} free, {folder}")


def _plugins() -> Iterator[Finding]:
    from mcltool.plugin import registry as plugins

    for found in plugins.describe():
        if found.status == "ok":
            detail = f"{found.classes} {found.kind}, of {found.distribution}{_data(found.name)}"
            yield Finding("plugin", found.name, "ok", detail)
        elif found.status == "disabled":
            yield Finding("plugin", found.name, "note", found.cause, f"unset {plugins.DISABLE}")
        else:
            hint = f"{plugins.DISABLE}={found.name} leaves it out; mcltool --debug plugins show {found.name}"
            yield Finding("plugin", found.name, "broken", f"{found.cause} ({found.distribution})", hint)


def _data(name: str) -> str:
    """Where the plugin's data are looked for, if $MCLTOOL_DATA says it."""
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
        about = (
            f"{newest}, for {read_header(newest).plugin}"
            if newest
            else "none here: --weights shapes takes the shipped ones"
        )
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


def _line(error: object) -> str:
    return str(error).partition("\n")[0]


def _size(count: float) -> str:
    return f"{count / 2**30:.1f} GiB"
