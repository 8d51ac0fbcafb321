"""What a machine can do, measured: its matrix rates; and the time and memory that a measurement takes."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from mcltool.core.device import memory_used, native_formats
from mcltool.core.process import release_freed_memory

FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Budget:
    """Seconds for a number of measurements: what is ``left`` of them, and whether more would ``fit``."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return max(0.0, self.end - time.monotonic())

    def fits(self, seconds: float) -> bool:
        return seconds <= self.left


@dataclass(frozen=True)
class Times:
    """Seconds of repeated runs."""

    median: float
    least: float
    most: float
    runs: int

    @classmethod
    def of(cls, seconds: list[float]) -> Times:
        return cls(statistics.median(seconds), min(seconds), max(seconds), len(seconds))


@dataclass(frozen=True)
class Machine:
    """name: of the processor or GPU. instructions: what torch's kernels on it use, "" for a GPU. threads: that compute
    on a CPU. matrix, convolution: operations a second of a product of large matrices and of a 3 x 3 convolution, by
    the number formats that the hardware has."""

    name: str
    instructions: str
    threads: int
    matrix: dict[str, float]
    convolution: dict[str, float]

    def rate(self, form: str) -> float:
        """The most operations a second seen in a number format: by a product or by a convolution."""
        return max(self.matrix[form], self.convolution[form])


def measure_machine(device: torch.device, budget: Budget | None = None) -> Machine:
    """Some 3 s on a CPU, or as many as a tenth of ``budget`` for each figure."""
    budget = budget or Budget(60)
    cpu = device.type == "cpu"
    instructions = torch.backends.cpu.get_cpu_capability() if cpu else ""
    found = Machine(_name(device), instructions, torch.get_num_threads(), {}, {})
    for form in native_formats(device):
        dtype, seconds = FORMATS[form], min(0.4, budget.left / 10)
        try:
            found.matrix[form] = _matrix_rate(1024 if cpu else 8192, device, dtype, seconds)
            found.convolution[form] = _convolution_rate(device, dtype, seconds)
        except (TypeError, NotImplementedError):  # raised by torch: not all of Apple's GPUs have bf16
            found.matrix.pop(form, None)
    return found


def repeated(
    run: Callable[[], object], device: torch.device, seconds: float, least: int, most: int = 50
) -> list[float]:
    """Seconds of each run of ``run``, which is repeated for about ``seconds``."""
    times: list[float] = []
    while len(times) < least or (len(times) < most and sum(times) < seconds):
        synchronise(device)
        start = time.perf_counter()
        run()
        synchronise(device)
        times.append(time.perf_counter() - start)
    return times


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def typical(run: Callable[[], object], device: torch.device, seconds: float) -> float:
    """The median seconds of some runs behind one that warms up."""
    times = repeated(run, device, seconds, 2)
    return statistics.median(times[1:])


def reset_peak(device: torch.device) -> int:
    """Forget what was taken before, so that ``peak`` is of what follows; returns the bytes taken now.

    Where the system has no way to forget (macOS), ``peak`` is of the whole process.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    release_freed_memory()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the process's high-water mark
    return peak(device)


def peak(device: torch.device) -> int:
    """Most bytes since ``reset_peak``: of tensors on a GPU, else of this process with all its libraries."""
    high_water = _kilobytes(Path("/proc/self/status"), "VmHWM")
    if device.type == "cpu" and high_water is not None:
        return high_water
    return memory_used(device)


def _matrix_rate(side: int, device: torch.device, dtype: torch.dtype, seconds: float) -> float:
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return 2 * side**3 / typical(lambda: a @ b, device, seconds)


def _convolution_rate(device: torch.device, dtype: torch.dtype, seconds: float) -> float:
    """Of 256 channels on 64 x 64 positions, of which a GPU gets 32 images at once."""
    batch, channels, side = (1 if device.type == "cpu" else 32), 256, 64
    x = torch.randn(batch, channels, side, side, device=device).to(dtype, memory_format=torch.channels_last)
    weight = torch.randn(channels, channels, 3, 3, device=device)
    weight = weight.to(dtype, memory_format=torch.channels_last)
    with torch.inference_mode():
        took = typical(lambda: F.conv2d(x, weight, padding=1), device, seconds)
    return 2 * batch * 9 * channels**2 * side**2 / took


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _kilobytes(path: Path, name: str) -> int | None:
    """Bytes behind ``name`` in one of Linux's lists of kilobytes."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), None)
