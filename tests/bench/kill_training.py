"""What training survives, tried for real: processes killed at random moments, and disks that are full or closed.

    python tests/bench/kill_training.py exact [--workers 1]    30 steps in one go against 15, kill -9, resume
    python tests/bench/kill_training.py random [--kills 20]    kill -9 at random moments until the run is through
    python tests/bench/kill_training.py disk                   a 12 MiB tmpfs fills up (root); a folder without rights

Every run is ``mcltool fit`` on shapes in a process of its own. Prints what happened, and ends with 1 where a
promise was broken.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from mcltool.train.checkpoints import newest_whole
from mcltool.train.run_folder import RunFolder

FIT = [
    sys.executable, "-m", "mcltool", "fit", "--plugin", "shapes", "--device", "cpu", "--precision", "fp32",
    "--size", "32", "--batch-size", "2", "--resume", "--set", "train.validation_samples=2",
    "--set", "train.log_every=1",
]  # fmt: skip


def start(run: Path, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*FIT, "--run", str(run), *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(run: Path, *args: str) -> str:
    process = start(run, *args)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return output


def equal(a: Path, b: Path, step: int) -> bool:
    """Whether the last checkpoints and the weights of two runs agree in every bit."""
    names = [f"checkpoints/step-{step:06d}/{name}.safetensors" for name in ("training", "weights")]
    for name in [*names, "weights.safetensors"]:
        ours, theirs = load_file(a / name), load_file(b / name)
        if ours.keys() != theirs.keys() or not all(torch.equal(ours[n], theirs[n]) for n in ours):
            return False
    return True


def exact(folder: Path, workers: int) -> None:
    options = ["--max-steps", "30", "--workers", str(workers), "--set", "train.checkpoint_every=5"]
    finish(folder / "whole", *options)
    cut = folder / "cut"
    process = start(cut, *options)
    while not (RunFolder(cut).checkpoints / "step-000015").exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    process.kill()
    process.wait()
    left = newest_whole(RunFolder(cut).checkpoints)
    assert left is not None
    finish(cut, *options)
    print(
        f"workers {workers}: killed after step {left.step}; bit-identical: {equal(folder / 'whole', cut, 30)}"
    )
    assert equal(folder / "whole", cut, 30)


def at_random(folder: Path, kills: int, seed: int) -> None:
    """Kill when checkpoints are written too: one every second step, and half of the kills aimed at them."""
    steps = 12 * kills
    options = ["--max-steps", str(steps), "--workers", "1", "--set", "train.checkpoint_every=2"]
    draw, run = random.Random(seed), folder / "run"
    lost_most, while_writing = 0, 0
    for number in range(kills):
        before = newest_whole(RunFolder(run).checkpoints)
        process = start(run, *options)
        first = before.step if before else 0
        _wait_for(process, run, first + draw.randint(1, 10))
        if number % 2:
            _wait_for_writing(process, run)
        time.sleep(draw.random() * 0.05)
        while_writing += any(RunFolder(run).checkpoints.glob(".step-*.tmp"))
        process.send_signal(signal.SIGKILL)
        output, _ = process.communicate()
        assert "damaged" not in output, output
        kept = newest_whole(RunFolder(run).checkpoints)
        reached = RunFolder(run).rows()[-1]["step"] if RunFolder(run).rows() else 0
        lost = reached - (kept.step if kept else 0)
        lost_most = max(lost_most, lost)
        assert lost <= 2, (reached, kept)
        assert kept is None or kept.step >= first
        print(f"kill {number + 1}: at step {reached}, {lost} steps lost", flush=True)
    finish(run, *options)
    whole = folder / "whole"
    finish(whole, *options)
    print(
        f"{kills} kills ({while_writing} while a checkpoint was being written), at most {lost_most} steps lost;"
    )
    print(f"end bit-identical to a run in one go: {equal(whole, run, steps)}")
    assert equal(whole, run, steps)
    assert not list(RunFolder(run).checkpoints.glob(".*"))


def _wait_for(process: subprocess.Popen[str], run: Path, step: int) -> None:
    while not (rows := RunFolder(run).rows()) or rows[-1]["step"] < step:
        if process.poll() is not None:
            return
        time.sleep(0.02)


def _wait_for_writing(process: subprocess.Popen[str], run: Path) -> None:
    end = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < end:
        if any(RunFolder(run).checkpoints.glob(".step-*.tmp")):
            return
        time.sleep(0.0005)


def disk(folder: Path) -> None:
    options = ["--max-steps", "12", "--workers", "0", "--set", "train.checkpoint_every=2"]
    small = folder / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", str(small)], check=False)
    if mounted.returncode:
        print("full disk: not tried, a tmpfs cannot be mounted here")
    else:
        try:
            _full(small, options)
        finally:
            subprocess.run(["umount", str(small)], check=True)
    _closed(folder, options)


def _full(small: Path, options: list[str]) -> None:
    process = start(small / "run", *options)
    output, _ = process.communicate()
    print("full disk:", output.splitlines()[-1])
    assert process.returncode == 1, output
    kept = newest_whole(RunFolder(small / "run").checkpoints)
    assert kept is not None
    assert not list(RunFolder(small / "run").checkpoints.glob(".*"))
    subprocess.run(["mount", "-o", "remount,size=1g", str(small)], check=True)
    finish(small / "run", *options)
    print(f"full disk: kept step {kept.step}; finished once there was room")


def _closed(folder: Path, options: list[str]) -> None:
    """As the user "nobody", since root may write everywhere."""
    closed = folder / "closed"
    closed.mkdir(mode=0o755)
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        print("closed folder: not tried, this needs root and setpriv")
        return
    folder.chmod(0o755)
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    done = subprocess.run(
        [*user, *FIT, "--run", str(closed / "run"), *options], capture_output=True, text=True, check=False
    )
    print("closed folder:", done.stderr.splitlines()[-1])
    assert done.returncode == 2, done.stderr
    assert list(closed.iterdir()) == []


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["exact", "random", "disk"])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.what == "exact":
            exact(folder, options.workers)
        elif options.what == "random":
            at_random(folder, options.kills, options.seed)
        else:
            disk(folder)


if __name__ == "__main__":
    main()
