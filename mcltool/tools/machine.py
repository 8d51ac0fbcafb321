"""What this machine offers: devices, the processor and what slows it down, disk space. For doctor and demo."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mcltool.core.process import affinity, cores, quota

if TYPE_CHECKING:
    import torch

NVIDIA = Path("/proc/driver/nvidia")
"""Exists where the driver is loaded."""
CROWDED = 1.5
"""Processes per core that want to run, above which work takes markedly longer."""
ROOM = 5 << 30
"""Free bytes that a run of the larger presets with its checkpoints may need."""
SHARED = 512 << 20
"""Bytes of shared memory, through which loader processes pass their batches."""


@dataclass(frozen=True)
class Finding:
    """One thing that was examined. hint: what follows from it, or how to fix it.

    status: "ok"; "note", nothing is wrong, but something is slow or cannot be done as it is; "broken".
    """

    group: str
    name: str
    status: Literal["ok", "note", "broken"]
    detail: str
    hint: str = ""


def note(group: str, name: str, detail: str, hint: str = "") -> Finding:
    """A note, if there is a hint."""
    return Finding(group, name, "note" if hint else "ok", detail, hint)


def slowdowns() -> str:
    """Why work is slow here, in one line; "" if nothing known slows it down."""
    return "; ".join(finding.detail for finding in processor() if finding.hint)


def devices() -> Iterator[Finding]:
    import torch

    from mcltool.core.device import pick_precision

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    found = [torch.device("cuda", number) for number in range(count)]
    if torch.backends.mps.is_available():
        found.append(torch.device("mps"))
    for device in [*found, torch.device("cpu")]:
        try:
            torch.ones(8, 8, device=device) @ torch.ones(8, 8, device=device)
            detail = f"{_about(device)}; --precision auto takes {pick_precision('auto', device)}"
            yield Finding("device", str(device), "ok", detail)
        except Exception as error:  # no kernels for it, used by another process, out of memory
            hint = "a torch built for this GPU: https://pytorch.org/get-started/locally; or --device cpu"
            yield Finding("device", str(device), "broken", first_line(error), hint)
    if not count and NVIDIA.exists():
        cause = " ".join(first_line(warning.message) for warning in said) or "torch finds none"
        if torch.version.cuda is None:
            cause = f"torch {torch.__version__} is built without CUDA"
        hint = "a torch built for the driver: https://pytorch.org/get-started/locally"
        yield Finding("device", "cuda", "broken", f"there is an NVIDIA GPU, but {cause}", hint)


def _about(device: torch.device) -> str:
    import torch

    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        major, minor = torch.cuda.get_device_capability(device)
        bf16 = "native" if torch.cuda.is_bf16_supported(including_emulation=False) else "emulated"
        memory = f"{_size(free)} of {_size(total)} free"
        name = torch.cuda.get_device_name(device)
        return f"{name}, {memory}, compute capability {major}.{minor}, fp16, bf16 {bf16}"
    return "Apple GPU" if device.type == "mps" else f"{cores()} cores"


def processor() -> Iterator[Finding]:
    """Instruction sets, quota, threads and load."""
    import torch

    yield _instructions()
    given, there, threads = quota(), len(affinity()), torch.get_num_threads()
    if given < there:
        hint = f"docker run --cpus {there} gives more; --threads auto takes {cores()}"
        yield note("processor", "quota", f"{given:.3g} of {there} processors' time", hint)
    else:
        yield note("processor", "quota", f"none, {there} processors")
    hint = f"they wait for each other: unset OMP_NUM_THREADS, or --threads {cores()}"
    yield note(
        "processor", "threads", f"{threads} threads on {cores()} cores", hint if threads > cores() else ""
    )
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > CROWDED * cores():
        hint = (
            f"other work shares the cores: expect {load / cores():.0f} times the usual time, or wait for it"
        )
        yield note("processor", "load", f"{load:.1f} processes want {cores()} cores", hint)
    else:
        yield note("processor", "load", f"{load:.1f}")


def _instructions() -> Finding:
    import torch

    from mcltool.core.device import native_formats

    there = torch.backends.cpu.get_cpu_capability()
    if "bf16" in native_formats(torch.device("cpu")):
        amx = "AMX" if torch.cpu._is_amx_tile_supported() else "no AMX (which makes bf16 faster still)"
        return note("processor", "instructions", f"{there}, bf16, {amx}")
    if there in ("DEFAULT", "NO AVX", "AVX2"):
        hint = "products take about twice as long as with AVX-512; --precision auto takes fp32"
        return note("processor", "instructions", f"{there}: no AVX-512, no bf16", hint)
    hint = "--precision auto takes fp32: about half the speed of bf16"
    return note("processor", "instructions", f"{there}, no bf16", hint)


def disks(folder: Path) -> Iterator[Finding]:
    """folder: the working folder."""
    from mcltool.core.index import home

    yield _disk("working folder", folder, "runs and results need room; write elsewhere with --run, --out")
    yield _disk("downloads", home(), "MCLTOOL_HOME=DIR puts downloaded networks elsewhere")
    yield _disk("temporary files", Path(tempfile.gettempdir()), "TMPDIR=DIR puts them elsewhere")
    shared = Path("/dev/shm")
    if shared.is_dir():
        free = shutil.disk_usage(shared).free
        hint = "loader processes may crash: docker run --shm-size 2g, or --workers 0" if free < SHARED else ""
        yield note("disk", "shared memory", f"{_size(free)} free, {shared}", hint)


def _disk(name: str, folder: Path, way_out: str) -> Finding:
    """Whether a file can be written to ``folder`` (or to the nearest parent that exists), and the free space."""
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


def first_line(error: object) -> str:
    return str(error).partition("\n")[0]


def _size(count: float) -> str:
    return f"{count / 2**30:.1f} GiB"
