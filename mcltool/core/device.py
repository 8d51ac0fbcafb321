"""Where and how precisely to compute: the device, the number format, and the autocast that goes with them."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

from mcltool.core.errors import McltoolError, UsageError

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

Precision = Literal["bf16", "fp16", "fp32"]
PRECISIONS: tuple[Precision, ...] = ("bf16", "fp16", "fp32")

Network = TypeVar("Network", bound=torch.nn.Module)

SMALL = 1e9
"""Operations of a convolution whose bf16 gradients two threads compute no faster than one."""

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: str | None = None) -> torch.device:
    """The device called ``name`` ("cuda", "cuda:1", "mps", "cpu"), or the fastest there is for None.

    Raises UsageError for a name that is none or a device that this machine does not have.
    """
    if name is None:
        return torch.device(_available()[0])
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"--device {name}: no such device; there are {', '.join(_available())}") from None
    absent = device.type not in _available()
    if absent or (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        raise UsageError(f"--device {name}: not in this machine; there are {', '.join(_available())}")
    return device


def pick_precision(name: str, device: torch.device) -> Precision:
    """Resolve "auto": bf16 where the hardware has it (on a CPU: where it is faster), fp16 on CUDA, else fp32.

    name: "auto", "bf16", "fp16" or "fp32". Raises UsageError for another name, and for fp16 on a CPU.
    """
    if name == "auto":
        return _best(device)
    if name == "fp16" and device.type == "cpu":
        raise UsageError("--precision fp16 needs a GPU; on a CPU take bf16 or fp32")
    for known in PRECISIONS:
        if name == known:
            if known not in native_formats(device):
                log.warning(
                    "--precision %s: emulated here, many times slower than fp32 (--precision auto)", name
                )
            return known
    raise UsageError(f"--precision {name}: must be one of auto, {', '.join(PRECISIONS)}")


def native_formats(device: torch.device) -> tuple[Precision, ...]:
    """Number formats that ``device`` computes products in. Others are emulated: bf16 on a CPU with AVX2 alone runs
    a hundred times slower than fp32."""
    if device.type == "cuda":
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return PRECISIONS if bf16 else ("fp16", "fp32")
    if device.type == "cpu":
        bf16 = torch.cpu._is_avx512_bf16_supported() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return ("bf16", "fp32") if bf16 else ("fp32",)
    return PRECISIONS


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """The context in which a model's forward pass runs. fp32 is plain: nothing is cast."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=_DTYPES[precision])


def frozen(module: Network, device: torch.device, precision: Precision) -> Network:
    """``module`` on ``device``, for use without training: in eval mode, its convolutions' weights in the format that
    they compute in under ``autocast``, so that no pass converts them again, and laid out as channels_last."""
    module.eval().requires_grad_(False).to(device)
    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.to(_DTYPES.get(precision, torch.float32)).to(memory_format=torch.channels_last)
    return module


def spare_waiting(network: torch.nn.Module, device: torch.device, precision: Precision) -> None:
    """Compute the gradients of ``network``'s small convolutions in bf16 on a CPU with one thread.

    oneDNN's threads wait for one another several times an image and spin meanwhile, whatever OpenMP's wait policy:
    beside two busy processes a step of ``tiny`` took six times its processor time (docs/benchmarks.md).
    """

    def watch(layer: Any, _: object, output: torch.Tensor) -> None:
        node = output.grad_fn
        if node is not None and 2 * output.numel() * layer.weight[0].numel() < SMALL:
            threads = torch.get_num_threads()
            node.register_prehook(lambda _: torch.set_num_threads(1))
            node.register_hook(lambda *_: torch.set_num_threads(threads))

    if device.type == "cpu" and precision == "bf16":
        for layer in network.modules():
            if isinstance(layer, torch.nn.Conv2d):
                layer.register_forward_hook(watch)


def memory_used(device: torch.device) -> int:
    """The most memory in use so far, in bytes: by tensors on a GPU, by this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    if resource is None:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free on ``device``; None where that is unknown."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    free = next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)
    group = Path("/sys/fs/cgroup")  # a container's own limit
    try:
        left = int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
    except (OSError, ValueError):
        return free
    return left if free is None else min(left, free)


@contextmanager
def explaining_memory(what: str, way_out: str) -> Iterator[None]:
    """Turn the device's "out of memory" into one line: ``what`` was computed, and the ``way_out``."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise McltoolError(f"out of memory {what}: {way_out}") from error


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error means that the device is out of memory; for a CPU torch says so in words only."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def _available() -> list[str]:
    """Device types of this machine, the fastest first."""
    found = ["cuda"] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, "cpu"]


def _best(device: torch.device) -> Precision:
    if device.type == "cuda":
        return "bf16" if "bf16" in native_formats(device) else "fp16"
    if device.type == "cpu" and "bf16" in native_formats(device):
        return "bf16" if _bf16_is_faster(device) else "fp32"
    return "fp32"


def _bf16_is_faster(device: torch.device) -> bool:
    """Time one convolution in both formats, some 30 ms. A processor's flags do not tell: of two with AVX512-BF16, one
    ran bf16 convolutions 2.3 times as fast as fp32, another half as fast.

    Both take turns, in processor time of one thread, so that other work on the machine does not decide the precision.
    """
    seconds: dict[torch.dtype, list[float]] = {torch.bfloat16: [], torch.float32: []}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode(), torch.random.fork_rng(devices=[]):
            for dtype in 6 * list(seconds):
                layer, image = torch.nn.Conv2d(64, 64, 3, padding=1), torch.zeros(4, 64, 32, 32)
                layer.to(device, dtype).to(memory_format=torch.channels_last)
                image = image.to(device, dtype).to(memory_format=torch.channels_last)
                start = time.thread_time()
                layer(image)
                seconds[dtype].append(time.thread_time() - start)
    finally:
        torch.set_num_threads(threads)
    return min(seconds[torch.bfloat16][1:]) < 0.9 * min(seconds[torch.float32][1:])
