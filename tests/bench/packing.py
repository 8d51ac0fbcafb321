"""A pack of shapes: how large, how long, and the memory of the process and its workers while it is made.

    OMP_NUM_THREADS=1 PYTHONPATH=.:plugins python tests/bench/packing.py [--count N] [--size S] [--workers W]

Memory is anonymous memory (what cannot be dropped) of all processes together. It is flat where the second half
of the time needs no more than the first.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import threading
import time
from pathlib import Path

from mcltool_shapes import ShapesPlugin

from mcltool.data.pack import check_pack
from mcltool.data.packing import PackOptions, pack

RESULTS = Path(__file__).parent / "results"


def watch_memory(stop: threading.Event, seen: list[tuple[float, float]]) -> None:
    """(time, MiB) a few times a second."""

    def anonymous(pid: int | str) -> float:
        return int(Path(f"/proc/{pid}/status").read_text().partition("RssAnon:")[2].split()[0]) / 1024

    while not stop.wait(0.25):
        total = anonymous("self")
        for children in Path("/proc/self/task").glob("*/children"):
            with contextlib.suppress(OSError, IndexError):  # one that just ends
                total += sum(anonymous(pid) for pid in children.read_text().split())
        seen.append((time.monotonic(), total))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=286)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--compression", default="none")
    parser.add_argument("--out", type=Path, default=RESULTS / "packing.json")
    options = parser.parse_args()
    plugin = ShapesPlugin()
    samples = {"train": plugin.index(None, "train")[: options.count]}
    stop, seen = threading.Event(), []
    threading.Thread(target=watch_memory, args=(stop, seen), daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "shapes.h5"
        start, read = time.monotonic(), None
        chosen = PackOptions((options.size, options.size), options.compression, options.workers)
        for step in pack(plugin, samples, out, chosen):
            if step.stage == "assembled" and read is None:
                read = time.monotonic()
        end = time.monotonic()
        stop.set()
        size = out.stat().st_size
        checked = time.monotonic()
        assert not any(problem for _, problem in check_pack(out))
        checking = time.monotonic() - checked
    middle = (start + read) / 2
    result = {
        "samples": options.count,
        "pixels": options.size,
        "compression": options.compression,
        "workers": options.workers,
        "gigabytes": round(size / 1e9, 3),
        "bytes_a_sample_over_its_arrays": round(size / options.count - 4 * options.size**2, 1),
        "read_s": round(read - start, 1),
        "assemble_s": round(end - read, 1),
        "check_s": round(checking, 1),
        "peak_mib_first_half": round(max(m for t, m in seen if t < middle)),
        "peak_mib_second_half": round(max(m for t, m in seen if middle <= t < read)),
        "peak_mib_assembling": round(max((m for t, m in seen if t >= read), default=0)),
    }
    print(json.dumps(result, indent=2))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
