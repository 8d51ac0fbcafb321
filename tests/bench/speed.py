"""Everything that docs/benchmarks.md shows: measured, written to results/speed.json, and put into the page's tables.

    python tests/bench/speed.py                 all figures, each in a process of its own, then the tables
    python tests/bench/speed.py --list          the figures' names
    python tests/bench/speed.py base-train ...  those figures, here; the others stay as they are in the JSON
    python tests/bench/speed.py --tables        the tables alone, from the JSON

A figure takes up to three minutes on two cores. Run it while nothing else computes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "speed.json"
MEASURED = {"base": (256, 256), "paper": (256, 256), "hd": (512, 512)}
"""Preset and size; conditions have the 151 classes of ADE20K."""


def figures() -> dict[str, dict[str, Any]]:
    """What is measured, by name."""
    found: dict[str, dict[str, Any]] = {}
    for preset in MEASURED:
        for batch in (1, 4):
            found[f"{preset}-translate-{batch}"] = {"kind": "translate", "preset": preset, "batch": batch}
        fp32 = {"kind": "translate", "preset": preset, "batch": 1, "precision": "fp32"}
        found[f"{preset}-translate-fp32"] = fp32
        for recompute in (False, True):
            name = f"{preset}-train{'-recompute' if recompute else ''}"
            found[name] = {"kind": "train", "preset": preset, "recompute": recompute}
        found[f"{preset}-difference"] = {"kind": "difference", "preset": preset}
    return found


def measure(
    kind: str, preset: str, batch: int = 1, precision: str = "auto", recompute: bool = False
) -> dict[str, Any]:
    """One figure, in this process."""
    import torch
    from figures import difference, training, translation
    from parts import measure_roof

    from mcltool.core.process import keep_freed_memory
    from mcltool.tools.bench.run import the_subject

    keep_freed_memory()  # as every command of mcltool does
    subject = the_subject(preset, MEASURED[preset], "cpu", precision, batch, recompute=recompute)
    found: dict[str, Any] = {"preset": preset, "size": MEASURED[preset], "torch": str(torch.__version__)}
    found["precision"] = subject.precision
    if kind == "difference":
        return found | difference(subject)
    roof = measure_roof(subject.device)
    work = training if kind == "train" else translation
    return found | {"machine": asdict(roof.machine) | {"copy": roof.copy}} | work(subject, roof)


def record(name: str, figure: dict[str, Any]) -> None:
    from mcltool.core.files import write_text

    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    write_text(RESULTS, json.dumps(known | {name: figure}, indent=1, sort_keys=True) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("figures", nargs="*", metavar="FIGURE")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--tables", action="store_true")
    options = parser.parse_args()
    known = figures()
    if unknown := set(options.figures) - set(known):
        parser.error(f"no figure {', '.join(unknown)}; there are {', '.join(known)}")
    if options.list:
        print("\n".join(known))
        return
    for name in options.figures:
        record(name, measure(**known[name]))
        print(f"{name}: done", flush=True)
    if not options.figures and not options.tables:
        for name in known:
            subprocess.run([sys.executable, __file__, name], check=True)
    from speed_tables import write_page

    write_page(json.loads(RESULTS.read_text()))


if __name__ == "__main__":
    main()
