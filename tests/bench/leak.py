"""Whether memory stays where it is: 2,000 small directory jobs in one process, through the library.

    python tests/bench/leak.py [--jobs 2000]

Every job loads the weights, translates two of eight conditions and writes its OUT. Printed: resident memory after each
tenth of the jobs, and its growth a job over the second half (least squares).
"""

from __future__ import annotations

import argparse
import gc
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(Path(__file__).parent)]
from translate import keep  # noqa: E402
from translating import make_condition, make_photo, make_weights  # noqa: E402

from mcltool.translate.job import Job  # noqa: E402
from mcltool.translate.run import Run  # noqa: E402
from mcltool.translate.settings import Options, Settings  # noqa: E402


def resident() -> int:
    """Bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) << 10
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=2000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = make_weights(folder / "w.safetensors")
        make_photo(folder / "photos" / "style.png")
        for n in range(8):
            make_condition(folder / f"masks-{n // 2}" / f"{n}.png", label=1 + n % 5)
        started, used = time.monotonic(), []
        for number in range(options.jobs):
            masks, out = folder / f"masks-{number % 4}", folder / "out"
            job = Job(
                masks,
                folder / "photos",
                out,
                weights,
                settings=Settings("fp32"),
                options=Options(device="cpu"),
            )
            done = list(Run(job))
            assert [result.status for result in done] == ["ok", "ok"]
            shutil.rmtree(out)
            if (number + 1) % max(1, options.jobs // 40) == 0:
                gc.collect()
                used.append((number + 1, resident()))
        half = used[len(used) // 2 :]
        slope = float(np.polyfit([number for number, _ in half], [size for _, size in half], 1)[0])
        found = {
            "jobs": options.jobs,
            "seconds": round(time.monotonic() - started, 1),
            "mib": {number: round(size / 2**20, 1) for number, size in used[3::4]},
            "bytes_a_job_second_half": round(slope),
        }
        print(json.dumps(found, indent=1))
        keep("leak", found)


if __name__ == "__main__":
    main()
