"""Feeds every reader mutated files, in processes that may crash, and keeps what is found as cases.

    python tests/fuzz/run.py [--inputs 200000 | --seconds 600] [--seed 0] [--only photo,pack]

Input n of a reader is a function of the seed and n alone. What counts as found: any error but a McltoolError, the
death of the process, more than 3 GiB of memory, and no end within a minute. The smallest input of each finding goes
to tests/fuzz/cases/READER/, which the tests read for ever after. Exit code 1 where anything was found.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))
from fuzz.mutate import digest  # noqa: E402
from fuzz.targets import TARGETS, write  # noqa: E402
from fuzz.worker import make  # noqa: E402

CASES = TESTS / "fuzz" / "cases"
LONGEST, HANG = 60.0, 600.0
"""Seconds of the processor for one input, and seconds by the clock (the process may be paused from outside)."""
CHUNK = 8000
"""Inputs a process: a slow leak is not taken for one input's memory."""


@dataclass
class Outcome:
    """Of one reader. findings: numbers of the inputs by what went wrong."""

    inputs: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    peak: int = 0
    seconds: float = 0.0
    findings: dict[str, list[int]] = field(default_factory=dict)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first input of each reader")
    parser.add_argument("--only", default=",".join(TARGETS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    names = options.only.split(",")
    shares = {name: TARGETS[name].share for name in names}
    end = time.monotonic() + options.seconds
    outcomes = {name: Outcome() for name in names}
    print(
        f"{'reader':14} {'inputs':>8} {'read':>8} {'refused':>8} {'found':>6} {'peak MiB':>9} {'seconds':>8}"
    )
    for name in names:
        wanted = round(options.inputs * shares[name] / sum(shares.values()))
        budget = time.monotonic() + (end - time.monotonic()) * shares[name] / sum(shares.values())
        _fuzz(
            name,
            options.seed,
            options.first,
            wanted,
            budget if budget < float("inf") else end,
            outcomes[name],
        )
        shares[name] = 0 if options.seconds < float("inf") else shares[name]
        _show(name, outcomes[name])
    total = sum(outcome.inputs for outcome in outcomes.values())
    found = sum(len(outcome.findings) for outcome in outcomes.values())
    print(f"{total} inputs, seed {options.seed}: {found} findings")
    for name, outcome in outcomes.items():
        for error, numbers in outcome.findings.items():
            print(f"{name}: {error} ({len(numbers)} inputs; {_keep(name, options.seed, numbers)})")
    if options.json:
        document = {name: vars(outcome) for name, outcome in outcomes.items()}
        options.json.write_text(
            json.dumps({"seed": options.seed, "inputs": total, "readers": document}, indent=1)
        )
    return 1 if found else 0


def _fuzz(name: str, seed: int, first: int, wanted: int, end: float, outcome: Outcome) -> None:
    number, last = first, first + wanted
    while number < last and time.monotonic() < end:
        stop = min(last, number + CHUNK)
        with tempfile.TemporaryDirectory(prefix="mcltool-fuzz-") as home:
            number = _run(name, seed, number, stop, Path(home), outcome)


def _run(name: str, seed: int, first: int, last: int, home: Path, outcome: Outcome) -> int:
    """One process; returns the number of the next input."""
    command = [sys.executable, "-m", "fuzz.worker", name, *map(str, (seed, first, last)), str(home)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
    (home / "now").write_bytes(b"")
    with open(home / "stderr", "wb") as stderr:
        process = subprocess.Popen(command, stderr=stderr, stdout=subprocess.DEVNULL, env=environment)
        died = _watch(process, home)
    text = (home / "lines.jsonl").read_text() if (home / "lines.jsonl").exists() else ""
    found = [json.loads(line) for line in text.splitlines()]
    for line in found:
        if "error" in line:
            outcome.findings.setdefault(line["error"], []).append(line["number"])
        else:
            outcome.counts.update(line["counts"])
            outcome.peak, outcome.seconds = max(outcome.peak, line["peak"]), outcome.seconds + line["seconds"]
    now = (home / "now").read_text().strip()
    if not died:
        outcome.inputs += last - first
        return last
    if not now:
        raise SystemExit(
            f"{name}: the process ended before its first input:\n{(home / 'stderr').read_text()[-2000:]}"
        )
    outcome.findings.setdefault(died, []).append(int(now))
    outcome.inputs += int(now) + 1 - first
    outcome.counts["found"] += 1
    return int(now) + 1


def _watch(process: subprocess.Popen[bytes], home: Path) -> str:
    """Wait for a worker; "" where it came to its end."""
    last, used, since = "", 0.0, time.monotonic()
    while process.poll() is None:
        time.sleep(0.1)
        now, seconds = (home / "now").read_text(), _processor_seconds(process.pid)
        if now != last:
            last, used, since = now, seconds, time.monotonic()
        elif seconds - used > LONGEST or time.monotonic() - since > HANG:
            process.kill()
            process.wait()
            return "no end within a minute"
    return "" if process.returncode == 0 else f"the process died ({process.returncode})"


def _processor_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100
    except (OSError, IndexError):
        return 0.0


def _keep(name: str, seed: int, numbers: list[int]) -> Path:
    """The smallest of the inputs, as a case."""
    made = (make(name, seed, number) for number in numbers[:50])
    files = min(made, key=lambda files: sum(map(len, files.values())))
    folder = CASES / name / digest(files)
    write(files, folder)
    return folder.relative_to(TESTS.parent)


def _show(name: str, outcome: Outcome) -> None:
    counts = outcome.counts
    print(
        f"{name:14} {outcome.inputs:8} {counts['read']:8} {counts['refused']:8} {len(outcome.findings):6} "
        f"{outcome.peak >> 20:9} {outcome.seconds:8.1f}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
