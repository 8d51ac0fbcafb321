"""Training on a GPU: images a second and memory by batch size, with and without torch.compile, against the floor.

    python tests/bench/train_gpu.py [--preset paper] [--size 256] [--batches 8 16 32] [--steps 20] [--json FILE]

The floor of a step is its counted operations (forward and backward, torch's own counter) at the matrix rate that this
device reaches on one large bf16 product, measured in the same run. Needs no data: batches are random.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from mcltool.core.config import resolve
from mcltool.core.files import write_text
from mcltool.data.batch import random_batch
from mcltool.model.vgg import random_vgg
from mcltool.plugin import registry as plugins
from mcltool.train.trainer import Trainer


def matrix_rate(device: torch.device, side: int = 8192, repeats: int = 20) -> float:
    """Operations a second of a bf16 product of ``side`` x ``side`` matrices: the median of ``repeats``."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    times = []
    for _ in range(repeats + 3):
        _wait(device)
        start = time.perf_counter()
        a @ b
        _wait(device)
        times.append(time.perf_counter() - start)
    return 2 * side**3 / statistics.median(times[3:])


def measure(
    options: argparse.Namespace, device: torch.device, batch: int, compiled: bool, rate: float
) -> dict[str, Any]:
    plugin = plugins.load("ade20k")
    settings = {
        "train.batch_size": batch, "train.max_steps": 1000, "train.compile": compiled,
        "data.size": (options.size, options.size), "train.generator_start": 0.0, "train.gan_start": 0.0,
    }  # fmt: skip
    config = resolve("ade20k", options.preset, plugin.defaults, settings)
    trainer = Trainer(config, plugin.spec, device, "bf16", 1000, random_vgg())
    data = random_batch(batch, config.data.size, plugin.spec).to(device)
    with FlopCounterMode(display=False) as counter:
        trainer.step(data)
    for _ in range(3):
        trainer.step(data)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    times = []
    for _ in range(options.steps):
        _wait(device)
        start = time.perf_counter()
        trainer.step(data)
        _wait(device)
        times.append(time.perf_counter() - start)
    seconds = statistics.median(times)
    memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    return {
        "batch": batch,
        "compile": compiled,
        "images_per_second": batch / seconds,
        "spread": (max(times) - min(times)) / seconds,
        "memory_gib": memory / 2**30,
        "tflop": counter.get_total_flops() / 1e12,
        "share_of_floor": counter.get_total_flops() / rate / seconds,
    }


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = torch.device(options.device)
    rate = matrix_rate(device, 8192 if device.type == "cuda" else 1024)
    print(f"bf16 matrix rate {rate / 1e12:.2f} TFLOP/s")
    columns = ("batch", "compile", "images/s", "spread", "GiB", "TFLOP a step", "share of the matrix rate")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    rows = []
    for batch in options.batches:
        for compiled in (False, True):
            row = measure(options, device, batch, compiled, rate)
            rows.append(row)
            cells = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()]
            print(f"| {' | '.join(cells)} |", flush=True)
    if options.json:
        found = {"matrix_rate": rate, "preset": options.preset, "size": options.size, "rows": rows}
        write_text(options.json, json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
