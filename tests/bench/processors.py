"""One model on two processors, part by part: this one, and the same one made to do without AVX-512 and bf16.

    python tests/bench/processors.py [--threads N] [--seconds S] [--figures base-translate hd-translate base-train]

The second is an imitation: oneDNN, MKL and torch are told to use AVX2 alone. Caches, clock and memory stay as they are.
Each processor is measured in one process, one after the other. Writes tests/bench/results/processors.json, and the
table of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "processors.json"
IMITATION = {
    "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}  # fmt: skip
FIGURES = {
    "base-translate": ("base", 256, "translate"),
    "hd-translate": ("hd", 512, "translate"),
    "base-train": ("base", 256, "train"),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--figures", nargs="+", default=list(FIGURES), choices=FIGURES)
    parser.add_argument("--only", choices=["native", "imitation"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(options)))
        return
    found = {}
    for name, environment in (("native", {}), ("imitation", IMITATION)):
        command = [sys.executable, __file__, *sys.argv[1:], "--only", name]
        done = subprocess.run(
            command, env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=True
        )
        found[name] = json.loads(done.stdout.splitlines()[-1])
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    write_page(found)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    from mcltool.core.process import keep_freed_memory, settle_threads, use_threads

    keep_freed_memory()  # as every command of mcltool does
    settle_threads()
    if options.threads:
        use_threads(options.threads)

    import torch
    from figures import training, translation
    from parts import measure_roof

    from mcltool.tools.bench.run import the_subject

    roof = measure_roof(torch.device("cpu"))
    found: dict[str, Any] = {
        "machine": asdict(roof.machine) | {"copy": roof.copy},
        "torch": str(torch.__version__),
    }
    for name in options.figures:
        preset, side, kind = FIGURES[name]
        subject = the_subject(preset, (side, side), "cpu", "auto", 1)
        work = training if kind == "train" else translation
        found[name] = work(subject, roof, options.seconds)
        print(f"{name}: done", file=sys.stderr, flush=True)
    return found


def write_page(found: dict[str, dict[str, Any]]) -> None:
    """The table of docs/benchmarks.md between its markers."""
    from speed_tables import PAGE, table

    head, _, rest = PAGE.read_text().partition("<!-- processors -->\n")
    _, _, tail = rest.partition("<!-- end -->")
    names = ["this processor", "the same, AVX2 alone (imitated)"]
    PAGE.write_text(f"{head}<!-- processors -->\n{table(['', *names], list(rows(found)))}<!-- end -->{tail}")


def rows(found: dict[str, dict[str, Any]]) -> Iterator[list[str]]:
    sides = [found["native"], found["imitation"]]
    machines = [side["machine"] for side in sides]
    yield ["", *(f"{m['name']}, {m['instructions']}, {m['threads']} threads" for m in machines)]
    for form in ("fp32", "bf16"):
        for kind, title in (("matrix", "product"), ("convolution", "convolution")):
            rates = [
                f"{m[kind][form] / 1e9:.0f}" if form in m[kind] else "not in the hardware" for m in machines
            ]
            yield [f"{title} in {form}, GFLOP/s", *rates]
    for name, (preset, size, kind) in FIGURES.items():
        figures = [side[name] for side in sides if name in side]
        if len(figures) < 2:
            continue
        title = f"`{preset}` at {size}, {'a training step' if kind == 'train' else 'an image'}"
        yield [f"**{title}**", *(spread(figure) for figure in figures)]
        for part in [part["name"] for part in figures[0]["parts"]]:
            cells = (of_rate(figure, part, m) for figure, m in zip(figures, machines, strict=True))
            yield [f"{part}: share of the time, of the matrix rate", *cells]
        yield ["all", *(of_rate(figure, None, m) for figure, m in zip(figures, machines, strict=True))]


def spread(figure: dict[str, Any]) -> str:
    times = figure["step"] if "step" in figure else figure["different"]
    return f"{times['median']:.2f} s ({times['least']:.2f}-{times['most']:.2f}), {figure['precision']}"


def of_rate(figure: dict[str, Any], name: str | None, machine: dict[str, Any]) -> str:
    """A part's share of the seconds, and of the higher of the two rates; of all parts for None."""
    form = figure["precision"]
    parts = [part for part in figure["parts"] if name in (None, part["name"])]
    seconds, operations = (sum(part[key] for part in parts) for key in ("seconds", "operations"))
    total = sum(part["seconds"] for part in figure["parts"])
    rate = max(machine["matrix"][form], machine["convolution"][form])
    return f"{seconds / total:.0%}, {operations / seconds / rate:.0%}"


if __name__ == "__main__":
    main()
