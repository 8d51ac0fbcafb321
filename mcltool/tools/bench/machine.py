"""What a machine can do: its matrix rate and its copy bandwidth, measured."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from mcltool.core.device import is_out_of_memory

FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
COPIED = tuple(2**n for n in (20, 22, 24, 26, 28))
"""Bytes of the tensors that are copied: the smaller ones stay in a processor's caches."""


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
    """name: of the processor or GPU. threads: that torch computes with on a CPU.

    matrix: operations a second of a product of two large matrices, by number format; convolution: of a 3 x 3
    convolution. copy: bytes a second, read and written, by number format and by the size of what is copied.
    """

    name: str
    threads: int
    matrix: dict[str, float]
    convolution: dict[str, float]
    copy: dict[str, dict[int, float]]

    def rate(self, form: str) -> float:
        """The most operations a second seen in a number format: by a product or by a convolution."""
        return max(self.matrix[form], self.convolution[form])

    def bandwidth(self, size: int, form: str) -> float:
        """Bytes a second of a copy that moves ``size`` bytes (read and written)."""
        rates = self.copy[form]
        return rates[next((copied for copied in rates if 2 * copied >= size), max(rates))]

    def floor(self, operations: int, size: int, form: str) -> float:
        """Seconds that an operation cannot do without: to compute, or to move its ``size`` bytes."""
        seconds = operations / self.rate(form)
        return max(seconds, size / self.bandwidth(size, form)) if size else seconds


def measure_machine(device: torch.device) -> Machine:
    """Some 5 s on a CPU. A format that the device does not compute in is left out."""
    found = Machine(_name(device), torch.get_num_threads(), {}, {}, {})
    for form, dtype in FORMATS.items():
        if form == "fp16" and device.type == "cpu":
            continue
        try:
            found.matrix[form] = max(_matrix_rate(side, device, dtype) for side in _sides(device))
            found.convolution[form] = _convolution_rate(device, dtype)
            found.copy[form] = {size: _copy_rate(size, device, dtype) for size in COPIED}
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            for rates in (found.matrix, found.convolution, found.copy):
                rates.pop(form, None)
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


def _sides(device: torch.device) -> tuple[int, ...]:
    return (1024, 2048) if device.type == "cpu" else (4096, 8192)


def _matrix_rate(side: int, device: torch.device, dtype: torch.dtype) -> float:
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return 2 * side**3 / _typical(lambda: a @ b, device)


def _convolution_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Of 256 channels on 64 x 64 positions, of which a GPU gets 32 images at once."""
    batch, channels, side = (1 if device.type == "cpu" else 32), 256, 64
    x = torch.randn(batch, channels, side, side, device=device).to(dtype, memory_format=torch.channels_last)
    weight = torch.randn(channels, channels, 3, 3, device=device)
    weight = weight.to(dtype, memory_format=torch.channels_last)
    with torch.inference_mode():
        seconds = _typical(lambda: F.conv2d(x, weight, padding=1), device)
    return 2 * batch * 9 * channels**2 * side**2 / seconds


def _copy_rate(size: int, device: torch.device, dtype: torch.dtype) -> float:
    source = torch.ones(size // dtype.itemsize, device=device, dtype=dtype)
    target = torch.empty_like(source)
    return 2 * size / _typical(lambda: target.copy_(source), device)


def _typical(run: Callable[[], object], device: torch.device) -> float:
    """The median of some runs behind two that warm up."""
    return statistics.median(repeated(run, device, 0.2, 6)[2:])


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
