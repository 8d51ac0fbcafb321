"""translate-dir killed with SIGKILL at random moments, run again after each, against a job that was left alone.

    python tests/bench/kills.py [--inputs 300] [--kills 30] [--seed 0]

Prints when each kill came and what was there, then checks: every output has the bytes of the undisturbed job, no
temporary file is left, and each input was made once, but for those that were in flight when a kill came (their
file was there, or their batch was not yet done).
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from translate import keep, make_weights

SIZES = [(32, 32), (32, 64), (32, 32), (64, 32), (32, 32)]


def make_work(folder: Path, count: int) -> None:
    """Conditions of three sizes, seven photos in turn."""
    make_weights(folder / "w.safetensors", "tiny")
    for kind in ("masks", "photos"):
        (folder / kind).mkdir()
    for n in range(count):
        labels = np.zeros(SIZES[n % len(SIZES)], np.uint8)
        labels[labels.shape[0] // 2 :] = 1 + n % 5
        Image.fromarray(labels).save(folder / "masks" / f"{n:04d}.png")
    for n in range(7):
        pixels = np.random.default_rng(n).integers(0, 256, (48, 48, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / f"{n}.png")


def start(folder: Path, out: str, *options: str) -> subprocess.Popen[str]:
    command = [
        sys.executable, "-m", "mcltool", "translate-dir", "masks", "photos", out, "--weights", "w.safetensors",
        "--pair", "cycle", "--batch-size", "4", "--precision", "fp32", "--device", "cpu", "--json", *options,
    ]  # fmt: skip
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def outputs(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.glob("*.png")}


def lines(out: Path) -> list[dict[str, Any]]:
    """What can be read of the manifest; a kill may have cut the last line."""
    found = []
    path = out / "manifest.jsonl"
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=300)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_work(folder, options.inputs)
        whole = start(folder, "whole")
        assert whole.wait() == 0, whole.stderr and whole.stderr.read()
        out = folder / "out"
        out.mkdir()
        written = without_line = 0
        last: dict[str, float] = {}
        for kill in range(options.kills):
            before = len(outputs(out))
            job = start(folder, "out", *(["--workers", "1"] if kill % 3 == 2 else []))
            # Paced so that the last kills still find work.
            target = before + chance.randrange(0, 2 + options.inputs // (2 * options.kills))
            while len(list(out.glob("*.png"))) < target and job.poll() is None:
                time.sleep(0.001)
            time.sleep(chance.random() * (2.0 if target == before else 0.02))
            job.kill()
            job.communicate()
            times = {path.name: path.stat().st_mtime for path in out.glob("*.png")}
            written += sum(last.get(name) != changed for name, changed in times.items())
            last = times
            orphans = set(times) - {line["output"] for line in lines(out)}
            without_line += len(orphans)
            left = len(list(out.rglob(".*.tmp")))
            print(
                f"kill {kill + 1}: {len(times)} outputs, {len(orphans)} of them without a line yet, "
                f"{left} temporary files",
                flush=True,
            )
        end = start(folder, "out")
        stdout, stderr = end.communicate()
        assert end.returncode == 0, stderr
        times = {path.name: path.stat().st_mtime for path in out.glob("*.png")}
        written += sum(last.get(name) != changed for name, changed in times.items())
        same = outputs(out) == outputs(folder / "whole")
        left = [path.name for path in out.rglob("*") if path.suffix == ".tmp" or path.name == ".mcltool"]
        found = {
            "inputs": options.inputs, "kills": options.kills, "seed": options.seed,
            "outputs_identical": same, "left_over": left, "lines": len(lines(out)),
            "files_written": written, "killed_between_file_and_line": without_line,
        }  # fmt: skip
        print(f"last run: {stdout.strip()}")
        print(json.dumps(found))
        keep("kills", found)
        assert same
        assert not left
        assert len(lines(out)) == options.inputs
        assert written <= options.inputs + without_line, "inputs were done twice without need"


if __name__ == "__main__":
    main()
