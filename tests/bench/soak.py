"""translate-dir disturbed for half an hour: kills, signals, dead reader processes, and faults of disk and clock.

    python tests/bench/soak.py [--inputs 20000] [--minutes 30] [--seed 0]

The same job is run again and again in one OUT, each time with other faults under its writing (tests/faults.py) and
ended in another way; between runs outputs are taken away or emptied and the manifest is cut, as a power cut may do.
At the end it is run undisturbed. Printed and checked: every output has the bytes of a job that was left alone;
nothing half-written is left; no run hung; none said more than one line of what was wrong, and none showed a trace.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(Path(__file__).parent)]
from translate import keep  # noqa: E402
from translating import make_photo, make_weights  # noqa: E402

FAULTS = (
    "create:ENOSPC", "create:EACCES", "create:EIO", "write:ENOSPC", "write:EIO", "write:short", "append:ENOSPC",
    "append:EIO", "append:short", "replace:EIO", "replace:EACCES", "replace:ENOSPC", "clock:jump",
)  # fmt: skip
ENDS = ("left alone", "SIGKILL", "SIGKILL", "SIGKILL", "SIGTERM", "SIGINT", "reader killed")
ANSWERS = {False: (0, 1, 130, -9), True: (0, 1, 130, -9, -15)}
"""Exit codes by whether SIGTERM was sent: before the job has begun or after its end it finds the system's answer."""
HANG = 900.0
"""Seconds of a run, on a machine with other work, after which it counts as hung."""


def make_work(folder: Path, count: int) -> None:
    """Conditions of 64 kinds, a file each, and 16 photos in turn."""
    make_weights(folder / "w.safetensors")
    for n in range(count):
        path = folder / "masks" / f"{n // 1000:02d}" / f"{n:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        first = folder / "masks" / "00" / f"{n % 64:05d}.png"
        if n < 64:
            labels = (
                np.random.default_rng(n).integers(0, 6, (8, 8)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
            )
            Image.fromarray(labels).save(path)
        else:
            os.link(first, path)
    for n in range(16):
        make_photo(folder / "photos" / f"{n}.png", n)


def start(
    folder: Path, out: str, *options: str, faults: Sequence[str] = (), seed: int = 0
) -> subprocess.Popen[str]:
    given = [word for fault in faults for word in ("--fault", fault)]
    command = [
        sys.executable, str(TESTS / "faults.py"), "--seed", str(seed), *given, "--", "translate-dir", "masks", "photos",
        out, "--weights", "w.safetensors", "--pair", "cycle", "--batch-size", "32", "--precision", "fp32", "--device",
        "cpu", *options,
    ]  # fmt: skip
    log = open(folder / "log", "w")  # noqa: SIM115 (the child's)
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=log, text=True)


def children(pid: int) -> list[int]:
    try:
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except OSError:
        return []


def outputs(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*.png")}


def end(job: subprocess.Popen[str], how: str, out: Path, after: float) -> bool:
    """End a job ``after`` seconds from its first line (or from its start, where that is below 0); whether it came
    to its end within HANG."""
    manifest = out / "manifest.jsonl"
    began, before = time.monotonic(), size(manifest)
    while after >= 0 and job.poll() is None and size(manifest) == before and time.monotonic() - began < HANG:
        time.sleep(0.02)
    since = time.monotonic()
    while job.poll() is None and time.monotonic() - since < abs(after):
        time.sleep(0.02)
    if how == "reader killed":
        for child in children(job.pid)[-1:]:
            os.kill(child, signal.SIGKILL)
    elif how.startswith("SIG") and job.poll() is None:
        job.send_signal(getattr(signal, how))
    try:
        job.wait(HANG)
        return True
    except subprocess.TimeoutExpired:
        job.kill()
        job.wait()
        return False


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def disturb(out: Path, chance: random.Random, counts: Counter[str]) -> None:
    """What a power cut may leave: empty or missing outputs, half a manifest."""
    there = sorted(out.rglob("*.png"))
    for path in chance.sample(there, min(len(there), chance.choice((0, 0, 3)))):
        kind = chance.choice(("output emptied", "output removed"))
        counts[kind] += 1
        path.write_bytes(b"") if kind == "output emptied" else path.unlink()
    manifest = out / "manifest.jsonl"
    if manifest.exists() and chance.random() < 0.1:
        counts["manifest cut"] += 1
        size = manifest.stat().st_size
        os.truncate(manifest, max(0, size - chance.randrange(1, 2000)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore Ctrl-C
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="mcltool-soak-") as name:
        folder, counts, wrong = Path(name), Counter[str](), []
        make_work(folder, options.inputs)
        began = time.monotonic()
        assert start(folder, "whole").wait() == 0, (folder / "log").read_text()[-2000:]
        whole, alone = outputs(folder / "whole"), time.monotonic() - began
        assert len(whole) == options.inputs
        print(f"undisturbed: {options.inputs} outputs in {alone:.0f} s", flush=True)
        out, until = folder / "out", time.monotonic() + 60 * options.minutes
        while time.monotonic() < until:
            faults = [f"{fault}:{chance.choice((1e-4, 1e-3, 1e-2))}" for fault in chance.sample(FAULTS, 2)]
            how, seed = chance.choice(ENDS), chance.randrange(10**6)
            workers = "1" if how == "reader killed" else chance.choice("001")
            job = start(folder, "out", "--workers", workers, faults=faults, seed=seed)
            in_time = end(job, how, out, chance.uniform(-1, 9))
            said = (folder / "log").read_text()
            counts[f"ended by {how}"] += 1
            counts["runs"] += 1
            errors = [line for line in said.splitlines() if line.startswith("mcltool: ")]
            for found in errors:
                cause = re.search(r"\(([A-Z][^)]*)\)|reader process was killed|interrupted", found)
                counts[f"said: {cause[1] or cause[0] if cause else found[:90]}"] += 1
            if (
                not in_time
                or "Traceback" in said
                or " bug " in said
                or len(errors) > 1
                or job.returncode not in ANSWERS[how == "SIGTERM"]
            ):
                wrong.append(f"{how}, {faults}, seed {seed}: exit {job.returncode}, {said[-600:]}")
                print(f"WRONG {wrong[-1]}", flush=True)
            if job.returncode == 0:
                counts["whole rounds"] += 1
                check(out, whole, wrong)
                for path in chance.sample(sorted(out.rglob("*.png")), options.inputs // 2):
                    path.unlink()
            else:
                disturb(out, chance, counts)
            print(f"run {counts['runs']}: {how}, {' '.join(faults)}: exit {job.returncode}", flush=True)
        last = start(folder, "out").wait()
        check(out, whole, wrong)
        left = [path.name for path in out.rglob("*") if path.suffix == ".tmp" or path.name == ".mcltool"]
        lines = (out / "manifest.jsonl").read_bytes().count(b"\n")
        found: dict[str, Any] = {
            "inputs": options.inputs, "minutes": options.minutes, "seed": options.seed,
            "seconds_undisturbed": round(alone),
            "last_exit": last, "lines": lines, "left_over": left, "wrong": wrong, **dict(sorted(counts.items())),
        }  # fmt: skip
        print(json.dumps(found, indent=1))
        keep("soak", found)
        assert last == 0
        assert not wrong
        assert not left
        assert lines == options.inputs


def check(out: Path, whole: dict[str, bytes], wrong: list[str]) -> None:
    made = outputs(out)
    differ = [name for name in whole if made.get(name) != whole[name]]
    if differ or made.keys() != whole.keys():
        wrong.append(f"{len(differ)} outputs differ from those of the undisturbed job, such as {differ[:3]}")
        print(f"WRONG {wrong[-1]}", flush=True)


if __name__ == "__main__":
    main()
