"""Speed and memory of translate-dir: against the bare model, with many inputs, and of planning a million.

    python tests/bench/translate.py --rate            images a second against the bare model on the same batches
    python tests/bench/translate.py --memory          peak memory at 1,000 and 20,000 inputs
    python tests/bench/translate.py --plan 1000000    planning and resume check, time and memory

Each prints a table and keeps its numbers in tests/bench/results/translate.json. Random weights: what the
pictures show does not matter here. --rate alternates the job and the bare model in one process and gives the
median of their ratios, because these machines are noisy.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

RESULTS = Path(__file__).parent / "results" / "translate.json"
MIB = 2**20


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB


def keep(name: str, found: Any) -> None:
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(known | {name: found}, indent=2) + "\n")


def make_weights(path: Path, preset: str, small: bool = False) -> Path:
    import torch
    from mcltool_shapes import ShapesPlugin

    from mcltool.core.config import resolve
    from mcltool.core.weights import WeightsHeader, save_weights
    from mcltool.model.build import make_network

    torch.manual_seed(0)
    settings = {
        "model.encoder_widths": (8, 8, 8), "model.generator_widths": (8, 8, 8), "model.feature_channels": 8,
        "model.scm_channels": 4, "data.size": (32, 32),
    }  # fmt: skip
    config, spec = resolve("shapes", preset, settings if small else {}), ShapesPlugin().spec
    network = make_network(config.model, spec.channels, config.data.size)
    save_weights(path, network.state_dict(), WeightsHeader(config, spec, "1", step=1))
    return path


def make_inputs(folder: Path, count: int, side: int, exemplars: int) -> None:
    """Label maps and photos of the shapes data set, ``side`` pixels."""
    from mcltool_shapes import ShapesPlugin

    plugin = ShapesPlugin()
    samples = plugin.index(None, "train")
    for kind, number in (("masks", count), ("photos", exemplars)):
        (folder / kind).mkdir(parents=True)
        for n in range(number):
            if kind == "masks":
                Image.fromarray(plugin.condition(samples[n], side).raster).save(
                    folder / kind / f"{n:06d}.png"
                )
            else:
                Image.fromarray(plugin.photo(samples[n], side)).save(
                    folder / kind / f"{n:06d}.jpg", quality=95
                )


# --- rate ---


def rate(preset: str, count: int, pairing: str, repeats: int, workers: int | None) -> dict[str, Any]:
    """Images a second of the job, of the bare model, and the median of their ratios."""
    import torch

    from mcltool.core.config import resolve
    from mcltool.core.device import autocast
    from mcltool.core.pixels import to_unit
    from mcltool.core.process import keep_freed_memory
    from mcltool.translate.job import Job
    from mcltool.translate.reader import Preparer
    from mcltool.translate.run import Run
    from mcltool.translate.settings import Options, Settings

    side = resolve("shapes", preset).data.size[0]
    keep_freed_memory()  # as every command of mcltool does
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = make_weights(folder / "w.safetensors", preset)
        make_inputs(folder, count, side, 1 if pairing == "one" else count)

        def job(out: str) -> Job:
            options = Options(workers=workers, overwrite=True)
            return Job(
                folder / "masks",
                folder / "photos",
                folder / out,
                weights,
                pairing,
                0,
                Settings(),
                options,
            )

        first = Run(job("out"))
        translator, plan = first.model(), first.prepare().plan
        batch = translator.fitting_batch_size(side)
        preparer = Preparer(translator.plugin, side)
        names = [task.exemplars[0].path for task in plan]
        photos = {name: preparer.photo(name).pixels for name in names}
        planes = [preparer.condition(task).pixels for task in plan]
        batches = []
        for start in range(0, count, batch):
            Z = np.stack([photos[names[n]] for n in range(start, min(start + batch, count))])
            batches.append((np.stack(planes[start : start + batch]), Z))

        def bare() -> float:
            started = time.perf_counter()
            for X, Z in batches:
                with torch.inference_mode(), autocast(translator.device, translator.precision):
                    condition, pixels = (torch.from_numpy(x).to(translator.device) for x in (X, Z))
                    translator.model(condition, to_unit(pixels.permute(0, 3, 1, 2))).image.cpu()
            return count / (time.perf_counter() - started)

        def engine() -> float:
            """The same with the exemplars encoded as the job does: no reading, no writing."""
            started = time.perf_counter()
            alone = translator.encode([next(iter(photos.values()))])[0] if pairing == "one" else None
            for X, Z in batches:
                encoded = [alone] * len(X) if alone else translator.encode(list(Z))
                translator.translate(list(X), encoded)()
            return count / (time.perf_counter() - started)

        def whole() -> tuple[float, Any]:
            again = Run(job("out"), translator)  # loading the model is not what is measured
            started = time.perf_counter()
            failed = [result for result in again if result.status != "ok"]
            assert not failed, failed[0]
            return count / (time.perf_counter() - started), again.stats

        bare(), whole()
        rows = []
        for _ in range(repeats):
            (made, report), model, behind = whole(), bare(), engine()
            waited = (report.waited_reading + report.waited_writing) * made / count
            rows.append((made, model, behind, made / model, made / behind, waited))
    columns = [statistics.median(column) for column in zip(*rows, strict=True)]
    ratios = sorted(row[3] for row in rows)
    return {
        "preset": preset, "side": side, "pair": pairing, "images": count, "batch": batch, "repeats": repeats,
        "precision": translator.precision,
        "threads": torch.get_num_threads(), "device": str(translator.device), "workers": report.workers,
        "job_per_second": round(columns[0], 3), "model_per_second": round(columns[1], 3),
        "ratio_to_model": round(columns[3], 3), "ratio_spread": [round(ratios[0], 3), round(ratios[-1], 3)],
        "ratio_to_engine": round(columns[4], 3), "device_waited": round(columns[5], 3),
    }  # fmt: skip


def rates(options: argparse.Namespace) -> None:
    print(
        "| preset | pair | precision | batch | job (images/s) | bare model | ratio | spread | to the engine "
        "| device waited |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    cases = [(preset, options.count) for preset in options.preset] or [
        ("tiny", 256),
        ("base", 16),
        ("paper", 8),
    ]
    for preset, count in cases:
        for pairing in ("one", "stem"):
            row = rate(preset, count, pairing, options.repeats, options.workers)
            keep_rate(row)
            print(
                f"| {row['preset']} {row['side']} | {pairing} | {row['precision']} | {row['batch']} "
                f"| {row['job_per_second']:.2f} "
                f"| {row['model_per_second']:.2f} | {row['ratio_to_model']:.3f} | "
                f"{row['ratio_spread'][0]:.2f} to {row['ratio_spread'][1]:.2f} | {row['ratio_to_engine']:.3f} "
                f"| {row['device_waited']:.1%} |",
                flush=True,
            )


def keep_rate(row: dict[str, Any]) -> None:
    """In the place of the row of the same preset and pairing."""
    known = json.loads(RESULTS.read_text()).get("rate", []) if RESULTS.exists() else []
    others = [r for r in known if (r["preset"], r["pair"]) != (row["preset"], row["pair"])]
    keep("rate", [*others, row])


# --- memory ---


def memory_of(count: int) -> dict[str, Any]:
    """Run in a process of its own: peak memory of a job of ``count`` inputs."""
    from mcltool.translate.job import Job
    from mcltool.translate.run import Run
    from mcltool.translate.settings import Options, Settings

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = make_weights(folder / "w.safetensors", "tiny", small=True)
        make_inputs(folder, 64, 32, 8)
        for n in range(64, count):  # links: a file each to read, without drawing it
            os.link(folder / "masks" / f"{n % 64:06d}.png", folder / "masks" / f"{n:06d}.png")
        settings, options = Settings("fp32"), Options(workers=0)
        job = Job(folder / "masks", folder / "photos", folder / "out", weights, "cycle", 0, settings, options)
        started = time.perf_counter()
        done = sum(result.status == "ok" for result in Run(job))
        return {
            "inputs": done,
            "seconds": round(time.perf_counter() - started, 1),
            "peak_mib": round(peak_mib(), 1),
        }


def memories(_: argparse.Namespace) -> None:
    print("| inputs | peak (MiB) | s |\n|---|---|---|")
    found = []
    for count in (1_000, 5_000, 20_000):
        command = [sys.executable, __file__, "--cell", str(count)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        row = json.loads(done.stdout.splitlines()[-1])
        found.append(row)
        print(f"| {row['inputs']} | {row['peak_mib']:.0f} | {row['seconds']} |", flush=True)
    keep("memory", found)


# --- planning ---


def plan_cell(folder: Path, exemplars: Path, pairing: str) -> dict[str, Any]:
    """Plan, and check what is done, as a job does that goes on; in a process of its own."""
    from mcltool.translate.folder import DONE
    from mcltool.translate.job import Job
    from mcltool.translate.run import Run
    from mcltool.translate.settings import Settings

    started = time.perf_counter()
    settings = Settings("fp32", batch_size=8)
    job = Job(folder / "masks", exemplars, folder / "out", folder / "w.safetensors", pairing, 0, settings)
    planned = time.perf_counter()
    ledger = Run(job).prepare()
    done = int((ledger.states == DONE).sum())
    checked = time.perf_counter()
    # On a machine that others use too, seconds of the clock count their work as well.
    return {
        "processor_seconds": round(time.process_time(), 1),
        "pair": pairing, "tasks": len(ledger.plan), "done": done, "planning_seconds": round(planned - started, 1),
        "resume_check_seconds": round(checked - planned, 1), "peak_mib": round(peak_mib(), 1),
        "torch_imported": "torch" in sys.modules,
    }  # fmt: skip


def plans(options: argparse.Namespace) -> None:
    """A tree of empty conditions, of which a manifest says that all are done, with empty outputs."""
    count = options.plan
    folder = Path(options.folder or tempfile.mkdtemp(prefix="million-"))
    if not (folder / "w.safetensors").exists():
        print(f"making {count} names in {folder}", file=sys.stderr)
        make_million(folder, count)
    print(
        "| pair | tasks | planning (s) | resume check (s) | together | processor (s) | peak (MiB) |\n"
        "|---|---|---|---|---|---|---|"
    )
    found = []
    for exemplars, pairing in ((folder / "photos", "one"), (folder / "masks", "stem")):
        command = [sys.executable, __file__, "--plan-cell", str(folder), str(exemplars), pairing]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        row = json.loads(done.stdout.splitlines()[-1])
        found.append(row)
        together = row["planning_seconds"] + row["resume_check_seconds"]
        print(
            f"| {pairing} | {row['tasks']} | {row['planning_seconds']} | {row['resume_check_seconds']} "
            f"| {together:.1f} | {row['processor_seconds']} | {row['peak_mib']:.0f} |",
            flush=True,
        )
    keep("plan", found)
    if not options.folder:
        shutil.rmtree(folder)


def make_million(folder: Path, count: int) -> None:
    from mcltool.core.files import digest
    from mcltool.translate.manifest import Entry, stamp
    from mcltool.translate.settings import Settings

    make_inputs(folder, 1, 32, 1)
    (folder / "masks" / "000000.png").unlink()
    photo = folder / "photos" / "000000.jpg"
    settings, photo_stamp = Settings("fp32", batch_size=8).digest(), stamp([str(photo)])
    weights = digest(make_weights(folder / "w.safetensors", "tiny", small=True))
    inner = ""
    (folder / "out").mkdir()
    with (folder / "out" / "manifest.jsonl").open("wb") as manifest:
        for n in range(count):
            if n % 1000 == 0:
                inner = f"{n // 1000:05d}"
                (folder / "masks" / inner).mkdir()
                (folder / "out" / inner).mkdir()
            name = f"{inner}/{n:08d}.png"
            (folder / "masks" / name).touch()
            (folder / "out" / name).write_bytes(b"a picture")
            source = f"{stamp([str(folder / 'masks' / name)])} {photo_stamp}"
            entry = Entry(name, photo.name, name, "ok", "", 12, weights, settings, source, 1.0)
            manifest.write(entry.line())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", action="store_true")
    parser.add_argument(
        "--preset", action="append", default=[], help="with --rate: only these, --count images"
    )
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--plan", type=int, metavar="N")
    parser.add_argument("--folder", help="with --plan: where the names are or are to be made, and stay")
    parser.add_argument("--cell", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--plan-cell", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cell:
        print(json.dumps(memory_of(options.cell)))
    elif options.plan_cell:
        folder, exemplars, pairing = options.plan_cell
        print(json.dumps(plan_cell(Path(folder), Path(exemplars), pairing)))
    else:
        parts: list[tuple[Any, Callable[[argparse.Namespace], None]]] = [
            (options.rate, rates), (options.memory, memories), (options.plan, plans),
        ]  # fmt: skip
        for wanted, part in parts:
            if wanted:
                part(options)


if __name__ == "__main__":
    main()
