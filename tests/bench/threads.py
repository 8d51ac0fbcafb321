"""How OpenMP's threads wait, alone and beside busy processes: fit, translate-dir and evaluate in turns.

    PYTHONPATH=.:plugins python tests/bench/threads.py [--busy 0 4] [--turns N] [--jobs fit translate evaluate]

Each row is a whole command in a process of its own. The rows take turns, so that what else runs at the time is shared
out among them. Needs mcltool[metrics]. Writes tests/bench/results/threads.json.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "results" / "threads.json"
SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
ROWS = {
    "libgomp's own": {"GOMP_SPINCOUNT": "300000"},
    "OMP_NUM_THREADS=1": {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "300000"},
    "OMP_WAIT_POLICY=passive": {"OMP_WAIT_POLICY": "passive"},
    "default": {},
}
BUSY = "import os; parent = os.getppid()\nwhile os.getppid() == parent: sum(range(10**5))"
"""Keeps a core busy, and ends with whoever started it, however that ends."""
STEPS, CONDITIONS = 20, 96
JOBS = {
    "fit": f"fit --plugin shapes, {STEPS} steps",
    "translate": f"translate-dir, {CONDITIONS} images",
    "evaluate": f"evaluate, {CONDITIONS} images",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--busy", type=int, nargs="*", default=[0, 4], help="processes that compute all the time"
    )
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--jobs", nargs="*", default=["fit", "translate", "evaluate"])
    parser.add_argument("--rows", nargs="*", default=[*ROWS])
    parser.add_argument("--spin", type=int, nargs="*", default=[], help="more rows: GOMP_SPINCOUNT")
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    rows = {name: ROWS[name] for name in args.rows}
    rows |= {f"GOMP_SPINCOUNT={n}": {"GOMP_SPINCOUNT": str(n)} for n in args.spin}
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        for busy in args.busy:
            for job in args.jobs:
                found += compare(job, rows, busy, args.turns, Path(folder))
                args.out.write_text(json.dumps({"cores": os.cpu_count(), "rows": found}, indent=1) + "\n")
    write_page(found)


def write_page(found: list[dict[str, Any]]) -> None:
    """The table of docs/benchmarks.md between its markers."""
    from speed_tables import PAGE, table

    best: dict[tuple[str, int], float] = {}
    for row in found:
        case = (row["job"], row["busy"])
        best[case] = max(best.get(case, 0), row["images_per_second"])
    cells = [
        (
            JOBS[row["job"]], row["busy"], row["row"], f"{row['images_per_second']:.2f}", f"{row['processor']:.0f}",
            f"{row['wall']:.0f}", f"{row['images_per_second'] / best[row['job'], row['busy']]:.0%}",
        )
        for row in found
    ]  # fmt: skip
    headings = ("", "busy processes", "setting", "images/s", "processor seconds", "seconds", "of the best")
    head, _, rest = PAGE.read_text().partition("<!-- threads -->\n")
    _, _, tail = rest.partition("<!-- end -->")
    PAGE.write_text(f"{head}<!-- threads -->\n{table(headings, cells)}<!-- end -->{tail}")


def prepare(folder: Path) -> None:
    """Conditions, exemplars and right answers of shapes."""
    from mcltool.evaluate.pairs import held_out_pairs
    from mcltool.plugin import registry as plugins
    from mcltool.tools.demo import write_pairs

    plugin = plugins.load("shapes")
    pairs = held_out_pairs(plugin, plugin.index(None, "val"), CONDITIONS, 64)
    write_pairs(plugin, pairs, folder, 64)


def compare(
    job: str, rows: dict[str, dict[str, str]], busy: int, turns: int, folder: Path
) -> list[dict[str, Any]]:
    others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(busy)]
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in rows}
    try:
        for turn in range(turns):
            for name in [*rows][:: -1 if turn % 2 else 1]:
                taken[name].append(measure(job, rows[name], folder))
                print(f"{job}, {busy} busy, {name}: {taken[name][-1]}", flush=True)
    finally:
        for other in others:
            other.kill()
            other.wait()
    means = {
        name: {key: statistics.median(t[key] for t in times) for key in times[0]}
        for name, times in taken.items()
    }
    best = max(mean["images_per_second"] for mean in means.values())
    for name, mean in means.items():
        print(f"{job}, {busy} busy, {name}: {mean['images_per_second'] / best:.0%} of the best")
    return [
        {"job": job, "busy": busy, "row": name, **means[name], "turns": taken[name]} for name in rows
    ]  # fmt: skip


def measure(job: str, setting: dict[str, str], folder: Path) -> dict[str, float]:
    """Images a second of the work itself, processor seconds of all processes, and seconds from start to end."""
    with tempfile.TemporaryDirectory(dir=folder) as out:
        command = {
            "fit": ["fit", "--plugin", "shapes", "--max-steps", str(STEPS), "--run", f"{out}/run"],
            "translate": ["translate-dir", str(folder / "conditions"), str(folder / "exemplars"), f"{out}/o",
                          "--weights", "shapes", "--json"],
            "evaluate": ["evaluate", str(folder / "exemplars"), "--real", str(folder / "truth"), "--to", f"{out}/to",
                         "--metrics", "psnr,ssim,swd,style", "--exemplars", str(folder / "exemplars"),
                         "--perceptual", "random"],
        }[job]  # fmt: skip
        clean = {name: value for name, value in os.environ.items() if name not in SETTINGS}
        before, start = os.times(), time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "mcltool", *command],
            env=clean | setting,
            capture_output=True,
            text=True,
            cwd=out,
        )
        wall, after = time.perf_counter() - start, os.times()
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        rate = CONDITIONS / wall
        if job == "fit":
            rate = float(re.findall(r"([0-9.]+) images/s", done.stdout + done.stderr)[-1])
        return {"images_per_second": round(rate, 2), "processor": round(spent, 1), "wall": round(wall, 1)}


if __name__ == "__main__":
    main()
