"""fit and translate on a GPU: images a second, memory, shares of the measured rates, and the ten longest kernels.

    python tests/bench/gpu.py [--preset base] [--size 256] [--batches 8 16 32] [--seconds 5] [--json FILE]

Each with and without torch.compile, in bf16. Needs no data: weights and inputs are random. Not run yet on any GPU;
``--device cpu --preset tiny --size 64 --batches 2`` tries it out, in some minutes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from parts import OTHER, Counter, Parts, Roof, measure_roof
from torch.profiler import ProfilerActivity, profile

from mcltool.core.files import write_text
from mcltool.core.process import keep_freed_memory
from mcltool.data.batch import random_batch
from mcltool.model.vgg import random_vgg
from mcltool.tools.bench.machine import Times, peak, repeated, reset_peak
from mcltool.tools.bench.run import the_subject
from mcltool.tools.bench.run import translating as prepared
from mcltool.train.trainer import Trainer

KERNELS = 10


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    keep_freed_memory()  # as every command of mcltool does
    device = torch.device(options.device)
    roof = measure_roof(device)
    rows = []
    for work in (translating, training):
        for batch in options.batches:
            for compiled in (False, True):
                torch.compiler.reset()
                run = work(options, batch, compiled)
                rows.append(
                    {"work": work.__name__, "batch": batch, "compile": compiled}
                    | measured(run, device, batch, roof, options)
                )
                show(rows[-1])
    if options.json:
        found = {"machine": vars(roof.machine), "preset": options.preset, "size": options.size, "rows": rows}
        write_text(options.json, json.dumps(found, indent=1))


def translating(options: argparse.Namespace, batch: int, compiled: bool) -> Callable[[], object]:
    """A function that translates a batch, exemplars all different."""
    size = (options.size, options.size)
    subject = the_subject(options.preset, size, options.device, options.precision, batch)
    translator, conditions, photos = prepared(subject)
    if compiled:
        model = translator.model
        for module in (model.encode_condition, model.encode_photo, model.generator):
            module.compile()
    return lambda: translator.translate(conditions, translator.encode(photos))()


def training(options: argparse.Namespace, batch: int, compiled: bool) -> Callable[[], object]:
    """A function that takes a step of ``fit``."""
    size = (options.size, options.size)
    subject = the_subject(options.preset, size, options.device, options.precision, batch)
    config, spec = subject.config.changed({"train.compile": compiled}), subject.plugin.spec
    trainer = Trainer(config, spec, subject.device, subject.precision, 10**6, random_vgg())
    data = random_batch(batch, size, spec).to(subject.device)
    return lambda: trainer.step(data)


def measured(
    run: Callable[[], object], device: torch.device, batch: int, roof: Roof, options: argparse.Namespace
) -> dict[str, Any]:
    """Images a second, memory, shares of the machine's rates and the longest kernels of ``run``."""
    repeated(run, device, 0, 3)  # compiles, and picks algorithms
    reset_peak(device)
    times = Times.of(repeated(run, device, options.seconds, 5))
    memory = peak(device)
    kernels = longest_kernels(run, device)
    torch.compiler.set_stance("force_eager")  # a compiled function's operations are not seen
    with Counter(Parts(device), roof) as counter:
        run()
    torch.compiler.set_stance("default")
    count = counter.found[OTHER]
    return {
        "images_per_second": batch / times.median,
        "spread": (times.most - times.least) / times.median,
        "memory_gib": memory / 2**30,
        "tflop": count.operations / 1e12,
        "of_matrix_rate": count.operations / times.median / roof.machine.rate(options.precision),
        "of_copy_bandwidth": count.bytes / times.median / min(roof.copy[options.precision].values()),
        "floor_seconds": count.floor,
        "seconds": times.median,
        "kernels": kernels,
    }


def longest_kernels(run: Callable[[], object], device: torch.device) -> list[dict[str, Any]]:
    """Name, calls, milliseconds and share of the ``KERNELS`` kernels that take longest in one run."""
    cuda = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities) as profiler:
        run()
        if cuda:
            torch.cuda.synchronize(device)
    events = profiler.key_averages()
    taken = {e.key: e.self_device_time_total if cuda else e.self_cpu_time_total for e in events}
    calls = {e.key: e.count for e in events}
    total = sum(taken.values())
    longest = sorted(taken, key=lambda name: -taken[name])[:KERNELS]
    return [
        {"kernel": name, "calls": calls[name], "ms": taken[name] / 1000, "share": taken[name] / total}
        for name in longest
    ]


def show(row: dict[str, Any]) -> None:
    numbers = {key: value for key, value in row.items() if key != "kernels"}
    print(", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in numbers.items()))
    for kernel in row["kernels"]:
        print(
            f"    {kernel['share']:6.1%} {kernel['ms']:9.2f} ms {kernel['calls']:5} x {kernel['kernel'][:90]}"
        )
    print(flush=True)


if __name__ == "__main__":
    main()
